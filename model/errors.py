"""Defines the errors of the model's room. Each message tells an operator or a caller what to do."""


class ModelError(Exception):
    """The base of every error about the model; the message is one line that tells an operator what to do."""


class SourceUnavailable(ModelError):
    """The checkpoint can't be fetched: it does not exist, it lacks files, or the hub refuses it."""


class HubUnreachable(SourceUnavailable):
    """The hub does not answer, and its cache on this machine lacks the checkpoint."""


class UnsupportedModel(ModelError):
    """The checkpoint is available, but this service can't serve it."""


class QuantizationRefused(ModelError):
    """No int8 model was stored: these images are too few, or its answers would be too inaccurate."""


class ImageError(Exception):
    """The base of every error about a caller's image; the message is for the caller."""


class NotAnImage(ImageError):
    """The bytes are not an image of a known format, or the image is damaged."""


class TooManyPixels(ImageError):
    """The image has more pixels than the setting allows; it was not decoded."""


class TooCostly(ImageError):
    """Decoding the image would take more time or memory than one request may use."""


def damaged() -> NotAnImage:
    """Return the error for an image that ends too early or can't be decoded."""
    return NotAnImage("The image is damaged or cut off; send the whole file.")


def too_many_pixels(width: int, height: int, most: int) -> TooManyPixels:
    """Return the error for an image with more than `most` pixels."""
    return TooManyPixels(f"The image has {width} x {height} pixels; send one of at most {most}.")
