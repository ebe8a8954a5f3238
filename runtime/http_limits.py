"""Defines limits on what a connection may send, and the problems that answer what exceeds them or is not valid HTTP.

`http_protocol.py` enforces the limits, and sends the problems. No application sees these requests.
"""

from web.problem import Problem, unavailable

MOST_HEAD_BYTES = 32 * 1024
MOST_HEADERS = 100
# Requests that a connection may send before the first of them is answered.
MOST_WAITING = 8
HEAD_WITHIN_S = 10
# Bytes of chunk headers allowed for each byte of a chunked body; a chunk of one byte has five.
FRAMING_FOR_A_BYTE = 16


def not_http() -> Problem:
    """Return the problem of bytes that are no valid HTTP/1.1."""
    return Problem(400, "The request is not valid HTTP/1.1; let an HTTP library write it.")


def http_2() -> Problem:
    """Return the problem of a connection that begins as HTTP/2."""
    return Problem(400, "This port does not speak HTTP/2; set the client to HTTP/1.1, or ask by way of a proxy.")


def too_large() -> Problem:
    """Return the problem of headers that are too large or too many."""
    bounds = f"larger than {MOST_HEAD_BYTES} bytes, or more than {MOST_HEADERS}"
    return Problem(431, f"The request line and headers are {bounds}; send fewer and smaller ones.")


def too_slow() -> Problem:
    """Return the problem of headers that take too long."""
    return Problem(408, f"The headers were not complete within {HEAD_WITHIN_S} s; send the request again at once.")


def all_busy() -> Problem:
    """Return the problem of a new connection for which there is no place."""
    return unavailable("Too many connections are open; send the request again shortly.", kind="overload")
