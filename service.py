"""The service: a gateway that keys, limits and logs every request, and a runner that batches images for the model.

A request passes, from the outside in: the error envelope, the usage log, authentication, the rate limit, its route.
"""

import asyncio
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.traffic import MaxConcurrencyMiddleware, TimeoutMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api import documents, reads, v1, v2
from api.body_limits import Draining, Intake
from api.endpoint import answered
from api.openapi import Document
from api.routes import ROUTES
from api.schemas import BatchAnswer, BatchUpload, ClassifyAnswer, ClassifyAnswerV2, ClassifyRequest, ClassifyUpload
from auth.authentication import Authentication
from auth.failed_logins import FailureLimit
from auth.rate_limit import RateLimit
from auth.usage_log import UsageLog
from configs.settings import PREFIX, SettingsError, load_settings
from inference import gauges
from inference.classification import Classification
from inference.runner import EmbeddedRunner, Runner, batch_sizes, predict_timed
from model import choices
from model.devices import chosen_engine
from model.engine import check, load_engine
from model.errors import ModelError
from model.prepare import source
from model.store import PreparedModel
from runtime import http_protocol, logs
from runtime.dispatching import dispatch_when_free, keep_media_types
from runtime.machine import memory_bytes
from runtime.processes import collect_seldom, end_with_parent, on_end, outlive, refuse_when_ending
from storage.errors import StorageError, StorageUnavailable
from storage.policy import Limit
from storage.store import Store
from web.cors import CrossOrigin, Preflight
from web.envelope import Envelope
from web.matching import Matching
from web.problem import Problem

# Bodies that one worker holds at a time: as multiples of the largest, and at most such a share of the memory.
BODIES_AT_ONCE, SHARE_OF_MEMORY = 25, 1 / 8

try:
    settings = load_settings()
    prepared = source.prepared(settings)
except (SettingsError, ModelError) as error:
    sys.exit(f"ERROR: {error}")
# On a GPU the runner is a service of its own, which several gateways feed; on a CPU the hop costs more than it gives.
is_embedded = settings.runner == "embedded" or (settings.runner == "auto" and chosen_engine(settings) == "openvino")
# The start measures it; workers, which come after that, find it in their settings.
most_in_batch = choices.current(prepared, settings).configuration.batch_size
store = Store(settings.database_url, settings.redis_url)
http_protocol.use()
logs.use(settings.log_format)
draining = Draining(settings.drain_seconds)
failures = FailureLimit(Limit.parse(settings.auth_failure_limit), settings.trusted_proxies)


# The client of `depends()` closes its connections, with requests under way, after 100 requests or 300 s: never, here.
@bentoml.service(workers=1, runner_connection={"max_requests": 10**9, "max_age": 1e9})
class ResNetRunner:
    """Runs the model on batches of images."""

    if prepared is not None:
        # Named here so that `bentoml build` packs it.
        packed = bentoml.models.BentoModel(prepared.tag)

    def __init__(self) -> None:
        end_with_parent()
        assert prepared is not None, "the start prepares a model before it starts a runner"
        self.engine, self.description = load_engine(prepared, settings)

    @bentoml.on_startup
    async def end_last(self) -> None:
        """Begin batches as soon as the engine is free, and answer the gateways until they have ended."""
        dispatch_when_free()
        keep_media_types(ResNetRunner)
        outlive("ImageClassifier")
        collect_seldom()

    @bentoml.api(batchable=True, max_batch_size=most_in_batch)
    def predict(self, images: np.ndarray) -> np.ndarray:
        """uint8, n x height x width x 3 → float32, n x (labels + 1): see `predict_timed`."""
        return predict_timed(self.engine, images)

    @bentoml.api
    def describe(self) -> dict[str, Any]:
        """What the model runs on."""
        return asdict(self.description)


class Gateway(bentoml.Service):
    """A BentoML service with the project's table of routes, OpenAPI document and time limit."""

    def to_asgi(self, is_main: bool = True) -> Matching:
        app = super().to_asgi(is_main)
        # BentoML's limits answer outside of the ledger, and in a shape of their own: `Intake` takes over the one, the
        # bound on the queue stands in for the other.
        used = {middleware.cls: middleware for middleware in app.user_middleware}
        if TimeoutMiddleware in used:
            used[Intake].kwargs["time_limit_s"] = used.pop(TimeoutMiddleware).kwargs["timeout"]
        used.pop(MaxConcurrencyMiddleware, None)
        app.user_middleware = [*used.values()]
        app.router.routes[:] = map(self._called_directly, app.router.routes)
        # Put first, or BentoML would work it out for every stranger who asks.
        app.router.routes.insert(0, documents.schema(self.schema()))
        return Matching(app, ROUTES)

    def _called_directly(self, route: BaseRoute) -> BaseRoute:
        """Have a route call its endpoint directly: it reads its request and shapes its errors without BentoML.

        BentoML's way there takes as much processor time as all of its middlewares together (DECISIONS 56).
        """
        method = self.apis.get(getattr(route, "name", ""))
        if method is None:
            return route

        async def call(request: Request) -> Response:
            return await method.func(bentoml.get_current_service(), request)

        return Route(method.route, call, methods=["POST"])

    @property
    def openapi_spec(self) -> Document:
        return reads.document_of(read_routes)


# Its own probe of the runner would raise where the runner is gone; `__is_ready__` asks it instead.
@bentoml.service(service_class=Gateway, workers=1, runner_probe={"enabled": False})
class ImageClassifier:
    """Image classification: send an image, get its most probable labels."""

    if prepared is not None:
        packed = bentoml.models.BentoModel(prepared.tag)
    if not is_embedded:
        runner = bentoml.depends(ResNetRunner)

    def __init__(self) -> None:
        end_with_parent()
        assert prepared is not None, "the start prepares a model before it starts a gateway"
        if is_embedded:
            engine, description = load_engine(prepared, settings)
            runner: Runner = EmbeddedRunner(engine, description, most_in_batch, batch_sizes(most_in_batch))
        else:
            from inference.remote_runner import RemoteRunner

            runner = RemoteRunner(lambda: self.runner.to_async, most_in_batch)
        self.classification = Classification(runner, prepared, settings)

    @bentoml.on_deployment
    def prepare() -> None:
        """Once, before any worker starts: the database has its tables, and there is a model."""
        # Imported by the start alone: workers need not load what it takes.
        from model.tune.tuning import measured_apart
        from storage.migrate import migrate

        if BentoMLContainer.http.cors.enabled.get():
            sys.exit("ERROR: BentoML's http.cors would answer behind the gate, too late; set CLASSIFIER_CORS_ORIGINS.")
        try:
            migrate(settings.database_url)
            # Workers serve what the start chose, also one that is restarted later.
            chosen = _chosen_model()
            os.environ[PREFIX + "PREPARED_MODEL"] = chosen.tag
            os.environ[PREFIX + "TUNED"] = measured_apart(chosen, settings, Path(__file__).parent).to_json()
            # The HTTP server of the workers would believe any proxy on this machine; ours are named by a setting.
            os.environ["FORWARDED_ALLOW_IPS"] = ""
            refuse_when_ending()
        except (StorageError, ModelError) as error:
            sys.exit(f"ERROR: {error}")

    @bentoml.on_startup
    async def warm_up(self) -> None:
        """Have the runner answer an image as soon as it is up, rather than when the first caller asks."""
        self._tasks = [
            asyncio.create_task(self.classification.warm_up()),
            asyncio.create_task(gauges.keep_telling(store, self.classification)),
        ]
        on_end(draining.begin)
        collect_seldom()

    @bentoml.on_shutdown
    async def finish(self) -> None:
        """Write what the ledger still waits for."""
        for task in self._tasks:
            task.cancel()
        self.classification.close()
        await store.close()

    async def __is_ready__(self) -> bool:
        try:
            await store.ping()
        except StorageUnavailable:
            return False
        return await self.classification.is_ready()

    @bentoml.api(route="/v1/classify", input_spec=ClassifyRequest, output_spec=ClassifyAnswer)
    @answered
    async def classify(self, request: Request) -> Response:
        """Classify one image: its five most probable labels."""
        return await v1.classify(request, self.classification)

    @bentoml.api(route="/v2/classify", input_spec=ClassifyUpload, output_spec=ClassifyAnswerV2)
    @answered
    async def classify_v2(self, request: Request) -> Response:
        """Classify one image: its most probable labels, and what was seen."""
        return await v2.classify(request, self.classification)

    @bentoml.api(route="/v2/classify/batch", input_spec=BatchUpload, output_spec=BatchAnswer)
    @answered
    async def classify_batch(self, request: Request) -> Response:
        """Classify several images: one entry for each, in order."""
        return await v2.classify_batch(request, self.classification, settings.max_batch_images)


def _chosen_model() -> PreparedModel:
    # Prepared in a process of its own, which takes torch and transformers away with it when it ends.
    preparing = [sys.executable, "-m", "model.prepare"]
    if not source.is_settled(settings) and subprocess.run(preparing, check=False).returncode != 0:
        sys.exit(1)
    chosen = source.prepared(settings)
    assert chosen is not None, "it has just been prepared"
    check(chosen, settings)
    return chosen


def _classification() -> Classification:
    return bentoml.get_current_service().classification


def _overload(user: str) -> Problem | None:
    return _classification().overload(user)


read_routes = reads.build(store, _classification)
gateway: bentoml.Service = ImageClassifier
gateway.mount_asgi_app(read_routes, path="/")
origins = [*filter(None, settings.cors_origins.split(","))]
# The first is the outermost.
if origins:
    gateway.add_asgi_middleware(CrossOrigin, origins=origins)
gateway.add_asgi_middleware(Envelope)
if origins:
    gateway.add_asgi_middleware(Preflight, origins=origins)
gateway.add_asgi_middleware(UsageLog, store=store)
gateway.add_asgi_middleware(Authentication, store=store, failures=failures)
gateway.add_asgi_middleware(RateLimit, store=store, overload=_overload)
gateway.add_asgi_middleware(
    Intake,
    max_bytes=settings.max_body_bytes,
    max_bytes_at_once=min(BODIES_AT_ONCE * settings.max_body_bytes, int(SHARE_OF_MEMORY * memory_bytes())),
    draining=draining,
)
