"""Programs that people call the API with, as they are on this machine: each way of sending a photograph arrives.

Where a program is not there, `test_upgrades.py` and `test_forms.py` send what it would.
"""

import asyncio
import base64
import http.client
import io
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
from PIL import Image

from testing.photographs import COFFEE, encoded
from testing.servers import Server

CLIENTS = Path(__file__).parent / "clients"
JSON = "application/json"
# What is there is said by each program itself; these are not to succeed.
REFUSED = {"nothing": 404, "stranger": 401}
PATIENCE_S = 120


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test where that program is not on this machine."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program} here")


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return str(server.create_key("clients@example.org", "--limit", "1000000/minute")["key"])


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of more than a megabyte, for which curl asks for leave to send."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    path.write_bytes(encoded(Image.open(COFFEE).convert("RGB").resize((1200, 800)), "PNG"))
    assert path.stat().st_size > 1 << 20
    return path


def run(*command: str, folder: Path | None = None, sent: bytes = b"") -> str:
    done = subprocess.run(command, cwd=folder, input=sent, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.decode()


def check(told: str, ways: int) -> None:
    """Each line is a way and its status."""
    lines = [line.rsplit(" ", 1) for line in told.splitlines()]
    assert len({way for way, _ in lines}) == ways
    assert [(way, status) for way, status in lines if int(status) != REFUSED.get(way, 200)] == []


@needs("java")
def test_java(server: Server, key: str, photo: Path) -> None:
    # It compiles the file, which takes some seconds.
    check(run("java", str(CLIENTS / "Client.java"), server.url, key, str(photo)), 11)


@needs("node")
def test_node(server: Server, key: str, photo: Path) -> None:
    check(run("node", str(CLIENTS / "client.mjs"), server.url, key, str(photo)), 13)


@needs("go")
def test_go(server: Server, key: str, photo: Path, tmp_path: Path) -> None:
    shutil.copy(CLIENTS / "client.go", tmp_path)
    check(run("go", "run", "client.go", server.url, key, str(photo), folder=tmp_path), 9)


@needs("mcs")
def test_dotnet(server: Server, key: str, photo: Path, tmp_path: Path) -> None:
    """.NET's HttpClient, as Mono has it."""
    run("mcs", "-r:System.Net.Http.dll", f"-out:{tmp_path}/Client.exe", str(CLIENTS / "Client.cs"))
    check(run("mono", f"{tmp_path}/Client.exe", server.url, key, str(photo)), 12)


CURL: dict[str, tuple[str, ...]] = {
    "json": ("/v1/classify", "-H", f"Content-Type: {JSON}", "--data-binary", "@photo.json"),
    "json, as -d takes it": ("/v1/classify", "-H", f"Content-Type: {JSON}", "-d", "@lines.json"),
    "json, from a pipe": ("/v1/classify", "-H", f"Content-Type: {JSON}", "--data-binary", "@-"),
    "json, with lines": ("/v1/classify", "-H", f"Content-Type: {JSON}", "--data-binary", "@lines.json"),
    "--json": ("/v2/classify", "--json", "@photo.json"),
    "file": ("/v2/classify", "-H", "Content-Type: image/png", "--data-binary", "@photo.png"),
    "-T": ("/v2/classify", "-X", "POST", "-H", "Content-Type: image/png", "-T", "photo.png"),
    "-T, chunked": (
        *("/v2/classify", "-X", "POST", "-H", "Content-Type: image/png"),
        *("-H", "Transfer-Encoding: chunked", "-T", "photo.png"),
    ),
    "form": ("/v2/classify", "-F", "image=@photo.png"),
    "form, with a type and options": ("/v2/classify", "-F", "image=@photo.png;type=image/jpeg", "-F", "top_k=2"),
    "form, with a name": ("/v2/classify", "-F", 'image=@photo.png;filename="a \\"b\\" é.png"'),
    "form, of base64": ("/v2/classify", "-F", "image=<photo.b64"),
    "form, of a file of base64": ("/v2/classify", "-F", "image=@photo.b64"),
    "form, encoded by curl": ("/v2/classify", "-F", "image=@photo.png;encoder=base64"),
    "form, with headers": ("/v2/classify", "-F", 'image=@photo.png;headers="X-Part: 1"'),
    "form, of several": ("/v2/classify/batch", "-F", "image=@photo.png", "-F", "image=@photo.png"),
    "form, chunked": ("/v2/classify", "-H", "Transfer-Encoding: chunked", "-F", "image=@photo.png"),
    "leave": ("/v2/classify", "-H", "Expect: 100-continue", "-F", "image=@photo.png"),
    "nothing": ("/nothing", "-X", "DELETE"),
    "read": ("/v1/usage",),
}


@pytest.fixture(scope="module")
def folder(photo: Path) -> Path:
    """Where curl finds the photograph in several spellings."""
    in_base64 = base64.b64encode(photo.read_bytes()).decode()
    in_lines = base64.encodebytes(photo.read_bytes()).decode()
    (photo.parent / "photo.json").write_text(json.dumps({"image": in_base64}))
    (photo.parent / "lines.json").write_text(f'{{"image": "{in_lines}"}}')
    (photo.parent / "photo.b64").write_text(in_lines)
    return photo.parent


@needs("curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http1.0", "--http2"])
@pytest.mark.parametrize("way", CURL)
def test_curl(server: Server, key: str, folder: Path, way: str, version: str) -> None:
    if version == "--http1.0" and "chunked" in way:
        pytest.skip("HTTP/1.0 has no chunks")
    path, *options = CURL[way]
    # Twice, over one connection where it stays.
    once = ["-sS", "-o", "body", "-w", f"{way} %{{http_code}}\n", version, "-H", f"Authorization: Bearer {key}"]
    once += [*options, server.url + path]
    sent = (folder / "photo.json").read_bytes() if way.endswith("pipe") else b""
    again = [] if sent else ["--next", *once]
    check(run("curl", *once, *again, folder=folder, sent=sent), 1)


@needs("curl")
def test_curl_that_insists_on_http_2_is_let_go_at_once(server: Server) -> None:
    command = ["curl", "-sS", "--max-time", "20", "--http2-prior-knowledge", f"{server.url}/livez"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
    # 28 would be curl's patience.
    assert done.returncode not in (0, 28)
    assert httpx.get(f"{server.url}/livez").status_code == 200


def by_http_client(url: str, path: str, headers: dict[str, str], body: bytes) -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.request("POST", path, body, headers)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def by_urllib(url: str, path: str, headers: dict[str, str], body: bytes) -> int:
    with urllib.request.urlopen(urllib.request.Request(url + path, body, headers), timeout=PATIENCE_S) as answer:
        return int(answer.status)


def by_requests(url: str, path: str, headers: dict[str, str], body: bytes) -> int:
    return requests.post(url + path, body, headers=headers, timeout=PATIENCE_S).status_code


def by_httpx(url: str, path: str, headers: dict[str, str], body: bytes) -> int:
    return httpx.post(url + path, content=body, headers=headers, timeout=PATIENCE_S).status_code


def by_aiohttp(url: str, path: str, headers: dict[str, str], body: bytes) -> int:
    async def send() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url + path, data=io.BytesIO(body), headers=headers) as answer,
        ):
            return answer.status

    return asyncio.run(send())


OFFERS: list[dict[str, str]] = [
    {},
    {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"},
    {"Connection": "Upgrade", "Upgrade": "websocket"},
]


@pytest.mark.parametrize("offer", OFFERS, ids=["no upgrade", "h2c", "websocket"])
@pytest.mark.parametrize("send", [by_http_client, by_urllib, by_requests, by_httpx, by_aiohttp])
def test_libraries_of_python(
    server: Server,
    key: str,
    photo: Path,
    send: Callable[[str, str, dict[str, str], bytes], int],
    offer: dict[str, str],
) -> None:
    in_json = json.dumps({"image": base64.b64encode(photo.read_bytes()).decode()}).encode()
    headers = {"Authorization": f"Bearer {key}", **offer}
    assert send(server.url, "/v1/classify", headers | {"Content-Type": JSON}, in_json) == 200
    assert send(server.url, "/v2/classify", headers | {"Content-Type": "image/png"}, photo.read_bytes()) == 200


def test_forms_of_libraries_of_python(server: Server, key: str, photo: Path) -> None:
    headers, url = {"Authorization": f"Bearer {key}"}, f"{server.url}/v2/classify"
    for name in ("photo.png", "caf\u00e9.png", 'a "b".png', "x" * 300):
        files = {"image": (name, photo.read_bytes(), "image/png")}
        options = {"top_k": "2", "note": "x" * 20_000}
        assert requests.post(url, files=files, data=options, headers=headers, timeout=PATIENCE_S).status_code == 200
        assert httpx.post(url, files=files, data=options, headers=headers, timeout=PATIENCE_S).status_code == 200

        async def send(name: str = name) -> int:
            form = aiohttp.FormData({"top_k": "2"})
            form.add_field("image", io.BytesIO(photo.read_bytes()), filename=name, content_type="image/png")
            async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers) as answer:
                return answer.status

        assert asyncio.run(send()) == 200
