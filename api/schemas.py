"""The inputs and answers of the classification routes. `/schema.json`, clients and the documents follow from them."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

import bentoml
from pydantic import BaseModel, ConfigDict, Field, RootModel
from starlette.requests import Request

from api.numbers import Number, WholeNumber


class _UnreadBody(bentoml.IODescriptor):
    """A BentoML input that passes the request itself to the endpoint, with its body unread.

    BentoML would read a body of any size, and answer its errors in a format of its own. So the endpoint reads the body
    (see `requests.py`). The fields still describe the body: clients and documents follow from them.
    """

    __root_input__ = True

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> Any:  # noqa: ARG003 - BentoML passes it by name
        return request

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        schema = super().model_json_schema(*args, **kwargs)
        # Clients must send the fields by their names in JSON, though the endpoint takes one argument.
        schema.pop("root_input", None)
        return schema


class ClassifyRequest(_UnreadBody):
    """v1: one image, as base64."""

    image: str = Field(description="The image file in base64, or as a data: URL.")
    filename: str | None = Field(None, description="The caller's name for the image.")


class Prediction(BaseModel):
    """v1: a label, and the probability that it is right, rounded to 4 decimals."""

    label: str
    confidence: float


class ClassifyAnswer(bentoml.IODescriptor):
    """v1: the five most probable labels, the most probable first, and the name of the model."""

    predictions: list[Prediction]
    model: str


TopK = Annotated[
    WholeNumber,
    Field(
        ge=1,
        description="How many predictions to return; at most the number of labels. The default is 5, or all labels if "
        "the model has fewer.",
    ),
]
MinConfidence = Annotated[Number, Field(ge=0, le=1, description="Leave out predictions that are less probable.")]


class Options(BaseModel):
    """v2: how to answer."""

    top_k: TopK = 5
    min_confidence: MinConfidence = 0.0

    @property
    def asks_for_top_k(self) -> bool:
        """Whether the caller gave `top_k`."""
        return "top_k" in self.model_fields_set


class _JsonWithOptions(BaseModel):
    top_k: int | None = None
    min_confidence: float | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that the body gives."""
        return self.model_dump(include={"top_k", "min_confidence"}, exclude_none=True)


class ClassifyJson(_JsonWithOptions):
    """v2: one image, as base64: v1's body, with v2's options."""

    image: str = Field(description="The image file in base64, or as a data: URL.")
    filename: str | None = Field(None, description="The caller's name for the image.")


class BatchJson(_JsonWithOptions):
    """v2: several images, as base64."""

    # Stop at the first wrong item: an error for each of many items would take longer than classifying images.
    images: Annotated[
        list[str], Field(min_length=1, fail_fast=True, description="Image files in base64, or as data: URLs.")
    ]


class HuggingFaceParameters(BaseModel):
    """How to answer, as in Hugging Face's inference API. Other parameters are ignored."""

    DEFAULT_TOP_K: ClassVar[int] = 5

    top_k: Annotated[
        int | None, Field(ge=1, description="How many labels to return. The default is 5; all if the model has fewer.")
    ] = None
    function_to_apply: str | None = Field(
        None,
        description="Only the function that the model is served with: see /v2/models.",
    )


class HuggingFaceRequest(BaseModel):
    """One image in Hugging Face's shape, as base64."""

    inputs: str = Field(description="The image file in base64, or as a data: URL.")
    parameters: HuggingFaceParameters | None = None


class Score(BaseModel):
    """A label in Hugging Face's shape, and the probability that it is right, rounded to 4 decimals."""

    label: str
    score: float


class HuggingFaceAnswer(RootModel[list[Score]]):
    """The most probable labels, the most probable first."""


class ClassifyUpload(_UnreadBody):
    """v2: one image, as a file."""

    image: Path = Field(description="The image file.")
    top_k: TopK = 5
    min_confidence: MinConfidence = 0.0


class BatchUpload(_UnreadBody):
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
    """v2: the size of the decoded image, in pixels, after EXIF orientation, and the format of its file."""

    width: int
    height: int
    format: str


class ClassifyAnswerV2(bentoml.IODescriptor):
    """v2: the most probable labels of an image, the most probable first."""

    id: str = Field(description="The id of the request in the usage log.")
    model: ServedBy
    predictions: list[NumberedPrediction]
    image: ImageSeen


class EntryProblem(BaseModel):
    """v2: the error of one image of a batch."""

    type: str
    title: str
    status: int
    detail: str
    retry_after: int | None = None
    field: str | None = None


class BatchEntry(BaseModel):
    """v2: one image of a batch: `predictions` and `image`, or `error`."""

    model_config = ConfigDict(extra="forbid")

    predictions: list[NumberedPrediction] | None = None
    image: ImageSeen | None = None
    error: EntryProblem | None = None


class BatchLine(BatchEntry):
    """v2: a line for one image of a batch; the lines come in the order in which the images are done."""

    index: int | None = Field(None, description="The place of the image in the batch, from 0; none in a last error.")


class BatchAnswer(bentoml.IODescriptor):
    """v2: one entry for each image of the batch, in order."""

    id: str = Field(description="The id of the request in the usage log.")
    model: ServedBy
    results: list[BatchEntry]
