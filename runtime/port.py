"""Checks before a start whether a server can listen on a host and port: `python -m runtime.port HOST PORT`."""

import errno
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circus.sockets import CircusSocket

# A server that was just killed may hold its port for a moment.
TRIES, BETWEEN_S = 6, 0.5


def why_not(host: str, port: str) -> str | None:
    """Return why no server can listen there, in one sentence; None if one can."""
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        return f"PORT must be a number from 1 to 65535, not {port!r}."
    try:
        family, address = _find(host, int(port))
    except (OSError, UnicodeError):
        return (
            f"HOST={host} is no address or name of this machine; 127.0.0.1 serves this machine, 0.0.0.0 every network."
        )
    for tries_left in reversed(range(TRIES)):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return _why(error, host, port)
            if tries_left:
                time.sleep(BETWEEN_S)
        else:
            return None
    return f"Port {port} of {host} is in use; choose another with PORT=... or --port."


def address_of(host: str) -> str:
    """Return the address of a host: BentoML takes no name, such as `localhost`.

    Raises:
        OSError: there is no such host; `why_not` says so.
    """
    return str(_find(host)[1][0])


def _find(host: str, port: int = 0) -> tuple[socket.AddressFamily, Any]:
    """Return the family and the socket address of a host: IPv4, if it has both."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, address


def tell_in_one_line() -> None:
    """Have a supervisor that can't listen end with one line: `bentoml serve` checks no port, and shows a traceback.

    Replaces `circus.sockets.CircusSocket.bind_and_listen`.
    """
    # Imported only here: workers need none of circus.
    from circus.sockets import CircusSocket

    listen = CircusSocket.bind_and_listen

    def listen_or_tell(one: "CircusSocket") -> None:
        # Port 0 is any that is free.
        reason = why_not(one.host, str(one.port)) if not one.is_unix and one.port else None
        if reason is not None:
            sys.exit(f"ERROR: {reason}")
        listen(one)

    CircusSocket.bind_and_listen = listen_or_tell


def _why(error: OSError, host: str, port: str) -> str:
    if error.errno == errno.EACCES:
        return f"Only root may serve on port {port}; choose one from 1024 on with PORT=..."
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"This machine has no address {host}; 127.0.0.1 serves this machine, 0.0.0.0 every network."
    return f"Nothing can listen on {host}, port {port}: {error.strerror}."


def main() -> int:
    """Print the reason on standard error; return 0 if a server can listen there, else 1."""
    host, port = sys.argv[1:]
    reason = why_not(host, port)
    if reason is not None:
        print(f"ERROR: {reason}", file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
