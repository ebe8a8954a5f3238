"""Runs BentoML's server without BentoML's command line, which would load all other commands too, for up to a second."""

import sys

from bentoml._internal.log import configure_server_logging
from bentoml._internal.service.loader import load
from bentoml.exceptions import BentoMLException

from runtime import bentoml_defaults
from runtime import port as port_check


def serve(service: str, host: str, port: int, is_development: bool = False, reload: bool = False) -> None:
    """Serve until a signal ends it, as `bentoml serve SERVICE` does in the folder of the service.

    Args:
        service: the module and name of the service.
        host: the address to listen on, or its name.
        port: the port to listen on.
        is_development: serve in one process.
        reload: start again whenever the code changes.

    Raises:
        SystemExit: it can't be served; one line says why.
    """
    # Only a supervisor needs it: workers import this package too.
    from _bentoml_impl.server.serving import serve_http

    # Before the service, which does the same: BentoML looks for its folder when it loads one.
    bentoml_defaults.use()
    configure_server_logging()
    try:
        load(service, working_dir=".").inject_config()
        address = port_check.address_of(host)
        serve_http(service, working_dir=".", host=address, port=port, development_mode=is_development, reload=reload)
    except BentoMLException as error:
        sys.exit(f"ERROR: {error}")
