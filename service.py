"""The two BentoML services: a gateway that checks keys, limits and logs, and a runner that computes batches of images.

`api/assembly.py` has the middlewares in their order. `docs/architecture.md` shows the way of a request, file by file.
"""

# isort: off
import runtime.quick_start  # noqa: F401 - before anything that imports BentoML or OpenVINO

# isort: on
import asyncio
import sys
from dataclasses import asdict
from typing import Any, NamedTuple

import bentoml

from api.classification_routes import ClassificationRoutes
from api.gateway import Gateway, StandIns
from configs.settings import Settings, SettingsError, load_settings
from inference.serving import Load, Serving
from model.errors import ModelError
from runtime import bentoml_defaults, logs

# What only workers need is imported where they need it: BentoML's supervisor imports this module too, at every start.


class Services(NamedTuple):
    """The two services. BentoML starts the runner beside the gateway, unless it is embedded: then there is none."""

    runner: bentoml.Service[Any] | None
    gateway: Gateway


def build(settings: Settings, load: Load | None = None, stand_ins: StandIns | None = None) -> Services:
    """Build the services for these settings.

    Args:
        settings: all settings.
        load: loads the engine, in place of `model.loading.load_engine`; benchmarks and load tests pass one that does
            nothing, or takes its time.
        stand_ins: for a middleware, what takes its place, with its options; None leaves it out. For benchmarks.

    Raises:
        ModelError: the settings name a model that can't be served.
    """
    logs.use(settings.log_format)
    serving = Serving.of(settings, load)
    runner = None if serving.is_embedded else _runner_service(serving)
    gateway = _gateway_service(serving, runner)
    gateway.set_up(settings, stand_ins or {}, serving.begin_loading)
    return Services(runner, gateway)


def _runner_service(serving: Serving) -> bentoml.Service[Any]:
    import numpy as np

    from inference.runner import predict_timed
    from runtime import dispatching
    from runtime.garbage_collection import freeze_gc
    from runtime.processes import delay_sigterm_until_exited, end_with_parent

    # BentoML refuses batches of one.
    batched = {"batchable": True, "max_batch_size": serving.max_batch} if serving.max_batch > 1 else {}

    # BentoML's client closes a connection after 100 requests or 300 s, also one with requests under way. Never, here.
    @bentoml.service(workers=1, runner_connection={"max_requests": 10**9, "max_age": 1e9})
    class ResNetRunner:
        """Runs the model on batches of images."""

        model = serving.packed()

        def __init__(self) -> None:
            end_with_parent()
            self.engine, self.description = serving.load_engine()

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


def _gateway_service(serving: Serving, runner_service: bentoml.Service[Any] | None) -> Gateway:
    # BentoML's own probe of the runner raises where the runner is gone. `__is_ready__` asks the runner instead.
    @bentoml.service(service_class=Gateway, workers=1, runner_probe={"enabled": False})
    class ImageClassifier(ClassificationRoutes):
        """Image classification: send an image, get its most probable labels."""

        model = serving.packed()
        runner = None if runner_service is None else bentoml.depends(runner_service)

        def __init__(self) -> None:
            from inference.classifier import Classifier
            from runtime.processes import end_with_parent

            end_with_parent()
            runner = serving.runner(lambda: self.runner)
            self.classifier = Classifier(runner, serving.model(), serving.settings)
            self.most_images = serving.settings.max_batch_images

        @bentoml.on_deployment
        def prepare() -> None:
            """Create the tables and prepare the model; called once, before any worker starts."""
            # Imported only here: workers need not load what it takes.
            from api.start import prepare_start

            prepare_start(serving.settings)

        @bentoml.on_startup
        async def warm_up(self) -> None:
            """Have the runner answer an image as soon as it is up, not when the first caller asks."""
            from auth.kept_answers import keep_forgetting
            from auth.webhook_delivery import Endpoint
            from inference import gauges
            from runtime.garbage_collection import freeze_gc
            from runtime.processes import on_sigterm

            parts = made.assembled()
            self._tasks = [
                asyncio.create_task(self.classifier.warm_up()),
                asyncio.create_task(gauges.keep_reporting(parts.store, self.classifier)),
                asyncio.create_task(keep_forgetting(parts.store)),
            ]
            endpoint = Endpoint.of(serving.settings)
            if endpoint is not None:
                from auth.quota_webhooks import keep_sending

                self._tasks.append(asyncio.create_task(keep_sending(parts.store, endpoint)))
            on_sigterm(parts.draining.begin)
            freeze_gc()

        @bentoml.on_shutdown
        async def finish(self) -> None:
            """Write the rows that wait for the usage log, and the metrics."""
            for task in self._tasks:
                task.cancel()
            self.classifier.close()
            await made.assembled().store.close()
            made.write_metrics()

        async def __is_ready__(self) -> bool:
            await made.assembled().check_store()
            return await self.classifier.is_ready()

    made: Any = ImageClassifier
    assert isinstance(made, Gateway)
    return made


try:
    bentoml_defaults.use()
    # BentoML finds the services by these names in this module: `service:ImageClassifier`.
    ResNetRunner, ImageClassifier = build(load_settings())
except (SettingsError, ModelError) as error:
    # Every program that imports this module shows an exception with its traceback; this shows one line.
    sys.exit(f"ERROR: {error}")
