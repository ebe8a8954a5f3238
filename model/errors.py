"""What can go wrong with the model, in words for whoever has to mend it."""


class ModelError(Exception):
    """The base of every error of the model's room; the message is one line that says what to do."""


class SourceUnavailable(ModelError):
    """The checkpoint can't be had: the hub does not answer, or there is no such checkpoint."""


class UnsupportedModel(ModelError):
    """The checkpoint can be had and can't be served as it is."""


class QuantizationRefused(ModelError):
    """An int8 model can't be made of these images, or would not answer well enough; none was stored."""


class ImageError(Exception):
    """The base of what can be wrong with a caller's image; the message is for the caller."""


class NotAnImage(ImageError):
    """The bytes are no image of a known format, or a damaged one."""


class TooManyPixels(ImageError):
    """The image is larger than the setting allows; it was not decoded."""


class TooCostly(ImageError):
    """Decoding the image takes more time or memory than a request may cost."""
