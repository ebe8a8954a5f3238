"""The images that deploy/ names: each by a digest, which one command renews."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from testing.servers import PROJECT

DEPLOY = PROJECT / "deploy"
FILES = ("compose.yaml", "Containerfile", "kubernetes/backup.yaml")
PINNED = re.compile(r"[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}")
# What this project builds itself.
OWN = "${CLASSIFIER_IMAGE:-image-classifier:latest}"
# A registry can't be asked in a test: Docker stands for it, and knows a digest for each tag but one.
DOCKER = """#!/bin/sh
test "$*" = "buildx version" && exit 0
test "$1 $2 $3" = "buildx imagetools inspect" || exit 9
case "$4" in *@*) exit 8 ;; redis:0.0) echo "not found" >&2; exit 1 ;; esac
printf 'sha256:%s' "$(printf '%s' "$4" | sha256sum | cut -d ' ' -f 1)"
"""


def images(folder: Path) -> list[str]:
    """What the files of a folder ask a registry for."""
    text = "\n".join((folder / name).read_text() for name in FILES)
    found = re.findall(r"^(?: *image: |ARG BASE=)(\S+)$", text, re.MULTILINE)
    return [image for image in found if image != OWN]


def test_every_image_is_named_by_its_digest() -> None:
    found = images(DEPLOY)
    assert len(found) == 8
    assert [image for image in found if not PINNED.fullmatch(image)] == []


def test_every_stage_is_built_upon_the_one_that_is_pinned_or_given() -> None:
    containerfile = (DEPLOY / "Containerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", containerfile, re.MULTILINE)
    assert containerfile.count("FROM") == len(stages)
    assert {base for base, _ in stages} - {stage for _, stage in stages} == {"${BASE}"}
    assert '--build-arg "BASE=$BASE"' in (DEPLOY / "image.sh").read_text()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    made = tmp_path / "deploy"
    (made / "kubernetes").mkdir(parents=True)
    for name in (*FILES, "pin-images.sh"):
        shutil.copy(DEPLOY / name, made / name)
    return made


def pin(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "pin-images.sh"], capture_output=True, text=True, check=False)


def test_one_command_renews_the_digests(folder: Path) -> None:
    before = images(folder)
    compose = folder / "compose.yaml"
    # One that has moved on to another tag, and has no digest yet.
    [redis] = [image for image in before if image.startswith("redis:")]
    compose.write_text(compose.read_text().replace(redis, "redis:8.2"))
    tags = [image.partition("@")[0] for image in images(folder)]
    done = pin(folder)
    assert done.returncode == 0, done.stderr
    assert images(folder) == [f"{tag}@sha256:{hashlib.sha256(tag.encode()).hexdigest()}" for tag in tags]
    assert "redis:8.2" in tags
    assert OWN in compose.read_text()
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert sorted(found) == sorted((*FILES, "pin-images.sh"))


def test_where_one_is_not_found_nothing_is_written(folder: Path) -> None:
    compose = folder / "compose.yaml"
    compose.write_text(re.sub(r"redis:\S+@\S+", "redis:0.0", compose.read_text()))
    before = images(folder)
    assert pin(folder).returncode != 0
    assert images(folder) == before
