"""Clients that tools make of `/openapi.json`, and Hugging Face's client for JavaScript: `make test-clients`.

They are fetched from PyPI and npm. A test is skipped if its client can't be installed here.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from testing.photographs import COFFEE, as_base64, encoded
from testing.servers import PROJECT, Server, inherited

pytestmark = pytest.mark.skipif("CLIENTS" not in os.environ, reason="installs from PyPI and npm: make test-clients")

GENERATOR = "openapi-python-client==0.29.1"
NODE_CLIENTS = PROJECT / "tests" / "node_clients"
# Small enough for an argument of a program.
PHOTO = encoded(Image.open(COFFEE).convert("RGB").resize((300, 200)), "JPEG")
PHOTO_BASE64 = as_base64(PHOTO)
# Run beside the generated package `generated`. Writes the answers to JSON, to a form and to the file itself.
PYTHON_PROGRAM = """
import base64, io, json, sys
from generated import AuthenticatedClient
from generated.api.v2 import classify_v2, limits, usage_by_time
from generated.models import ClassifyJson, ClassifyV2FilesBody
from generated.types import File

url, key, text = sys.argv[1:]
photo = base64.b64decode(text)
client = AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True)

def classified(body, **options):
    return classify_v2.sync(client=client, body=body, **options)

bodies = [
    ClassifyJson(image=text),
    ClassifyV2FilesBody(image=File(payload=io.BytesIO(photo), file_name="photo.png")),
    File(payload=io.BytesIO(photo)),
]
answers = [classified(body) for body in bodies]
print(json.dumps({
    "labels": [[one.label for one in answer.predictions] for answer in answers],
    "one": len(classified(bodies[0], top_k=1).predictions),
    "detail": classified(ClassifyJson(image="no base64!")).detail,
    "remaining": limits.sync(client=client).policies[0].remaining,
    "images": usage_by_time.sync(client=client, endpoint="/v2/classify").data[0].images,
}))
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    """What the command prints."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def install(*command: str, cwd: Path) -> None:
    """Run a command that fetches packages; skip the test if it fails."""
    done = subprocess.run(command, cwd=cwd, env=inherited(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{command[-1]} can't be installed here: {done.stderr.strip()[-200:]}")


@pytest.fixture(scope="module")
def document(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document of the running server, as a file."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(httpx.get(f"{server.url}/openapi.json").content)
    return path


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs for Node.js, and what they need."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node and npm here")
    folder = tmp_path_factory.mktemp("node") / "clients"
    shutil.copytree(NODE_CLIENTS, folder)
    install("npm", "--no-audit", "--no-fund", "ci", cwd=folder)
    return folder


@pytest.fixture
def key(new_user: Callable[..., dict[str, Any]]) -> str:
    return str(new_user("--limit", "100/day")["key"])


def test_a_client_made_by_openapi_python_client_classifies(
    server: Server, key: str, document: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), GENERATOR, cwd=tmp_path)
    # It formats what it made with ruff.
    environment = {"PYTHONPATH": str(site), "PATH": f"{site / 'bin'}:{os.environ['PATH']}"}
    generate = ["generate", "--meta", "none", "--path", str(document), "--output-path", str(tmp_path / "generated")]
    said = run(sys.executable, "-m", "openapi_python_client", *generate, cwd=tmp_path, **environment)
    assert "will not be generated" not in said

    (tmp_path / "program.py").write_text(PYTHON_PROGRAM)
    program = [sys.executable, "program.py", server.url, key, PHOTO_BASE64]
    printed: dict[str, Any] = json.loads(run(*program, cwd=tmp_path, **environment))
    assert [(labels[0], len(labels)) for labels in printed["labels"]] == [("espresso", 5)] * 3
    assert printed["one"] == 1
    assert "base64" in printed["detail"]
    assert printed["remaining"] == 95
    assert printed["images"] == 5


def test_a_client_made_by_openapi_typescript_compiles_and_classifies(
    server: Server, key: str, document: Path, node_folder: Path
) -> None:
    run("npx", "openapi-typescript", str(document), "--output", "schema.d.ts", cwd=node_folder)
    run("npx", "tsc", "--project", ".", cwd=node_folder)
    printed = json.loads(run("node", "typed_client.js", server.url, key, PHOTO_BASE64, cwd=node_folder))
    assert [(labels[0], len(labels)) for labels in printed["labels"]] == [
        ("espresso", 1),
        ("espresso", 2),
        ("espresso", 3),
    ]
    assert (printed["status"], "base64" in printed["detail"]) == (400, True)
    assert printed["remaining"] == 96


def test_hugging_faces_client_for_javascript_classifies(server: Server, key: str, node_folder: Path) -> None:
    with server.client(key) as caller:
        name = caller.get("/v1/model/info").json()["name"]
        v1 = caller.post("/v1/classify", json={"image": PHOTO_BASE64}).json()["predictions"]
    url = f"{server.url}/models/{name}"
    printed = json.loads(run("node", "hugging_face.js", url, key, PHOTO_BASE64, cwd=node_folder))
    assert printed["plain"] == [{"label": one["label"], "score": one["confidence"]} for one in v1]
    assert printed["three"] == printed["plain"][:3]
    for refused, status, said in (
        (printed["wrongParameter"], 422, "this model answers with softmax"),
        (printed["wrongKey"], 401, "This API key is not valid"),
    ):
        assert refused["status"] == status
        assert said in refused["message"]
