"""A small Hugging Face hub on this machine: it speaks the hub's protocol, and has one model, `ours/resnet`."""

import hashlib
import http.server
import json
import threading
from pathlib import Path

from testing.waiting import LOOKS_EVERY_S

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = "/api/models/ours/resnet"


class Hub:
    """Serves the files of a checkpoint, at the commit that every branch is said to be.

    Args:
        checkpoint: the folder with the files.
        port: where it listens, on this machine.

    Attributes:
        main: that commit.
        asked: the paths of all requests so far.
        refuses: the status of each answer whose path ends so.
        damages: the name of a file that arrives with another last byte.
    """

    def __init__(self, checkpoint: Path, port: int) -> None:
        self.main = COMMIT
        self.asked: list[str] = []
        self.refuses: dict[str, int] = {}
        self.damages = ""
        self._checkpoint = checkpoint
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(LOOKS_EVERY_S,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> bytes | None:
        """The body at that path; None where there is nothing."""
        self.asked.append(path)
        files = sorted(self._checkpoint.iterdir())
        if path.startswith(f"{_API}/revision/"):
            listed = [{"rfilename": file.name} for file in files]
            return json.dumps({"id": "ours/resnet", "sha": self.main, "siblings": listed}).encode()
        if path.startswith(f"{_API}/tree/"):
            return json.dumps([_entry(file) for file in files]).encode()
        wanted = self._checkpoint / path.rpartition("/")[2]
        return wanted.read_bytes() if path.startswith("/ours/resnet/resolve/") and wanted.is_file() else None


def _entry(file: Path) -> dict[str, str | int]:
    body = file.read_bytes()
    return {"type": "file", "path": file.name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}


def _handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(self.head())

        def do_HEAD(self) -> None:
            self.head()

        def head(self) -> bytes:
            found = hub.answer(self.path)
            body = found if found is not None else b"{}"
            refused = next((status for end, status in hub.refuses.items() if self.path.endswith(end)), None)
            self.send_response(refused or (200 if found is not None else 404))
            if found is None:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(body)))
            # As of files in Git LFS, and of others.
            algorithm = "sha256" if self.path.endswith(".safetensors") else "sha1"
            self.send_header("ETag", f'"{hashlib.new(algorithm, body).hexdigest()}"')
            self.send_header("X-Repo-Commit", hub.main)
            self.end_headers()
            is_damaged = hub.damages and self.path.endswith(hub.damages)
            return body[:-1] + bytes([body[-1] ^ 1]) if is_damaged else body

        def log_message(self, *_: object) -> None:
            pass

    return Handler
