"""What lies in deploy/, read: for the tests of it."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from configs.settings import Settings
from testing.servers import PROJECT

DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


COMPOSE = read(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
REPLICAS = [name for name in SERVICES if name.startswith("api-")]


@cache
def manifests() -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, of each of the three folders, but for names that kustomize makes."""
    found = []
    for kustomization in sorted(KUBERNETES.rglob("kustomization.yaml")):
        for name in read(kustomization)["resources"]:
            found += yaml.safe_load_all((kustomization.parent / name).read_text())
    return found


def of_kind(kind: str) -> dict[str, Any]:
    return next(manifest for manifest in manifests() if manifest["kind"] == kind)


def pods() -> dict[str, dict[str, Any]]:
    jobs = {m["metadata"]["name"]: m["spec"]["jobTemplate"] for m in manifests() if m["kind"] == "CronJob"}
    others = {m["metadata"]["name"]: m for m in manifests() if m["kind"] in ("Deployment", "Job")}
    return {name: m["spec"]["template"] for name, m in (others | jobs).items()}


def assert_settings(values: dict[str, str], names: Any) -> None:
    fields = {name: name.removeprefix("CLASSIFIER_").lower() for name in names}
    assert set(fields.values()) <= Settings.model_fields.keys()
    # (What Compose puts in the place of a variable is a word here.)
    filled = {fields[name]: re.sub(r"\$\{[^}]*\}", "word", str(value)) for name, value in values.items()}
    Settings(_env_file=None, **filled)  # type: ignore[arg-type]
