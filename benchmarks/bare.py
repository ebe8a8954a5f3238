"""The service without its gate: the same routes and runner, with the three middlewares removed."""

import bentoml

from auth.authentication import Authentication
from auth.rate_limit import RateLimit
from auth.usage_log import UsageLog
from service import ImageClassifier  # noqa: TID251 - what is measured is the service itself

GATE = (UsageLog, Authentication, RateLimit)
gateway: bentoml.Service = ImageClassifier
kept = [(middleware, options) for middleware, options in gateway.middlewares if middleware not in GATE]
assert len(gateway.middlewares) - len(kept) == len(GATE)
gateway.middlewares[:] = kept
