"""The service without keys, limits and usage log: the same routes and runner, and one fixed caller."""

from api.gateway import StandIns
from auth.authentication import Authentication
from auth.rate_limit import RateLimit
from auth.usage_log import UsageLog
from benchmarks.stand_ins import FixedCaller
from configs.settings import load_settings
from service import build  # noqa: TID251 - what is measured is the service itself

# The routes need a caller, so a fixed one replaces authentication.
WITHOUT_AUTH: StandIns = {UsageLog: None, Authentication: (FixedCaller, {}), RateLimit: None}

ImageClassifier = build(load_settings(), stand_ins=WITHOUT_AUTH).gateway
