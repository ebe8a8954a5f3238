"""The service without its gate: the same routes and runner, with no limit, no usage log, and one caller for all."""

import bentoml

from auth.authentication import Authentication
from auth.rate_limit import RateLimit
from auth.usage_log import UsageLog
from benchmarks.stand_ins import KnownCaller
from service import ImageClassifier  # noqa: TID251 - what is measured is the service itself

gateway: bentoml.Service = ImageClassifier
assert {UsageLog, Authentication, RateLimit} <= {middleware for middleware, _ in gateway.middlewares}
# The routes ask who calls: authentication leaves one who is always there in its place.
gateway.middlewares[:] = [
    (KnownCaller, {}) if middleware is Authentication else (middleware, options)
    for middleware, options in gateway.middlewares
    if middleware not in (UsageLog, RateLimit)
]
