"""The service with a slow model, for the test that a load test can fail: `loadtests.slowed:ImageClassifier`."""

import time

from configs.settings import Settings, load_settings
from model.engine import Description, Engine, Images, Probabilities
from model.loading import load_engine
from model.store import PreparedModel
from service import build  # noqa: TID251 - the service itself, with that engine

SLEEPS_S = 0.5


class SlowedEngine:
    """Sleeps for half a second, then computes what another engine does."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.precision, self.streams = engine.name, engine.precision, engine.streams
        self._engine = engine

    def predict(self, images: Images, together: bool = True) -> Probabilities:
        time.sleep(SLEEPS_S)
        return self._engine.predict(images, together)


def _load(prepared: PreparedModel, settings: Settings) -> tuple[Engine, Description]:
    engine, description = load_engine(prepared, settings)
    return SlowedEngine(engine), description


ImageClassifier = build(load_settings(), _load).gateway
