"""A package index (PEP 503) on the loopback interface: the outside world of pip, with wheels made on the spot."""

import contextlib
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from testing.waiting import LOOKS_EVERY_S


def make_wheel(folder: Path, name: str, version: str, code: str) -> Path:
    """Make a wheel with one module, for every platform."""
    wheel_path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel_path, "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return wheel_path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Index:
    """Lists the files of one package.

    Attributes:
        files: the folder of the files, in which tests put them.
    """

    def __init__(self, folder: Path, package: str) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self._page = folder / "simple" / package / "index.html"
        self._page.parent.mkdir(parents=True)

    def list_files(self, pythons: str = ">=3.9") -> dict[str, str]:
        """Write the page of the package, with the files as they are now; return the SHA-256 of each.

        Args:
            pythons: the versions of Python that the files say they are for.
        """
        hashes = {path.name: sha256(path) for path in self.files.iterdir()}
        are_for = f'data-requires-python="{escape(pythons)}"'
        links = [
            f'<a href="../../files/{name}#sha256={digest}" {are_for}>{name}</a>' for name, digest in hashes.items()
        ]
        self._page.write_text("<!DOCTYPE html><html><body>" + "".join(links) + "</body></html>")
        return hashes


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(index: Index) -> Iterator[str]:
    """Serve an index within a block; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(index.folder))) as server:
        threading.Thread(target=server.serve_forever, args=(LOOKS_EVERY_S,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
