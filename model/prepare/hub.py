"""Finds the Hugging Face hub, and serves the stand-in again if it still can't be reached.

It asks without the hub's client, which is in an environment of its own, with torch, and takes seconds to start.
"""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from configs.settings import Settings
from model.checkpoint import location
from model.errors import HubUnreachable, SourceUnavailable
from model.prepared import STAND_IN_NAME, find_stand_in
from model.store import PreparedModel
from runtime import python_path

# Where a prepared stand-in can serve, a start waits less for a hub that was unreachable before.
ASKED_AGAIN_S = 2.0
_ENDPOINT, _HUB = "HF_ENDPOINT", "https://huggingface.co"
_ONE_WORD = re.compile(r"[!-~]+")
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
# What the hub's client takes for "yes".
_YES = ("1", "ON", "YES", "TRUE")


def stand_in_again(settings: Settings) -> PreparedModel | None:
    """Ask the hub for the model again. If it can't be reached, warn, and return the prepared stand-in.

    Returns:
        the stand-in; None where `python -m model.prepare` has to decide, such as where the hub answers.
    """
    if settings.offline_model != "allow" or location.is_directory(settings) or not _is_url(_endpoint()):
        return None
    stand_in = find_stand_in()
    # If no model can have this name, let the client refuse it, with its own message.
    if stand_in is None or _NAME.fullmatch(settings.model) is None or _has_in_cache(settings.model):
        return None
    kind = _why_unreachable(settings.model)
    if kind is None:
        return None
    warn_of_stand_in(unreachable(kind), settings)
    return stand_in


def check_endpoint() -> None:
    """Check the address of the hub, before its client reads it: that would also take an empty one, and a line end.

    Raises:
        SourceUnavailable: it is not a URL.
    """
    if not _is_url(_endpoint()):
        raise SourceUnavailable(f"HF_ENDPOINT is not the URL of a hub, such as {_HUB}; correct it, or unset it.")
    if _ENDPOINT in os.environ:
        os.environ[_ENDPOINT] = _endpoint()


def unreachable(kind: str) -> HubUnreachable:
    """Return the error for a hub that can't be reached; `kind` is that of the error below it."""
    return HubUnreachable(f"The Hugging Face hub can't be reached ({kind}).")


def warn_of_stand_in(error: HubUnreachable, settings: Settings) -> None:
    """Say that the stand-in is served in place of the model."""
    say(f"WARNING: {error} Serving the offline stand-in {STAND_IN_NAME} instead of {settings.model}.")


def say(line: str) -> None:
    """Print a line about the model, for whoever starts the server."""
    print(f"[model] {line}", file=sys.stderr, flush=True)


def _endpoint() -> str:
    """Return the address of the hub, or of a mirror."""
    return (os.environ.get(_ENDPOINT, "").strip() or _HUB).rstrip("/")


def _is_url(text: str) -> bool:
    with suppress(ValueError):
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return is_whole and _ONE_WORD.fullmatch(text) is not None
    return False


def _has_in_cache(name: str) -> bool:
    """Tell whether the client's cache has a folder for the model. The client reads the same variables."""
    told = os.environ
    home = told.get("HF_HOME") or str(Path(told.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    cache = told.get("HF_HUB_CACHE") or told.get("HUGGINGFACE_HUB_CACHE") or str(Path(home) / "hub")
    return (Path(os.path.expandvars(cache)).expanduser() / f"models--{name.replace('/', '--')}").exists()


def _why_unreachable(name: str) -> str | None:
    """Return the kind of error with which asking the hub fails; None if the hub answers."""
    if (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE", "")).upper() in _YES:
        return "OfflineModeIsEnabled"
    url = f"{_endpoint()}/api/models/{name}"
    asking = [sys.executable, "-m", "model.prepare.hub_question", url, str(ASKED_AGAIN_S)]
    asked = subprocess.run(
        asking,
        env=python_path.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return None if asked.returncode == 0 else asked.stdout.strip() or "no answer"
