"""Prepares the start of the server, once, before any worker starts: the tables, the model, and how it is computed."""

import logging
import os
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from configs.data_folder import PROJECT
from configs.settings import PREFIX, Settings
from model.engine_check import check
from model.errors import ModelError
from model.prepare.hub import stand_in_again
from model.prepared import find_prepared, is_ready_to_serve
from model.store import PreparedModel
from model.tune.at_start import measure_in_subprocess
from runtime import bentoml_config, bentoml_defaults, port, python_path, running_servers, worker
from runtime.forwarded import trusted_hosts
from runtime.garbage_collection import freeze_gc
from runtime.processes import close_listeners_on_shutdown, end_on_hangup, replace_dead_workers_at_once, run_child
from storage import first_look, urls
from storage.errors import StorageError

logger = logging.getLogger("bentoml.classifier")


def prepare_start(settings: Settings) -> None:
    """Create or migrate the tables, prepare the model if there is none, and tell the workers what to serve.

    The workers read that from environment variables.

    Raises:
        SystemExit: the server can't start; one line says why.
    """
    if bentoml_config.answers_cors():
        sys.exit(
            "ERROR: BentoML's setting http.cors has no effect here, since keys are checked first; remove it, and set "
            "CLASSIFIER_CORS_ORIGINS."
        )
    try:
        if first_look.has_user(settings.database_url) is None:
            # Imported here, as below, since most starts find a database that is ready.
            from storage.migrate import migrate

            migrate(settings.database_url)
        tell_how_to_create_a_key(settings.database_url)
        prepared = _prepared_model(settings)
        chosen = measure_in_subprocess(prepared, settings, PROJECT)
    except (StorageError, ModelError) as error:
        sys.exit(f"ERROR: {error}")
    # All workers serve what this start chose, also a worker that is restarted later.
    os.environ[PREFIX + "PREPARED_MODEL"] = prepared.tag
    os.environ[PREFIX + "TUNED"] = chosen.to_json()
    # uvicorn reads the trusted proxies from this variable. By default it trusts any proxy on this machine.
    os.environ["FORWARDED_ALLOW_IPS"] = trusted_hosts(settings.trusted_proxies)
    running_servers.remove_leftovers(bentoml_defaults.metrics_folder())
    write_down_database(settings)
    worker.use()
    port.tell_in_one_line()
    close_listeners_on_shutdown()
    end_on_hangup()
    replace_dead_workers_at_once()
    freeze_gc()


def write_down_database(settings: Settings) -> None:
    """Write the database down, so that `python -m auth` finds it without a variable."""
    url, has_password = urls.without_password(settings.database_url)
    with suppress(ValueError):
        for folder in settings.data_folders():
            running_servers.write_down(folder, {"database_url": url, "has_password": has_password})


def tell_how_to_create_a_key(database_url: str) -> None:
    """Log the command that creates a key, if there is no user yet: without a key, nobody can classify."""
    if not _has_user(database_url):
        create = f"{_auth_command()} create --email you@example.org"
        logger.warning("There is no API key yet; create one: %s", create)


def _has_user(database_url: str) -> bool:
    seen = first_look.has_user(database_url)
    if seen is not None:
        return seen
    from storage import keys
    from storage.database import Database

    database = Database(database_url)
    try:
        return database.ask(keys.has_user)
    finally:
        database.close()


def _auth_command() -> str:
    """Return how `python -m auth` is run, for `sh`, from the folder that this server was started in."""
    python, here = Path(sys.executable), Path.cwd()
    activated = shutil.which("python")
    if python.is_relative_to(here):
        python = python.relative_to(here)
    elif activated and Path(activated).parent.resolve() == python.parent.resolve():
        python = Path("python")
    code = "" if here == PROJECT else f"PYTHONPATH={shlex.quote(str(PROJECT))} "
    return f"{code}{shlex.quote(str(python))} -m auth"


def _prepared_model(settings: Settings) -> PreparedModel:
    prepared = find_prepared(settings) if is_ready_to_serve(settings) else stand_in_again(settings)
    if prepared is None:
        _prepare_in_subprocess()
        prepared = find_prepared(settings)
        assert prepared is not None, "it has just been prepared"
    check(prepared, settings)
    return prepared


def _prepare_in_subprocess() -> None:
    """Prepare the model in a subprocess, so that the memory of torch and transformers is freed when it ends."""
    preparing = [sys.executable, "-m", "model.prepare"]
    if run_child(preparing, env=python_path.environment()).returncode != 0:
        sys.exit(1)
