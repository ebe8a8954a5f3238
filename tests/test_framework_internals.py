"""What `runtime/` relies on in the insides of BentoML, uvicorn, Starlette and circus, one test for each.

None of it is a public interface. When a new version changes one, its test says which module of `runtime/` to look at;
the end-to-end tests would only say that something hangs. `ruff` lets no other room import private modules.
"""

import inspect
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import bentoml
import pytest
import uvicorn.config
from _bentoml_impl.server.app import ContextMiddleware, ServiceAppFactory
from _bentoml_impl.worker import service as worker_service
from _bentoml_sdk import Service, method
from bentoml import IODescriptor
from bentoml._internal.bento.bento import BentoServiceInfo
from bentoml._internal.configuration import containers
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.marshal import dispatcher
from bentoml._internal.models.model import copy_model
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from bentoml._internal.server.http.traffic import MaxConcurrencyMiddleware, TimeoutMiddleware
from bentoml._internal.utils.analytics import usage_stats
from bentoml.models import BentoModel
from bentoml.serving import ensure_prometheus_dir
from bentoml_cli import serve as serve_command
from circus.arbiter import Arbiter
from circus.process import Process
from circus.sighandler import SysHandler
from circus.sockets import CircusSocket
from circus.util import synchronized
from circus.watcher import Watcher
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.util.http import parse_excluded_urls
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from starlette.applications import Starlette
from starlette.middleware import Middleware
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from uvicorn.server import ServerState

from runtime import http_protocol, lingering_close
from runtime.quick_start import DEFERRED, load
from testing.servers import PROJECT

# Where another test of this process has imported the service, this module is deferred.
serving = load("_bentoml_impl.server.serving")


def parameters(called: Callable[..., Any]) -> list[str]:
    return [*inspect.signature(called).parameters]


def never_set(owner: type, *names: str) -> list[str]:
    """Return those of the attributes that no method of the class sets."""
    source = inspect.getsource(owner)
    return [name for name in names if f"self.{name} =" not in source and f"self.{name}:" not in source]


def test_bentoml_app_finds_the_time_limit() -> None:
    assert parameters(TimeoutMiddleware) == ["app", "timeout"]
    assert parameters(MaxConcurrencyMiddleware)[:2] == ["app", "max_concurrency"]


def test_bentoml_app_changes_what_starlette_has_not_built_yet() -> None:
    app = Starlette(middleware=[Middleware(TimeoutMiddleware, timeout=60)])
    assert app.user_middleware[0].kwargs == {"timeout": 60}
    assert app.middleware_stack is None
    assert "self.user_middleware" in inspect.getsource(Starlette.build_middleware_stack)
    assert isinstance(app.router.routes, list)


def test_bentoml_app_finds_where_tracing_is_excluded() -> None:
    assert "excluded_urls" in parameters(OpenTelemetryMiddleware)
    assert parse_excluded_urls(".*").url_disabled("")
    assert not parse_excluded_urls("/livez,/readyz").url_disabled("")
    assert not parse_excluded_urls("").url_disabled("")


def test_bentoml_app_finds_the_innermost_middleware_and_the_endpoints() -> None:
    class Named:
        @bentoml.api(route="/here")
        async def endpoint(self, text: str) -> str:
            return text

    service = bentoml.service(Named)
    app = service.to_asgi()
    assert app.user_middleware[-1].cls is ContextMiddleware
    used = [one.cls for one in app.user_middleware]
    assert {OpenTelemetryMiddleware, RunnerTrafficMetricsMiddleware} <= {*used}
    assert {one.route: one.func.__name__ for one in service.apis.values()} == {"/here": "endpoint"}


def test_bentoml_config_finds_the_home_and_cors() -> None:
    assert Path(BentoMLContainer.bentoml_home.get()).is_dir()
    assert BentoMLContainer.http.cors.enabled.get() is False


def test_bentoml_defaults_finds_what_bentoml_has_read_and_comes_before_what_it_reads() -> None:
    assert callable(usage_stats.do_not_track.cache_clear)
    assert isinstance(BentoMLContainer.model_store, containers.providers.SingletonFactory)
    serve = inspect.getsource(serve_command.build_serve_command)
    assert serve.index("svc = load(") < serve.index("svc.inject_config()") < serve.rindex("serve_http(")
    assert "ensure_prometheus_dir()" in inspect.getsource(serving.serve_http)
    assert (
        inspect.signature(ensure_prometheus_dir).parameters["directory"].default
        == containers.Provide[BentoMLContainer.prometheus_multiproc_dir]
    )
    assert "load_config(" in inspect.getsource(Service.inject_config)


def test_metrics_files_finds_what_it_replaces_in_prometheus_files() -> None:
    assert "files[file_prefix] = MmapedDict(filename)" in inspect.getsource(values.MultiProcessValue)
    made = inspect.getsource(MmapedDict)
    assert "while self._used + len(value) > self._capacity:" in made
    assert "self._positions[key] = self._used - 16" in made
    assert parameters(MmapedDict.write_value) == ["self", "key", "value", "timestamp"]


def test_bentos_finds_where_a_build_asks_for_a_model() -> None:
    assert "m.to_info() for m in svc.models" in inspect.getsource(BentoServiceInfo.from_service)
    assert parameters(copy_model) == ["model_tag", "src_model_store", "target_model_store"]
    assert parameters(BentoModel.resolve)[:2] == ["self", "base_path"]


def test_dispatching_finds_the_learned_delay() -> None:
    assert never_set(dispatcher.Optimizer, "wait") == []
    assert "self.optimizer.wait" in inspect.getsource(dispatcher.CorkDispatcher)


def test_dispatching_finds_where_the_media_type_is_computed() -> None:
    assert "output_spec" in inspect.signature(method.APIMethod).parameters
    assert IODescriptor.media_type is None
    assert "cls.media_type is not None" in inspect.getsource(IODescriptor.mime_type)


@pytest.mark.parametrize(("module", "names"), [item for together in DEFERRED for item in together.items()])
def test_quick_start_defers_what_is_there(module: str, names: tuple[str, ...]) -> None:
    assert [name for name in names if not callable(getattr(import_module(module), name))] == []


@pytest.mark.parametrize(
    "line",
    [
        "import uvicorn.supervisors.basereload, uvicorn; assert uvicorn.run",
        "import openvino.tools.ovc.convert, openvino; assert openvino.convert_model",
        "from importlib.util import find_spec; assert find_spec('httpx')",
        "from huggingface_hub import HfFileSystem, InferenceClient; assert HfFileSystem and InferenceClient",
    ],
)
def test_what_quick_start_defers_is_whole_for_whoever_needs_it(line: str) -> None:
    program = f"import runtime.quick_start, bentoml\nbentoml.service, bentoml.models\n{line}"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_quick_start_finds_the_client_that_a_worker_opens_of_its_own_service() -> None:
    creation = inspect.getsource(ServiceAppFactory.create_instance)
    assert "from ..client import RemoteProxy" in creation
    assert creation.index("await proxy.__aenter__()") < creation.index(".to_async = proxy.to_async")


def test_bentoml_server_does_what_the_command_line_does() -> None:
    serve = inspect.getsource(serve_command.build_serve_command)
    assert serve.index("configure_server_logging()") < serve.index("svc = load(bento_identifier=bento")
    assert {"working_dir", "host", "port", "development_mode", "reload"} <= {*parameters(serving.serve_http)}


def test_worker_takes_the_place_of_bentomls_own() -> None:
    assert serving._SERVICE_WORKER_SCRIPT == "_bentoml_impl.worker.service"
    source = inspect.getsource(serving.serve_http)
    assert source.index("server_on_deployment(svc)") < source.index("_SERVICE_WORKER_SCRIPT")
    assert callable(worker_service.main)


def test_processes_finds_the_supervisors_signals() -> None:
    assert parameters(CircusSocket.bind_and_listen) == ["self"]
    assert never_set(CircusSocket, "host", "port", "is_unix") == []
    assert parameters(SysHandler) == ["controller"]
    assert parameters(SysHandler.quit) == ["self"]
    assert never_set(SysHandler, "controller", "_old") == []
    assert "self.quit()" in inspect.getsource(SysHandler.handle_term)
    assert "self.quit()" in inspect.getsource(SysHandler.handle_int)
    assert never_set(Arbiter, "sockets") == []


def test_processes_finds_how_the_supervisor_looks_after_its_workers() -> None:
    assert "self.SIGNALS" in inspect.getsource(SysHandler._register)
    assert signal.SIGHUP in SysHandler.SIGNALS
    assert "self.reload()" in inspect.getsource(SysHandler.handle_hup)
    assert "self.SIG_NAMES" in inspect.getsource(SysHandler.signal)
    assert parameters(Arbiter.manage_watchers) == parameters(Arbiter.iter_watchers)[:1] == ["self"]
    assert isinstance(Process.status, property)
    assert never_set(Watcher, "processes") == []
    assert "raise ConflictError" in inspect.getsource(synchronized)


def test_processes_finds_workers_by_the_name_of_their_service() -> None:
    assert '"--service-name"' in inspect.getsource(serving)


def test_http_protocol_is_the_one_that_uvicorn_picks() -> None:
    assert "auto" in uvicorn.config.HTTP_PROTOCOLS
    assert inspect.signature(uvicorn.Config).parameters["http"].default == "auto"


@pytest.mark.parametrize("extended", [http_protocol.LimitedProtocol, lingering_close.LingeringProtocol])
def test_every_method_that_a_protocol_replaces_is_there(extended: type[HttpToolsProtocol]) -> None:
    marked = [
        name
        for name, method in vars(extended).items()
        if callable(method) and (method.__doc__ or "").startswith(("See uvicorn", "See `asyncio"))
    ]
    assert len(marked) >= 4
    for name in marked:
        assert parameters(getattr(extended, name)) == parameters(getattr(HttpToolsProtocol, name)), name


def test_the_protocols_find_uvicorns_state() -> None:
    state = ("cycle", "expect_100_continue", "flow", "headers", "parser", "pipeline", "scope", "server_state")
    assert never_set(HttpToolsProtocol, *state, "timeout_keep_alive", "transport", "url") == []
    assert never_set(RequestResponseCycle, "disconnected", "keep_alive", "message_event", "response_complete") == []
    assert never_set(RequestResponseCycle, "response_started", "transport") == []
    assert parameters(HttpToolsProtocol._start_asgi_task) == ["self", "cycle", "app"]
    assert httptools_impl.STATUS_LINE[404].startswith(b"HTTP/1.1 404 ")
    assert never_set(ServerState, "connections", "default_headers", "total_requests") == []


def test_http_protocol_replaces_the_flow_control() -> None:
    assert parameters(FlowControl) == ["transport"]
    assert parameters(FlowControl.resume_reading) == parameters(FlowControl.pause_reading) == ["self"]


@pytest.mark.parametrize(("room", "is_allowed"), [("runtime", True), ("api", False), ("auth", False), ("model", False)])
@pytest.mark.parametrize("line", ["from bentoml._internal import log\n\nlog\n", "import this\n\nthis._c\n"])
def test_only_runtime_may_touch_private_names(room: str, is_allowed: bool, line: str) -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "PLC2701,SLF001",
        "--stdin-filename",
        f"{room}/x.py",
        "-",
    ]
    done = subprocess.run(command, cwd=PROJECT, input=line, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is is_allowed, done.stdout


def test_http_protocol_hands_a_connection_over_to_a_web_socket() -> None:
    source = inspect.getsource(HttpToolsProtocol.handle_websocket_upgrade)
    for used in ("self.ws_protocol_class(", 'self.scope["method"]', 'self.scope["headers"]', "set_protocol(protocol)"):
        assert used in source


def test_web_socket_protocol_extends_uvicorns() -> None:
    assert parameters(WSProtocol.__init__)[:4] == ["self", "config", "server_state", "app_state"]
    assert (
        never_set(
            WSProtocol,
            *("queue", "buffer", "conn", "close_sent", "close_timer", "close_timeout", "read_paused", "logger"),
            *("ping_sent_at", "pong_timer", "pending_ping_payload", "transport", "loop"),
        )
        == []
    )
    extended = ("handle_message", "handle_close", "keepalive_timeout", "schedule_ping", "stop_keepalive", "shutdown")
    assert all(hasattr(WSProtocol, name) for name in (*extended, "receive", "send", "pause_writing", "resume_writing"))
    # `close_timer` keeps the connection open after the app has returned.
    assert "if self.close_timer is None:" in inspect.getsource(WSProtocol.run_asgi)
    # uvicorn makes no WebSocket of a message whose frames are compressed unless this setting is on.
    assert "self.config.ws_per_message_deflate" in inspect.getsource(WSProtocol.send)
