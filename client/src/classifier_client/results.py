"""What the server answers, as frozen data classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from classifier_client.errors import ClassifierError

S = TypeVar("S")


@dataclass(frozen=True)
class Prediction:
    """A label, the number of its class, and the probability (0 to 1) that it is right."""

    label: str
    class_id: int
    confidence: float


@dataclass(frozen=True)
class ServedModel:
    """The model that answered."""

    name: str
    revision: str
    engine: str
    precision: str


@dataclass(frozen=True)
class ImageInfo:
    """The width and height of the image in pixels, upright, and the format of its file, such as `JPEG`."""

    width: int
    height: int
    format: str


@dataclass(frozen=True)
class Classification:
    """The labels of one image, the most probable first. `id` is the request's id in the usage log."""

    id: str
    model: ServedModel
    predictions: tuple[Prediction, ...]
    image: ImageInfo

    @property
    def label(self) -> str | None:
        """The most probable label; None if none reached `min_confidence`."""
        return self.predictions[0].label if self.predictions else None


@dataclass(frozen=True)
class BatchEntry:
    """One image of a batch: either `predictions` and `image`, or `error`. `index` is its place in the batch, from 0."""

    index: int
    predictions: tuple[Prediction, ...] = ()
    image: ImageInfo | None = None
    error: ClassifierError | None = None


@dataclass(frozen=True)
class Batch:
    """The answer to a batch, with one entry for each image, in order."""

    id: str
    model: ServedModel
    entries: tuple[BatchEntry, ...]


@dataclass(frozen=True)
class Outcome(Generic[S]):
    """What came of one of many images: either `result` or `error`. `source` is the image as it was given."""

    source: S
    result: Classification | None = None
    error: ClassifierError | OSError | None = None


@dataclass(frozen=True)
class Limit:
    """A limit of the caller, and what is left of it. `window` and `reset` are in seconds."""

    name: str
    limit: str
    quota: int
    window: int
    remaining: int
    reset: int


@dataclass(frozen=True)
class UsageBucket:
    """The requests of the caller in one bucket of time. `status` counts them by class: `2xx`, `4xx`, …; times in ms."""

    start: datetime
    requests: int
    images: int
    status: Mapping[str, int]
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Key:
    """One of the caller's own keys, without its secret. `state` is `live`, `revoked` or `expired`."""

    key_id: str
    name: str | None
    state: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    replaced_by: str | None


@dataclass(frozen=True)
class NewKey:
    """A new key. `repr` does not show it, so that it gets into no log."""

    key_id: str
    key: str
    scopes: tuple[str, ...]
    expires_at: datetime | None

    def __repr__(self) -> str:
        """Return the key's id only."""
        return f"NewKey(key_id={self.key_id!r})"


@dataclass(frozen=True)
class Model:
    """A model of the server; `labels` in the order of `class_id`."""

    name: str
    revision: str
    status: str
    stand_in: bool
    labels: tuple[str, ...]
