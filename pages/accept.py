"""Tells from the header `Accept` whether a request comes from a browser that wants a page."""


def prefers_html(accept: str) -> bool:
    """Return whether the sender names HTML, and does not prefer JSON to it.

    A wildcard (`*/*`) is not enough: programs send it too, and they get JSON.

    Args:
        accept: the value of the header `Accept`; empty if there is none.
    """
    weights = dict(map(_weighed, accept.split(",")))
    html = weights.get("text/html", 0.0)
    return html > 0 and html >= weights.get("application/json", 0.0)


def _weighed(part: str) -> tuple[str, float]:
    """Return a media type with its weight: "text/html;q=0.9" → ("text/html", 0.9). A weight that is no number is 0."""
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return media_type, float(parameter[2:])
            except ValueError:
                return media_type, 0.0
    return media_type, 1.0
