"""The queries and answers of the routes that only read: the served model, a caller's usage, a caller's limits."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from api.numbers import WholeNumber
from storage.clock import LAST_SECOND

CURSOR = "`next_cursor` of the previous page, to get the next one."
NEXT_CURSOR = "Send it as `cursor` to get the next page; null on the last page."


class ModelInfo(BaseModel):
    """v1: the served model."""

    name: str
    status: str
    num_labels: int


class UsageTotals(BaseModel):
    """v1: the caller's classification requests that passed the limit; the rate in percent, the time in ms."""

    total_requests: int
    successful_requests: int
    success_rate: float
    avg_response_time_ms: float


def _with_hyphens(value: object) -> object:
    # Pydantic takes 8 digits for Unix time, of the year 1970; in ISO 8601 they are a date.
    if isinstance(value, str) and len(value) == 8 and value.isdecimal():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value


Time = Annotated[datetime, BeforeValidator(_with_hyphens)]


class UsageQuery(BaseModel):
    """v2: selects the requests of the caller that are counted."""

    since: Time | None = Field(None, alias="from", description="The start. The default is some buckets before `to`.")
    until: Time | None = Field(None, alias="to", description="The end, exclusive. The default is now.")
    bucket: Literal["minute", "hour", "day"] = Field("day", description="The width of a bucket.")
    endpoint: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Count only requests to this path."
    )
    cursor: Annotated[WholeNumber, Field(ge=0, le=LAST_SECOND)] | None = Field(None, description=CURSOR)


class ResponseTime(BaseModel):
    """v2: response times in ms. The percentiles are within 2.5 % of the exact values."""

    mean: float
    p50: float
    p95: float
    p99: float


class Cost(BaseModel):
    """v2: what images cost, exact."""

    amount: str = Field(description="A decimal number such as `0.15`; it is not rounded to cents.")
    currency: str = Field(description="The code of ISO 4217, such as `EUR`.")


class UsageTotal(BaseModel):
    """v2: what all requests of the span are billed."""

    billable_images: int | None = Field(description="The images that were answered with predictions; null: unknown.")
    cost: Cost | None = Field(description="At the price in force at the time of each request; null: without a price.")


class UsageBucket(BaseModel):
    """v2: the caller's requests that arrived in one bucket of time."""

    start: datetime
    requests: int
    images: int = Field(description="The hits that the requests cost, one for each image.")
    billable_images: int | None = Field(
        description="The images that were answered with predictions; null: the requests are older than this count."
    )
    cost: Cost | None = Field(description="At the price in force at the time of each request; null: without a price.")
    status: dict[str, int] = Field(
        description="The number of requests by status class: 2xx, 3xx, 4xx, 5xx; 1xx if a stream was opened."
    )
    response_time_ms: ResponseTime


class Usage(BaseModel):
    """v2: the caller's requests in buckets of time, the oldest first; empty buckets are left out."""

    bucket: str
    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    endpoint: str | None
    total: UsageTotal = Field(description="All buckets of the span together, on every page.")
    data: list[UsageBucket]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class Policy(BaseModel):
    """v2: one limit or quota of the caller, and what is left of it. Times are in seconds."""

    name: str
    limit: str
    quota: int
    window: int
    remaining: int
    reset: int = Field(
        description="Of a limit: seconds until the oldest hit leaves the window; 0 if there is no hit. Of a quota: "
        "seconds until its month or day ends, UTC."
    )


class Limits(BaseModel):
    """v2: all limits of the caller."""

    policies: list[Policy]


class InputSize(BaseModel):
    """v2: the size to which each image is resized, in pixels."""

    width: int
    height: int


class Chosen(BaseModel):
    """v2: how the model is computed on this machine, and why."""

    precision: str = Field(description="`f32`, `bf16` or `int8`.")
    resize: str = Field(description="`exact`: the same pixels as the reference; `quick`: equal except for rounding.")
    threads: int = Field(description="The number of threads that compute, of all streams together.")
    streams: int = Field(description="The most batches that are computed at the same time.")
    batch_size: int = Field(description="The most images in a batch.")
    why: str = Field(description="What was measured: `float32: 88 images/s; bf16: 48`.")
    measured_at: datetime | None = Field(description="When it was measured; null if it was not.")


class Model(BaseModel):
    """v2: a model of the service."""

    name: str
    revision: str = Field(description="The commit on the hub, or a digest of the checkpoint's files.")
    status: str = Field(description="`loaded`, or `not_loaded` while the runner starts.")
    stand_in: bool = Field(description="Whether it replaces a model that could not be downloaded.")
    engine: str | None = Field(description="`openvino` or `torch`; null until the model is loaded.")
    precision: str | None = Field(description="`f32`, `bf16` or `int8`; null until it is loaded.")
    chosen: Chosen | None = Field(description="How it is computed on this machine, and why; null until it is loaded.")
    input: InputSize
    function: str = Field(
        description="The function that turns the model's outputs into confidences: `softmax`, or `sigmoid` if several "
        "labels can be right for one image."
    )
    num_labels: int
    labels: list[str] = Field(description="The label of each class, in the order of `class_id`.")


class Models(BaseModel):
    """v2: all models of the service."""

    models: list[Model]
