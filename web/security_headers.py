"""The security headers of each answer: browsers must trust its content type, and let no other page embed it."""

_CSP = b"content-security-policy"
_CACHE = b"cache-control"
# Answers are data: a browser that shows one as a page must not load or run anything. Pages have a policy of their own.
_DATA_ONLY = (_CSP, b"default-src 'none'; frame-ancestors 'none'")
_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
_NO_STORE = (_CACHE, b"no-store")
# Only for TLS to this server. A proxy that terminates TLS adds the header itself; see deploy/nginx.
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000")

Headers = list[tuple[bytes, bytes]]
DATA_HEADERS: Headers = [*_ALWAYS, _DATA_ONLY]


def add_to(headers: Headers, has_key: bool, over_tls: bool) -> Headers:
    """Add the security headers to those of an answer, and return them. The answer's own policies stay.

    Args:
        headers: the headers of the answer, with names in lower case.
        has_key: whether the request had an API key: then caches must not store the answer.
        over_tls: whether the request came over TLS to this server itself.
    """
    names = {name for name, _ in headers}
    headers += _ALWAYS if _CSP in names else DATA_HEADERS
    if has_key and _CACHE not in names:
        headers.append(_NO_STORE)
    if over_tls:
        headers.append(_TLS_ONLY)
    return headers
