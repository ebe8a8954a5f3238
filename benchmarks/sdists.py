"""Downloads the source packages of Python projects from the index that pip is configured with, and unpacks them."""

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename
from packaging.version import InvalidVersion, Version

DEFAULT_INDEX = "https://pypi.org/simple"
# The JSON form (PEP 691) of the simple index (PEP 503).
_AS_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
_TIMEOUT_S = 300


def fetch(project: str, folder: Path) -> str:
    """Unpack the newest source package of a project into a folder.

    Not by `pip download`: that runs the package's build to find out its name, and needs the build's dependencies.

    Returns:
        The file name of the package.

    Raises:
        LookupError: the index has no final release with a source package.
        ValueError: the file does not have the hash that the index states.
        httpx.HTTPError: the index can't be reached.
    """
    page = f"{_index()}/{canonicalize_name(project)}/"
    with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client:
        listed = client.get(page, headers=_AS_JSON).raise_for_status().json()
        file = _newest(listed["files"], project)
        data = client.get(urljoin(page, file["url"])).raise_for_status().content
    if hashlib.sha256(data).hexdigest() != file["hashes"]["sha256"]:
        raise ValueError(f"{file['filename']} does not have the hash that the index states; try again.")
    folder.mkdir(parents=True)
    archive = folder / "sdist.tar.gz"
    archive.write_bytes(data)
    with tarfile.open(archive) as packed:
        # Python before 3.11.4 has no filters; the hash proves that the package is the project's own.
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(folder)
    archive.unlink()
    return str(file["filename"])


def _index() -> str:
    if named := os.environ.get("PIP_INDEX_URL"):
        return named.rstrip("/")
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.strip() if done.returncode == 0 else DEFAULT_INDEX).rstrip("/")


def _newest(files: list[dict[str, Any]], project: str) -> dict[str, Any]:
    found = [
        (version, file)
        for file in files
        if not file.get("yanked") and (version := _version(file["filename"])) and not version.is_prerelease
    ]
    if not found:
        raise LookupError(f"The index has no source package of {project}.")
    return max(found, key=lambda one: one[0])[1]


def _version(filename: str) -> Version | None:
    """Return the version of a source package in a .tar.gz file; None for other files."""
    try:
        return parse_sdist_filename(filename)[1] if filename.endswith(".tar.gz") else None
    except (InvalidSdistFilename, InvalidVersion):
        return None
