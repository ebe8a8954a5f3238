"""What the routes take and answer: the shapes that `/schema.json`, the client and the documents are made from."""

from datetime import datetime
from typing import Any

import bentoml
from pydantic import BaseModel, Field
from starlette.requests import Request


class _Unread(bentoml.IODescriptor):
    """A BentoML input that hands the endpoint the request itself.

    BentoML would read a body of any size, and give errors over it a shape of its own; the project reads it (see
    `requests.py`). The fields still say what the body holds, which is what clients and documents are made from.
    """

    __root_input__ = True

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> Any:  # noqa: ARG003 - BentoML names it
        return request

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        schema = super().model_json_schema(*args, **kwargs)
        # The fields go by their names, as they stand in the JSON, though the endpoint takes one argument.
        schema.pop("root_input", None)
        return schema


class ClassifyRequest(_Unread):
    """v1: one image, as base64."""

    image: str = Field(description="The image file in base64, or as a data: URL.")
    filename: str | None = Field(None, description="What the caller calls the image.")


class Prediction(BaseModel):
    """v1: a label, and the probability that it is right, rounded to 4 decimals."""

    label: str
    confidence: float


class ClassifyAnswer(bentoml.IODescriptor):
    """v1: the five most probable labels, the highest first, and the model that says so."""

    predictions: list[Prediction]
    model: str


class ModelInfo(BaseModel):
    """v1: which model answers."""

    name: str
    status: str
    num_labels: int


class UsageTotals(BaseModel):
    """v1: the caller's own classification requests that passed the limit; rate in percent, time in ms."""

    total_requests: int
    successful_requests: int
    success_rate: float
    avg_response_time_ms: float


class ResponseTime(BaseModel):
    """v2: response times in ms; the percentiles are within 2.5 % of the exact ones."""

    mean: float
    p50: float
    p95: float
    p99: float


class UsageBucket(BaseModel):
    """v2: the caller's requests that arrived in one bucket of time."""

    start: datetime
    requests: int
    images: int = Field(description="What the requests cost the limit, in images.")
    status: dict[str, int] = Field(description="Requests by status class: 2xx, 3xx, 4xx, 5xx.")
    response_time_ms: ResponseTime


class Usage(BaseModel):
    """v2: the caller's requests in buckets of time, the oldest first; empty buckets are left out."""

    bucket: str
    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    endpoint: str | None
    data: list[UsageBucket]
    next_cursor: str | None = Field(description="Send it as `cursor` for what follows; null: there is no more.")


class Policy(BaseModel):
    """v2: one limit of the caller, and where it stands. Times in seconds."""

    name: str
    limit: str
    quota: int
    window: int
    remaining: int
    reset: int = Field(description="Seconds until a place is freed; 0 where none is taken.")


class Limits(BaseModel):
    """v2: every limit of the caller."""

    policies: list[Policy]
