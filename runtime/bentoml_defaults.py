"""Gives BentoML the defaults of this project, so that plain `bentoml serve` starts the same server as `make serve`.

By the time that BentoML imports the service, it has read its environment. What it has read already is replaced in its
container of settings. A variable that the user sets stays as it is.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from bentoml._internal.utils.analytics import usage_stats

from configs import data_folder
from runtime import bentoml_config, running_servers

_METRICS = "prometheus_multiproc_dir"


def use() -> None:
    """Set the defaults in this process and its children.

    - `BENTOML_CONFIG`: `configs/development.yaml` beside the code.
    - `BENTOML_DO_NOT_TRACK`: nothing is sent to BentoML's makers.
    - `BENTOML_HOME`: in a checkout, models are found in `var/bentoml`. Where Bentos are built and found stays as it is.
    - Each server keeps its metrics in a folder of its own: BentoML would empty that of another server.
    - The code stays importable: BentoML takes the service's folder from `sys.path` after it has imported the service.

    Raises:
        SystemExit: there can't be a folder for the models; one line says why.
    """
    if sys.path.count(str(data_folder.PROJECT)) < 2:
        sys.path.append(str(data_folder.PROJECT))
    os.environ.setdefault("BENTOML_CONFIG", str(data_folder.PROJECT / "configs" / "development.yaml"))
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    usage_stats.do_not_track.cache_clear()
    if data_folder.is_checkout() and "BENTOML_HOME" not in os.environ:
        _use_home(data_folder.PROJECT / "var" / "bentoml")
    BentoMLContainer.prometheus_multiproc_dir.set(str(metrics_folder() / running_servers.own_name()))


def metrics_folder() -> Path:
    """Return the folder in which each server has a folder for its metrics."""
    return bentoml_config.home() / _METRICS


def _use_home(home: Path) -> None:
    # BentoML makes its folder in the user's home. A user without one has no Bentos: they lie with the models then.
    with suppress(OSError):
        for kept in (BentoMLContainer.bento_store, BentoMLContainer.tmp_bento_store_dir):
            kept.set(kept.get())
    os.environ["BENTOML_HOME"] = str(home)
    BentoMLContainer.bentoml_home.set(str(home))
    # BentoML requires that the folder exists.
    try:
        (home / "models").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(
            f"ERROR: There can't be a folder for models in this checkout ({error.strerror}); set BENTOML_HOME to a "
            "folder that this user can write to."
        )
    BentoMLContainer.model_store.set(ModelStore(home / "models"))
