"""Decides how the model is served: which one, where its runner is, and how large batches are; and loads its engine.

BentoML's supervisor imports this module too. What only workers need is imported where they need it.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from configs.settings import Settings
from model import choices
from model.devices import chosen_engine
from model.prepared import find_prepared
from model.store import PreparedModel
from runtime.bentos import MissingModel, PackedModel

if TYPE_CHECKING:
    import bentoml

    from inference.runner import Runner
    from model.engine import Description, Engine

Load = Callable[[PreparedModel, Settings], "tuple[Engine, Description]"]


@dataclass(frozen=True)
class Serving:
    """How the model is served, by the gateway and by the runner.

    Attributes:
        settings: all settings.
        load: loads the engine, in place of `model.loading.load_engine`.
        prepared: the prepared model; None: the start has yet to prepare it.
        is_embedded: whether the runner is in the gateway's process.
        max_batch: the most images of a batch.
    """

    settings: Settings
    load: Load | None
    prepared: PreparedModel | None
    is_embedded: bool
    max_batch: int

    @classmethod
    def of(cls, settings: Settings, load: Load | None = None) -> "Serving":
        """Decide it for these settings.

        Raises:
            ModelError: the settings name a model that can't be served.
        """
        prepared = find_prepared(settings)
        # On a GPU several gateways feed the runner, a service of its own. On a CPU that costs more than it gives.
        is_embedded = settings.runner == "embedded" or (
            settings.runner == "auto" and chosen_engine(settings) == "openvino"
        )
        # The start measures the best size of batches; workers start after that, and find it in their settings.
        max_batch = choices.current(prepared, settings).configuration.batch_size
        return cls(settings, load, prepared, is_embedded, max_batch)

    def model(self) -> PreparedModel:
        """Return the prepared model, in a worker."""
        assert self.prepared is not None, "the start prepares a model before it starts a worker"
        return self.prepared

    def load_engine(self) -> "tuple[Engine, Description]":
        """Load the engine, and tell what it runs on."""
        from model.loading import load_engine

        return (self.load or load_engine)(self.model(), self.settings)

    @cached_property
    def loading(self) -> "Future[tuple[Engine, Description]]":
        """The engine, as a future: a thread begins to load it when this property is first read."""
        thread = ThreadPoolExecutor(1, "load-engine")
        loading = thread.submit(self.load_engine)
        thread.shutdown(wait=False)
        return loading

    def begin_loading(self) -> None:
        """Begin to load the engine in a thread, if the runner is embedded, while the worker imports other modules."""
        if self.is_embedded:
            _ = self.loading

    def runner(self, service: Callable[[], Any]) -> "Runner":
        """Return the runner that the gateway uses.

        Args:
            service: returns the runner's service, where the runner is not embedded.
        """
        if self.is_embedded:
            from inference.runner import EmbeddedRunner, batch_sizes

            return EmbeddedRunner(*self.loading.result(), self.max_batch, batch_sizes(self.max_batch))
        # Imported only here: BentoML's client takes long to load.
        from inference.remote_runner import RemoteRunner

        return RemoteRunner(lambda: service().to_async, self.max_batch)

    def packed(self) -> "bentoml.models.BentoModel":
        """Return what `bentoml build` packs, where a service names it as an attribute."""
        return MissingModel("none") if self.prepared is None else PackedModel(self.prepared.tag)
