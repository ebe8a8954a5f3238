"""What every answer tells a browser: to take it for what it says it is, and to let no other page make use of it."""

_CSP = b"content-security-policy"
_CACHE = b"cache-control"
# Answers are data: a browser that shows one as a page may load and run nothing. Pages bring a policy of their own.
_DATA_ALONE = (_CSP, b"default-src 'none'; frame-ancestors 'none'")
_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
_NOT_KEPT = (_CACHE, b"no-store")
# Behind a proxy that ends TLS, the proxy says so; see deploy/nginx.
_TLS_ALONE = (b"strict-transport-security", b"max-age=31536000")

Headers = list[tuple[bytes, bytes]]
OF_DATA: Headers = [*_ALWAYS, _DATA_ALONE]


def added(headers: Headers, to_a_key: bool, over_tls: bool) -> Headers:
    """The headers of an answer with those of this module; the answer's own policies stay.

    Args:
        headers: the answer's, with names in lower case.
        to_a_key: whether the request brought a key: nobody but its owner is to see the answer.
        over_tls: whether the request came over TLS to this server itself.
    """
    names = {name for name, _ in headers}
    headers += _ALWAYS if _CSP in names else OF_DATA
    if to_a_key and _CACHE not in names:
        headers.append(_NOT_KEPT)
    if over_tls:
        headers.append(_TLS_ALONE)
    return headers
