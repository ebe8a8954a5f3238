"""HTTP as every part of the service speaks it: problems (RFC 9457), request ids, the access log, CORS, routes."""
