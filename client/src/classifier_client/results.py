"""What the server answers, as frozen data classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from classifier_client.errors import ClassifierError, UnexpectedAnswer, from_problem

S = TypeVar("S")
T = TypeVar("T")


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


def parsed(parse: Callable[[Any], T], document: object) -> T:
    """Return what the function makes of a JSON document.

    Raises:
        UnexpectedAnswer: the document lacks something, or it is of another type.
    """
    try:
        return parse(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = (
            "The server's answer is not one that this client understands; update the client, or check the address."
        )
        raise UnexpectedAnswer(message) from error


def classification(document: Any) -> Classification:
    """Parse the answer of `/v2/classify`."""
    return Classification(
        str(document["id"]),
        _model_that_answered(document["model"]),
        _predictions(document["predictions"]),
        _image(document["image"]),
    )


def batch(document: Any) -> Batch:
    """Parse the answer of `/v2/classify/batch`."""
    entries = tuple(batch_entry(index, entry) for index, entry in enumerate(document["results"]))
    return Batch(str(document["id"]), _model_that_answered(document["model"]), entries)


def batch_entry(index: int, entry: Any) -> BatchEntry:
    """Parse the answer for one image of a batch."""
    if entry.get("error") is not None:
        return BatchEntry(index, error=from_problem(entry["error"]))
    return BatchEntry(index, _predictions(entry["predictions"]), _image(entry["image"]))


def limits(document: Any) -> list[Limit]:
    """Parse the answer of `/v2/limits`."""
    names = ("name", "limit", "quota", "window", "remaining", "reset")
    return [Limit(**{name: policy[name] for name in names}) for policy in document["policies"]]


def usage(document: Any) -> tuple[list[UsageBucket], str | None]:
    """Parse one page of `/v2/usage`; return its buckets and the cursor of the next page."""
    return [_bucket(bucket) for bucket in document["data"]], document["next_cursor"]


def keys(document: Any) -> list[Key]:
    """Parse the answer of `GET /v2/keys`."""
    return [
        Key(
            str(key["key_id"]),
            key["name"],
            str(key["state"]),
            tuple(key["scopes"]),
            _time(key["created_at"]),
            _optional_time(key["last_used_at"]),
            _optional_time(key["expires_at"]),
            key["replaced_by"],
        )
        for key in document["data"]
    ]


def new_key(document: Any) -> NewKey:
    """Parse the answer of `POST /v2/keys/{id}/rotate`."""
    return NewKey(
        str(document["key_id"]), str(document["key"]), tuple(document["scopes"]), _optional_time(document["expires_at"])
    )


def models(document: Any) -> list[Model]:
    """Parse the answer of `/v2/models`."""
    return [
        Model(model["name"], model["revision"], model["status"], model["stand_in"], tuple(model["labels"]))
        for model in document["models"]
    ]


def _predictions(found: Any) -> tuple[Prediction, ...]:
    return tuple(Prediction(str(p["label"]), int(p["class_id"]), float(p["confidence"])) for p in found)


def _image(image: Any) -> ImageInfo:
    return ImageInfo(int(image["width"]), int(image["height"]), str(image["format"]))


def _model_that_answered(model: Any) -> ServedModel:
    return ServedModel(model["name"], model["revision"], model["engine"], model["precision"])


def _bucket(bucket: Any) -> UsageBucket:
    times = bucket["response_time_ms"]
    return UsageBucket(
        _time(bucket["start"]),
        int(bucket["requests"]),
        int(bucket["images"]),
        dict(bucket["status"]),
        *(float(times[name]) for name in ("mean", "p50", "p95", "p99")),
    )


def _time(text: str) -> datetime:
    # Python 3.10 does not know the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else _time(text)
