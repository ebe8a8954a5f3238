"""Tells from the header `Accept` whether a request comes from a browser that wants a page."""

from web.accept import prefers


def prefers_html(accept: str) -> bool:
    """Return whether the sender names HTML, and does not prefer JSON to it.

    A wildcard (`*/*`) is not enough: programs send it too, and they get JSON.

    Args:
        accept: the value of the header `Accept`; empty if there is none.
    """
    return prefers(accept, "text/html", over="application/json")
