"""The two BentoML services: a gateway that checks keys, limits and logs, and a runner that computes batches of images.

A request passes the middlewares from the outside in: error envelope, usage log, authentication, idempotency key, rate
limit, limits on its body, kept answers. Then comes its route. `docs/architecture.md` shows the way, file by file.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import bentoml
import numpy as np

from api import json_routes
from api.body_limits import BodyLimits
from api.classification_routes import ClassificationRoutes, refusal
from api.draining import Draining
from api.gateway import Gateway
from api.streams import StreamOptions
from auth.authentication import Authentication
from auth.failed_logins import FailureLimit
from auth.idempotency import Idempotency
from auth.kept_answers import KeptAnswers, keep_forgetting
from auth.rate_limit import RateLimit
from auth.usage_log import UsageLog
from configs.settings import Settings, SettingsError, load_settings
from inference import gauges
from inference.classifier import Classifier
from inference.runner import EmbeddedRunner, Runner, batch_sizes, predict_timed
from model import choices
from model.devices import chosen_engine
from model.engine import Description, Engine
from model.errors import ModelError
from model.loading import load_engine
from model.prepared import find_prepared
from model.store import PreparedModel
from runtime import bentoml_defaults, dispatching, logs
from runtime.bentos import MissingModel, PackedModel
from runtime.machine import memory_bytes
from runtime.processes import delay_sigterm_until_exited, end_with_parent, freeze_gc, on_sigterm
from storage.errors import StorageUnavailable
from storage.policy import Limit, parse_limits
from storage.store import Store
from web.context import RequestContext
from web.cors import CrossOrigin, Preflight
from web.envelope import Envelope
from web.problem import Problem, storage_unavailable

# Request bodies that one worker holds at a time: this many of the largest, and at most this share of the memory.
BODIES_AT_ONCE, SHARE_OF_MEMORY = 25, 1 / 8

Load = Callable[[PreparedModel, Settings], tuple[Engine, Description]]
StandIns = Mapping[type, tuple[type, dict[str, Any]] | None]


class Services(NamedTuple):
    """The two services. BentoML starts the runner beside the gateway where the gateway depends on it."""

    runner: bentoml.Service[Any]
    gateway: Gateway


@dataclass(frozen=True)
class _Plan:
    """What both services are built from."""

    settings: Settings
    load: Load
    prepared: PreparedModel | None
    is_embedded: bool
    max_batch: int

    def model(self) -> PreparedModel:
        assert self.prepared is not None, "the start prepares a model before it starts a worker"
        return self.prepared

    def load_engine(self) -> tuple[Engine, Description]:
        return self.load(self.model(), self.settings)

    def embedded_runner(self) -> Runner:
        return EmbeddedRunner(*self.load_engine(), self.max_batch, batch_sizes(self.max_batch))

    def remote_runner(self, service: Callable[[], Any]) -> Runner:
        # Imported only here: BentoML's client takes long to load.
        from inference.remote_runner import RemoteRunner

        return RemoteRunner(lambda: service().to_async, self.max_batch)

    def packed(self) -> bentoml.models.BentoModel:
        """Return what `bentoml build` packs, where a service names it as an attribute."""
        return MissingModel("none") if self.prepared is None else PackedModel(self.prepared.tag)


def build(settings: Settings, load: Load = load_engine, stand_ins: StandIns | None = None) -> Services:
    """Build the services for these settings.

    Args:
        settings: all settings.
        load: loads the engine; benchmarks and load tests pass one that does nothing, or takes its time.
        stand_ins: for a middleware, what takes its place, with its options; None leaves it out. For benchmarks.

    Raises:
        ModelError: the settings name a model that can't be served.
    """
    logs.use(settings.log_format)
    prepared = find_prepared(settings)
    # On a GPU the runner is a service of its own, which several gateways feed. On a CPU that costs more than it gives.
    is_embedded = settings.runner == "embedded" or (settings.runner == "auto" and chosen_engine(settings) == "openvino")
    # The start measures the best size of batches; workers start after that, and find it in their settings.
    max_batch = choices.current(prepared, settings).configuration.batch_size
    plan = _Plan(settings, load, prepared, is_embedded, max_batch)
    store, draining = Store(settings.database_url, settings.redis_url), Draining(settings.drain_seconds)
    runner = _runner_service(plan)
    gateway = _gateway_service(plan, runner, store, draining)
    others = json_routes.build(store, _classifier, parse_limits(settings.default_limit))
    gateway.document = json_routes.document_of(others)
    gateway.mount_asgi_app(others, path="/")
    origins = [*filter(None, settings.cors_origins.split(","))]
    gateway.stream_options = StreamOptions(origins, settings.max_body_bytes, _bytes_at_once(settings), draining)
    for middleware, options in _middlewares(settings, origins, store, draining):
        placed = (stand_ins or {}).get(middleware, (middleware, options))
        if placed is not None:
            gateway.add_asgi_middleware(placed[0], **placed[1])
    return Services(runner, gateway)


def _runner_service(plan: _Plan) -> bentoml.Service[Any]:
    # BentoML refuses batches of one.
    batched = {"batchable": True, "max_batch_size": plan.max_batch} if plan.max_batch > 1 else {}

    # BentoML's client closes a connection after 100 requests or 300 s, also one with requests under way. Never, here.
    @bentoml.service(workers=1, runner_connection={"max_requests": 10**9, "max_age": 1e9})
    class ResNetRunner:
        """Runs the model on batches of images."""

        model = plan.packed()

        def __init__(self) -> None:
            end_with_parent()
            self.engine, self.description = plan.load_engine()

        @bentoml.on_startup
        async def set_up_worker(self) -> None:
            """Start batches as soon as the engine is free, and answer gateways until they have exited."""
            dispatching.dispatch_when_free()
            dispatching.keep_media_types(ResNetRunner)
            delay_sigterm_until_exited("ImageClassifier")
            freeze_gc()

        @bentoml.api(**batched)
        def predict(self, images: np.ndarray) -> np.ndarray:
            """uint8, n x height x width x 3 → float32, n x (labels + 1): see `predict_timed`."""
            return predict_timed(self.engine, images)

        @bentoml.api
        def describe(self) -> dict[str, Any]:
            """Return what the model runs on."""
            return asdict(self.description)

    return ResNetRunner


def _gateway_service(plan: _Plan, runner_service: bentoml.Service[Any], store: Store, draining: Draining) -> Gateway:
    # BentoML's own probe of the runner raises where the runner is gone. `__is_ready__` asks the runner instead.
    @bentoml.service(service_class=Gateway, workers=1, runner_probe={"enabled": False})
    class ImageClassifier(ClassificationRoutes):
        """Image classification: send an image, get its most probable labels."""

        model = plan.packed()
        runner = None if plan.is_embedded else bentoml.depends(runner_service)

        def __init__(self) -> None:
            end_with_parent()
            runner = plan.embedded_runner() if plan.is_embedded else plan.remote_runner(lambda: self.runner)
            self.classifier = Classifier(runner, plan.model(), plan.settings)
            self.most_images = plan.settings.max_batch_images

        @bentoml.on_deployment
        def prepare() -> None:
            """Create the tables and prepare the model; called once, before any worker starts."""
            # Imported only here: workers need not load what it takes.
            from api.start import prepare_start

            prepare_start(plan.settings)

        @bentoml.on_startup
        async def warm_up(self) -> None:
            """Have the runner answer an image as soon as it is up, not when the first caller asks."""
            self._tasks = [
                asyncio.create_task(self.classifier.warm_up()),
                asyncio.create_task(gauges.keep_reporting(store, self.classifier)),
                asyncio.create_task(keep_forgetting(store)),
            ]
            on_sigterm(draining.begin)
            freeze_gc()

        @bentoml.on_shutdown
        async def finish(self) -> None:
            """Write the rows that wait for the usage log."""
            for task in self._tasks:
                task.cancel()
            self.classifier.close()
            await store.close()

        async def __is_ready__(self) -> bool:
            try:
                await store.ping()
            except StorageUnavailable as error:
                raise storage_unavailable(error.caller) from None
            return await self.classifier.is_ready()

    made: Any = ImageClassifier
    assert isinstance(made, Gateway)
    return made


def _classifier() -> Classifier:
    return bentoml.get_current_service().classifier


def _refusal(request: RequestContext) -> Problem | None:
    return refusal(request, _classifier())


def _bytes_at_once(settings: Settings) -> int:
    return min(BODIES_AT_ONCE * settings.max_body_bytes, int(SHARE_OF_MEMORY * memory_bytes()))


def _middlewares(
    settings: Settings, origins: list[str], store: Store, draining: Draining
) -> list[tuple[type, dict[str, Any]]]:
    """Return the middlewares with their options, the outermost first."""
    return [
        *([(CrossOrigin, {"origins": origins})] if origins else []),
        (Envelope, {}),
        *([(Preflight, {"origins": origins})] if origins else []),
        (UsageLog, {"store": store}),
        (Authentication, {"store": store, "failures": FailureLimit(Limit.parse(settings.auth_failure_limit))}),
        (Idempotency, {"store": store}),
        (RateLimit, {"store": store, "refusal": _refusal}),
        (
            BodyLimits,
            {
                "max_bytes": settings.max_body_bytes,
                "max_bytes_at_once": _bytes_at_once(settings),
                "draining": draining,
            },
        ),
        (KeptAnswers, {}),
    ]


try:
    bentoml_defaults.use()
    # BentoML finds the services by these names in this module: `service:ImageClassifier`.
    ResNetRunner, ImageClassifier = build(load_settings())
except (SettingsError, ModelError) as error:
    # Every program that imports this module shows an exception with its traceback; this shows one line.
    sys.exit(f"ERROR: {error}")
