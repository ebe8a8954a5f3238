"""A key is put wherever a caller can put it, and then searched for in all that the service keeps and says."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testing.callers import BODY
from testing.photographs import as_base64
from testing.servers import Server, running
from testing.store_servers import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def canary_server(request: pytest.FixtureRequest, tmp_path: Path, model_store: Path) -> Iterator[Server]:
    if request.param == "sqlite":
        yield request.getfixturevalue("server")
        return
    url = request.getfixturevalue("postgres").new_database()
    with running(tmp_path / "it", model_store, CLASSIFIER_DATABASE_URL=url) as server:
        yield server


def test_a_canary_key_is_nowhere(request: pytest.FixtureRequest, canary_server: Server) -> None:
    server = canary_server
    made = server.create_key("canary@example.org", "--limit", "1000/minute")
    metrics = server.create_key("metrics@example.org", "--scope", "metrics")["key"]
    key, typo = made["key"], made["key"][:-1] + "_"
    said: list[str] = []
    with server.client(key) as client:
        said += [answer.text + str(answer.headers) for answer in _requests(client, key)]
    for wrong in (typo, key + "x", key.swapcase(), f"{key}, {key}"):
        answer = httpx.get(server.url + f"/v1/usage?key={key}", headers={"Authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401
        said.append(answer.text + str(answer.headers))
    own = (["list"], ["show", key], ["show", key + "x"], ["usage", made["user_id"]], ["audit"], ["revoke", key])
    for command in own:
        done = server.auth(*command)
        assert done.returncode == (2 if command[-1] == key + "x" else 0), done.stderr
        said.append(done.stdout + done.stderr)
    with server.client(key) as client:
        said.append(client.post("/v1/classify", json=BODY).text)
    with server.client(metrics) as client:
        said.append(client.get("/metrics").text)
    assert "predictions" in said[0]

    secret = key.rsplit("_", 1)[1]
    kept = {"answers": "\n".join(said).encode()}
    for folder in (server.folder, *_database_folder(request)):
        kept |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    assert any(made["key_id"].encode() in content for content in kept.values()), "the search would find the id"
    for name, content in kept.items():
        for part in (key, secret, secret[:32], secret[:16]):
            assert part.encode() not in content, f"{part[:4]}... is in {name}"


def _requests(client: httpx.Client, key: str) -> Iterator[httpx.Response]:
    yield client.post("/v1/classify", json=BODY)
    yield client.post("/v1/classify", json={**BODY, "filename": key})
    yield client.post("/v1/classify", json={"image": key})
    yield client.post("/v1/classify", json={"image": as_base64(key.encode())})
    yield client.post("/v1/classify", json={key: key})
    yield client.post("/v1/classify", content=key, headers={"Content-Type": "application/json"})
    yield client.post("/v1/classify", content=key, headers={"Content-Type": "text/plain"})
    for path in ("/v1/usage", "/v2/limits", "/v1/model/info", f"/{key}", f"/v1/{key}?key={key}", "/metrics"):
        yield client.get(path)
    yield client.get("/v2/usage", params={"endpoint": "/v1/classify", "token": key})
    yield client.get("/v2/usage", params={"bucket": "week", "token": key})
    yield client.request("DELETE", f"/{key}")
    yield client.get("/static_content/" + key)


def _database_folder(request: pytest.FixtureRequest) -> list[Path]:
    if "postgresql" not in request.node.name:
        return []
    postgres: Postgres = request.getfixturevalue("postgres")
    postgres.checkpoint()
    return [postgres.folder]
