"""Orders of callers who are billed: images to classify, some of them damaged; and the result of sending one."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testing.billing import Attempt
from testing.photographs import as_base64

ONE, BATCH = "/v2/classify", "/v2/classify/batch"
LINES = "application/x-ndjson"
DAMAGED = as_base64(b"no image")


@dataclass(frozen=True)
class Order:
    """A request that a caller sends, and sends again with the same idempotency key until it is answered.

    Attributes:
        images: the images in base64.
        idempotency_key: sent with it; None without one.
        in_lines: whether the caller wants each image's answer as soon as it is done.
    """

    images: Sequence[str]
    idempotency_key: str | None = None
    in_lines: bool = False

    @property
    def path(self) -> str:
        """The path of the route."""
        return ONE if len(self.images) == 1 and not self.in_lines else BATCH

    @property
    def body(self) -> dict[str, Any]:
        """The body, to be sent as JSON."""
        return {"image": self.images[0]} if self.path == ONE else {"images": [*self.images]}

    @property
    def headers(self) -> dict[str, str]:
        """The headers beside those of the body and the API key."""
        accept = {"Accept": LINES} if self.in_lines else {}
        return accept | ({"Idempotency-Key": self.idempotency_key} if self.idempotency_key else {})

    def lost(self, user: str, key_id: str) -> Attempt:
        """Return the attempt that got no answer."""
        return Attempt(
            user, key_id, 0, 0, None, None, len(self.images), 0, self.path, idempotency_key=self.idempotency_key
        )

    def answered(
        self, user: str, key_id: str, status: int, headers: Mapping[str, str], content: bytes, is_whole: bool = True
    ) -> Attempt:
        """Return the attempt that got an answer.

        Args:
            user: the user's id.
            key_id: the public id of the API key.
            status: the HTTP status.
            headers: the headers of the answer; their names in any case.
            content: the body.
            is_whole: whether it arrived to its end.
        """
        made = replace(
            self.lost(user, key_id),
            status=status,
            request_id=headers["X-Request-ID"],
            is_replayed="Idempotency-Replayed" in headers,
            is_whole=is_whole,
        )
        if status != 200:
            return replace(made, is_beyond_quota=json.loads(content)["type"] == "quota-exceeded")
        if self.in_lines:
            entries = [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        else:
            whole = json.loads(content)
            entries = whole.get("results", [whole])
        answered = sum("predictions" in entry for entry in entries)
        answer_id = made.request_id if self.in_lines else whole["id"]
        return replace(made, answered=answered, answer_id=answer_id if answered else None)


def any_order(chance: random.Random, image: str, idempotency_key: str | None, most_images: int = 4) -> Order:
    """Return an order of one or several images, of which any may be damaged.

    Args:
        chance: chooses.
        image: an image in base64.
        idempotency_key: for the order; with one, an answer in lines is not asked for, since it has no id.
        most_images: in a batch.
    """
    images = [chance.choice([image, image, DAMAGED]) for _ in range(chance.randint(1, most_images))]
    return Order(images, idempotency_key, in_lines=idempotency_key is None and chance.random() < 0.3)
