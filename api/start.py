"""Prepares the start of the server, once, before any worker starts: the tables, the model, and how it is computed."""

import logging
import os
import subprocess
import sys
from pathlib import Path

from configs.settings import PREFIX, Settings
from model.errors import ModelError
from model.loading import check
from model.prepared import find_prepared, is_ready_to_serve
from model.store import PreparedModel
from model.tune.tuning import measure_in_subprocess
from runtime import bentoml_config
from runtime.forwarded import trusted_hosts
from runtime.processes import close_listeners_on_shutdown
from storage import keys
from storage.database import Database
from storage.errors import StorageError
from storage.migrate import migrate

logger = logging.getLogger("bentoml.classifier")

_PROJECT = Path(__file__).parent.parent


def prepare_start(settings: Settings) -> None:
    """Create or migrate the tables, prepare the model if there is none, and set what the workers serve.

    The workers get it in environment variables.

    Raises:
        SystemExit: the server can't start; one line says why.
    """
    if bentoml_config.answers_cors():
        sys.exit("ERROR: BentoML's http.cors would answer behind the gate, too late; set CLASSIFIER_CORS_ORIGINS.")
    try:
        migrate(settings.database_url)
        tell_how_to_create_a_key(settings.database_url)
        prepared = _prepared_model(settings)
        chosen = measure_in_subprocess(prepared, settings, _PROJECT)
    except (StorageError, ModelError) as error:
        sys.exit(f"ERROR: {error}")
    # All workers serve what this start chose, also a worker that is restarted later.
    os.environ[PREFIX + "PREPARED_MODEL"] = prepared.tag
    os.environ[PREFIX + "TUNED"] = chosen.to_json()
    # uvicorn reads the trusted proxies from this variable. By default it trusts any proxy on this machine.
    os.environ["FORWARDED_ALLOW_IPS"] = trusted_hosts(settings.trusted_proxies)
    close_listeners_on_shutdown()


def tell_how_to_create_a_key(database_url: str) -> None:
    """Log the command that creates a key, if there is no user yet: without a key, nobody can classify."""
    database = Database(database_url)
    try:
        has_user = database.ask(keys.has_user)
    finally:
        database.close()
    if not has_user:
        python = Path(sys.executable)
        shown = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else "python"
        logger.warning("There is no API key yet; create one: %s -m auth create --email you@example.org", shown)


def _prepared_model(settings: Settings) -> PreparedModel:
    # In a separate process, so that the memory of torch and transformers is freed when it ends.
    preparing = [sys.executable, "-m", "model.prepare"]
    if not is_ready_to_serve(settings) and subprocess.run(preparing, check=False).returncode != 0:
        sys.exit(1)
    prepared = find_prepared(settings)
    assert prepared is not None, "it has just been prepared"
    check(prepared, settings)
    return prepared
