"""What the routes that only read take and answer: the served model, a caller's usage, a caller's limits."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

LAST_SECOND = 253_402_300_799  # of the year 9999, in Unix time


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


class UsageQuery(BaseModel):
    """v2: which of the caller's requests to count."""

    since: datetime | None = Field(None, alias="from", description="The start; without it, some buckets before `to`.")
    until: datetime | None = Field(None, alias="to", description="The end, itself left out; without it, now.")
    bucket: Literal["minute", "hour", "day"] = Field("day", description="The width of a bucket.")
    endpoint: Annotated[str, Field(max_length=200)] | None = Field(None, description="Only requests to this path.")
    cursor: Annotated[int, Field(ge=0, le=LAST_SECOND)] | None = Field(
        None, description="`next_cursor` of the page before, for what follows it."
    )


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


class InputSize(BaseModel):
    """v2: the size that every image is brought to, in pixels."""

    width: int
    height: int


class Chosen(BaseModel):
    """v2: how the model is computed on this machine, and why so."""

    precision: str = Field(description="`f32`, `bf16` or `int8`.")
    resize: str = Field(description="`exact`: as the reference resizes, to the pixel; `quick`: to a rounding.")
    threads: int = Field(description="Threads that compute, all streams together.")
    streams: int = Field(description="How many batches are computed beside each other, at most.")
    batch_size: int = Field(description="The most images in a batch.")
    why: str = Field(description="What was measured: `float32: 88 images/s; bf16: 48`.")
    measured_at: datetime | None = Field(description="When; null: nothing was measured.")


class Model(BaseModel):
    """v2: a model that the service has."""

    name: str
    revision: str = Field(description="The commit on the hub, or a digest of the checkpoint's files.")
    status: str = Field(description="`loaded`, or `not_loaded` while the runner starts.")
    stand_in: bool = Field(description="Whether it stands in for a model that could not be had.")
    engine: str | None = Field(description="`openvino` or `torch`; null until the model is loaded.")
    precision: str | None = Field(description="What it computes in: `f32`, `bf16` or `int8`; null until it is loaded.")
    chosen: Chosen | None = Field(description="How it is computed on this machine, and why; null until it is loaded.")
    input: InputSize
    function: str = Field(
        description="What makes confidences of the model's answers: `softmax`, or `sigmoid` where several labels may "
        "be right at once."
    )
    num_labels: int
    labels: list[str] = Field(description="The label of each class, in the order of `class_id`.")


class Models(BaseModel):
    """v2: every model that the service has."""

    models: list[Model]
