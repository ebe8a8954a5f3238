"""Makes starts quick; imported before anything of BentoML or OpenVINO.

It keeps a server from loading what it never uses: the client of BentoML's cloud, the proxy for servers in other
languages, what starts workers (in a worker), uvicorn's own supervisors, httpx, and OpenVINO's converter, which reports
to OpenVINO's makers. BentoML, uvicorn and OpenVINO import a few names of them at every start, which takes a third of a
second in each process. Here each of these names stands for the real one, and loads it when it is called. Any other name
loads the real module.

It also makes garbage collection rare, and limits the allocator's arenas, before any thread has one; and the threads of
numpy's linear algebra, which nothing here uses: an idle one keeps a core busy for a while.
"""

import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.garbage_collection import collect_rarely
from runtime.memory import use_few_arenas

_CLOUD, _CLIENT = "bentoml._internal.cloud", "_bentoml_impl.client"
Names = dict[str, tuple[str, ...]]
# What is loaded together: modules, and the names in them that BentoML imports at every start.
DEFERRED: tuple[Names, ...] = (
    {
        _CLOUD: (),
        f"{_CLOUD}.client": ("RestApiClient",),
        f"{_CLOUD}.schemas": (),
        f"{_CLOUD}.schemas.modelschemas": ("LabelItemSchema", "ModelManifestSchema"),
        f"{_CLOUD}.schemas.schemasv1": ("CreateModelSchema",),
    },
    {"_bentoml_impl.server.proxy": ("create_proxy_app",)},
    {"_bentoml_impl.server.serving": ("serve_http",)},
    {"httpx": ()},
    {"openvino.tools.ovc": ("convert_model",)},
    {"uvicorn.supervisors": ("ChangeReload", "Multiprocess")},
)


class _DeferredModule(ModuleType):
    """Takes the place of a module until a name is needed that is not deferred, or a deferred one is called."""

    def __init__(self, name: str, names: Iterable[str]) -> None:
        super().__init__(name)
        root, *inner = name.split(".")
        spec = find_spec(root)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        if not inner:
            # Other packages ask by it whether this one is installed.
            self.__spec__ = spec
        folder = Path(spec.submodule_search_locations[0]).joinpath(*inner)
        if folder.is_dir():
            # The other modules of a package are imported without it.
            self.__path__ = [str(folder)]
        for one in names:
            setattr(self, one, _deferred(name, one))

    def __getattr__(self, name: str) -> Any:
        # Python itself asks every module for such names.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(load(self.__name__), name)


def defer() -> None:
    """Defer the modules, but none that this program has loaded already."""
    for together in DEFERRED:
        if not together.keys() & sys.modules.keys():
            for name, names in together.items():
                sys.modules[name] = _DeferredModule(name, names)


class _NoProxy:
    """Takes the place of `RemoteProxy`: each of BentoML's workers opens a client of its own service, needed or not."""

    takes_place_of = "RemoteProxy"
    to_async = to_sync = None

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    async def __aenter__(self) -> None:
        pass

    async def close(self) -> None:
        pass


def leave_out_client() -> None:
    """Leave out BentoML's client, which loads two HTTP clients, from a worker that calls no other service."""
    if _CLIENT not in sys.modules:
        module = _DeferredModule(_CLIENT, ())
        setattr(module, _NoProxy.takes_place_of, _NoProxy)
        sys.modules[_CLIENT] = module


def _deferred(module: str, name: str) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(load(module), name)(*arguments, **named)

    return call


def load(name: str) -> ModuleType:
    """Load the real module, in place of the deferred ones that belong together."""
    client: Names = {_CLIENT: ()}
    for together in (*DEFERRED, client):
        if name in together:
            for one in together:
                if isinstance(sys.modules.get(one), _DeferredModule):
                    del sys.modules[one]
    return import_module(name)


collect_rarely()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
use_few_arenas()
defer()
