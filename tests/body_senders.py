"""Callers of every kind that send a large body: four libraries of Python, curl, and fetch in node."""

import http.client
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import httpx
import requests

JSON = "application/json"

Send = Callable[[str, str, dict[str, str], int, bool], int]
_NODE = """
const [url, method, headers, size, chunked] = JSON.parse(process.argv[1]);
const body = chunked
  ? new ReadableStream({
      pull(c) { if (this.left === undefined) this.left = size; const n = Math.min(this.left, 65536);
        if (n) { c.enqueue(new Uint8Array(n)); this.left -= n; } else c.close(); } })
  : new Uint8Array(size);
fetch(url, {method, headers, body, duplex: "half"}).then(async answer => {
  await answer.json(); console.log(answer.status);
}).catch(error => { console.error(error); process.exit(1); });
"""


def pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, 65536):
        yield bytes(min(65536, size - start))


def by_http_client(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    host, path = url.removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(
            method, f"/{path}", pieces(size) if chunked else bytes(size), headers, encode_chunked=chunked
        )
        answer = connection.getresponse()
        json.loads(answer.read())
        return answer.status
    finally:
        connection.close()


def by_urllib(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    body = pieces(size) if chunked else bytes(size)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            json.loads(error.read())
            return error.code


def by_requests(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    body = pieces(size) if chunked else bytes(size)
    with requests.request(method, url, data=body, headers=headers, timeout=60) as answer:
        answer.json()
        return answer.status_code


def by_httpx(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    answer = httpx.request(method, url, content=pieces(size) if chunked else bytes(size), headers=headers, timeout=60)
    answer.json()
    return answer.status_code


def by_curl(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    fields = [f"{name}: {value}" for name, value in headers.items()]
    command = ["curl", "-sS", "-X", method, "--data-binary", "@-", "-o", "-", "-w", "\n%{http_code}", url]
    fields += ["Transfer-Encoding: chunked"] if chunked else []
    command += [part for field in fields for part in ("-H", field)]
    done = subprocess.run(command, input=bytes(size), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition(b"\n")
    json.loads(body)
    return int(status)


def by_fetch(url: str, method: str, headers: dict[str, str], size: int, chunked: bool) -> int:
    arguments = json.dumps([url, method, headers, size, chunked])
    done = subprocess.run(["node", "-e", _NODE, arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


CALLERS: dict[str, Send] = {
    "http.client": by_http_client,
    "urllib": by_urllib,
    "requests": by_requests,
    "httpx": by_httpx,
    "curl": by_curl,
    "node": by_fetch,
}
