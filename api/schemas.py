"""What the routes of classification take and answer. `/schema.json`, clients and the documents are made from it."""

from pathlib import Path
from typing import Annotated, Any

import bentoml
from pydantic import BaseModel, ConfigDict, Field
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


TopK = Annotated[
    int,
    Field(
        ge=1,
        description="How many predictions to give; at most the number of labels. Where it is not given: 5, or all of "
        "a model of fewer labels.",
    ),
]
MinConfidence = Annotated[float, Field(ge=0, le=1, description="Leave out predictions that are less probable.")]


class Options(BaseModel):
    """v2: how to answer."""

    top_k: TopK = 5
    min_confidence: MinConfidence = 0.0

    @property
    def asks_for_top_k(self) -> bool:
        """Whether the caller said how many, rather than the default."""
        return "top_k" in self.model_fields_set


class _JsonWithOptions(BaseModel):
    top_k: int | None = None
    min_confidence: float | None = None

    def given(self) -> dict[str, Any]:
        """The options that the body names."""
        return self.model_dump(include={"top_k", "min_confidence"}, exclude_none=True)


class ClassifyJson(_JsonWithOptions):
    """v2: one image, as base64: v1's body, with v2's options."""

    image: str = Field(description="The image file in base64, or as a data: URL.")
    filename: str | None = Field(None, description="What the caller calls the image.")


class BatchJson(_JsonWithOptions):
    """v2: several images, as base64."""

    # An error for each wrong item would take longer than the image that it is not.
    images: Annotated[
        list[str], Field(min_length=1, fail_fast=True, description="Image files in base64, or as data: URLs.")
    ]


class ClassifyUpload(_Unread):
    """v2: one image, as a file."""

    image: Path = Field(description="The image file.")
    top_k: TopK = 5
    min_confidence: MinConfidence = 0.0


class BatchUpload(_Unread):
    """v2: several images, as files."""

    images: list[Path] = Field(description="The image files.")
    top_k: TopK = 5
    min_confidence: MinConfidence = 0.0


class ServedBy(BaseModel):
    """v2: the model that answered."""

    name: str
    revision: str
    engine: str
    precision: str


class NumberedPrediction(BaseModel):
    """v2: a label, the number of its class, and the probability that it is right, rounded to 4 decimals."""

    label: str
    class_id: int
    confidence: float


class ImageSeen(BaseModel):
    """v2: the image as it was seen: its size in pixels after EXIF orientation, and the format of its file."""

    width: int
    height: int
    format: str


class ClassifyAnswerV2(bentoml.IODescriptor):
    """v2: the most probable labels of an image, the highest first."""

    id: str = Field(description="The id under which the request is in the usage log.")
    model: ServedBy
    predictions: list[NumberedPrediction]
    image: ImageSeen


class EntryProblem(BaseModel):
    """v2: what is wrong with one image of a batch."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None


class BatchEntry(BaseModel):
    """v2: one image of a batch: `predictions` and `image`, or `error`."""

    model_config = ConfigDict(extra="forbid")

    predictions: list[NumberedPrediction] | None = None
    image: ImageSeen | None = None
    error: EntryProblem | None = None


class BatchAnswer(bentoml.IODescriptor):
    """v2: one entry for each image of the batch, in order."""

    id: str = Field(description="The id under which the request is in the usage log.")
    model: ServedBy
    results: list[BatchEntry]
