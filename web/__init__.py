"""HTTP code that every part of the service shares: problems (RFC 9457), request ids, the access log, CORS, routes."""
