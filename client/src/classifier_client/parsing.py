"""Parses the JSON that the server answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from classifier_client.errors import UnexpectedAnswer, from_problem
from classifier_client.results import (
    Batch,
    BatchEntry,
    Classification,
    ImageInfo,
    Key,
    Limit,
    Model,
    NewKey,
    Prediction,
    ServedModel,
    UsageBucket,
)

T = TypeVar("T")


def parsed(parse: Callable[[Any], T], document: object) -> T:
    """Return what the function makes of a JSON document.

    Raises:
        UnexpectedAnswer: the document lacks something, or it is of another type.
    """
    try:
        return parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise not_understood() from error


def not_understood() -> UnexpectedAnswer:
    """Return the error for an answer that this client can't read."""
    return UnexpectedAnswer(
        "The server's answer is not one that this client understands; update the client, or check the address."
    )


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
