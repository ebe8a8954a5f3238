"""The service without its gate: the same routes and runner, with the three middlewares removed."""

from auth.authentication import Authentication
from auth.rate_limit import RateLimit
from auth.usage_log import UsageLog
from service import ImageClassifier  # noqa: TID251 - what is measured is the service itself

GATE = (UsageLog, Authentication, RateLimit)
kept = [(middleware, options) for middleware, options in ImageClassifier.middlewares if middleware not in GATE]
assert len(ImageClassifier.middlewares) - len(kept) == len(GATE)
ImageClassifier.middlewares[:] = kept
