"""Reads the header `Accept`: which of two media types a caller prefers (RFC 9110, section 12.5.1)."""


def prefers(accept: str, wanted: str, over: str) -> bool:
    """Return whether the caller names the wanted media type, and gives it at least the weight of the other one.

    A wildcard (`*/*`) names neither of them.

    Args:
        accept: the value of the header; empty if there is none.
        wanted: a media type, in lower case.
        over: the other media type, in lower case.
    """
    weights = dict(map(_weighted, accept.split(",")))
    weight = weights.get(wanted, 0.0)
    return weight > 0 and weight >= weights.get(over, 0.0)


def _weighted(media_range: str) -> tuple[str, float]:
    """Return a media type with its weight: "text/html;q=0.9" → ("text/html", 0.9). A malformed weight counts as 0."""
    media_type, *parameters = (part.strip().lower() for part in media_range.split(";"))
    weight = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
    try:
        return media_type, float(weight)
    except ValueError:
        return media_type, 0.0
