"""Paths that look like a route and are none, and other ways to write one that is."""

import re
from urllib.parse import quote

from api.routes import ROUTES

# What HTTP libraries and servers have been seen to strip, split at, or take for another character: anywhere in a path,
EVERYWHERE = (
    *("%0a", "%0d", "%0d%0a", "%00", "%09", "%20", "%2f", "%2e", "%3f", "%23", "%3b", "%5c", "%25", "%ff"),
    *("/", "//", "/.", "/..", "/./", "/../", "/%2e%2e", ";x", "%e2%80%8b"),
)
# and at its end.
AT_THE_END = (
    *("%0b", "%0c", "%1f", "%7f", "%c2%85", "%c2%a0", "%e2%80%a8", "%ef%bc%8f", "%2F", "%2e%2e", "%2f.", "%2f..%2f"),
    *("%250a", "%", "%0", "%zz", ".", ";", "\\", "+", "~", "!", "*", "/%0a", "%0a/", "/%20", "%0a%0a", "%00.css"),
)
RAW = (b" ", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\x0b", b"\x0c", b"\x7f", b"\x85", b"\xa0", "／".encode())
# What a request's first line may have around a path, before it and after it.
WAYS = [
    (before, after)
    for before in (b" ", b"http://elsewhere", b"http://user:password@elsewhere:1")
    for after in (b"", b" ", b"?", b"?/../x", b"#x", b"?x#/y")
]


def mutations(path: str) -> set[str]:
    """The path, with every oddity after it, before it, and in it; and as it is, otherwise written."""
    # After the first slash, before the last, and in the middle of the last word.
    places = {len(path), 0, 1, path.rindex("/"), path.rindex("/") + 1, (path.rindex("/") + len(path) + 1) // 2}
    made = {path[:place] + odd + path[place:] for odd in EVERYWHERE for place in places}
    made |= {path + odd for odd in AT_THE_END}
    letter = re.search(r"[a-z]", path)
    if letter:
        at = letter.start()
        full_width = "".join(chr(ord(character) - 0x20 + 0xFF00) for character in path[1:])
        made |= {
            path.upper(),
            path.title(),
            path[:at] + path[at].upper() + path[at + 1 :],
            path[:-1] + path[-1].upper(),
            path[:at] + f"%{ord(path[at]):02x}" + path[at + 1 :],
            "/" + "".join(f"%{ord(character):02x}" for character in path[1:]),
            path[0] + quote(full_width),
            path[:at] + quote(chr(ord(path[at]) - 0x20 + 0xFF00)) + path[at + 1 :],
            path.upper() + "%0a",
            path[:at] + f"%{ord(path[at]):02x}" + path[at + 1 :] + "%0a",
        }
    made |= {
        path.replace("/", "//"),
        path.replace("/", "/./"),
        path.replace("/", "%2f"),
        "/" + path[1:].replace("/", "%2f"),
        "/" + path[1:].replace("/", "\\"),
        "/x/.." + path,
        "/.." + path,
        path + "/x/..",
        path + "/%0a/..",
    }
    # A request's path begins with a slash: what does not is no HTTP, and tried below.
    return {mutated for mutated in made if mutated.startswith("/")} - {path, "/"} - {route.path for route in ROUTES}
