"""What nginx itself does with requests: bounds and limits, paths and ids, and what is never sent a second time."""

import contextlib
import json
import re
import select
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from testing.ports import free_port
from testing.waiting import PATIENCE_S, wait_until
from tests.answers import assert_problem
from tests.proxies import (
    NGINX,
    SHIPPED,
    ListeningReplica,
    Nginx,
    answer,
    break_off,
    copied_with_certificate,
    keep,
    launch,
)
from tests.wire import read_answers

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx here")

AT_ONCE = 256
REPLICAS_TAKE = 2 * 500
BURST = 100
A_KEY = "imc_AAAAAAAAAAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
Start = Callable[..., tuple[Nginx, list[ListeningReplica]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts nginx before two replicas that do those two things."""
    begun: list[Nginx | ListeningReplica] = []

    def begin(*acts: Callable[[socket.socket], None]) -> tuple[Nginx, list[ListeningReplica]]:
        replicas = [ListeningReplica(act) for act in acts]
        nginx = Nginx(tmp_path / "nginx", [replica.port for replica in replicas])
        begun.extend([nginx, *replicas])
        return nginx, replicas

    yield begin
    for one in begun:
        one.close()


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(65536).split(b" ", 2)[1])


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    try:
        return bool(select.select([connection], [], [], 0)[0]) and connection.recv(1) == b""
    except ConnectionError:
        return True


def asked(nginx: Nginx, head: str, source: str = "127.0.0.1") -> socket.socket:
    """A connection from that address on which a request was begun."""
    connection = socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE_S, source_address=(source, 0))
    connection.sendall(head.encode())
    return connection


# Of what HTTP calls idempotent, nginx would repeat what has no body, or one that came along with the headers.
@pytest.mark.parametrize(
    ("method", "size"), [("POST", 0), ("POST", 10), ("POST", 5_000_000), ("PATCH", 0), ("PUT", 5_000_000)]
)
def test_what_a_replica_was_sent_is_not_sent_to_the_other(start: Start, method: str, size: int) -> None:
    nginx, replicas = start(break_off, break_off)
    problem = assert_problem(httpx.request(method, nginx.url + "/v1/classify", content=bytes(size)), 503)
    assert problem["detail"].endswith("again shortly.")
    assert sum(len(replica.heads) for replica in replicas) == 1


def test_what_could_not_be_sent_goes_to_the_other(start: Start) -> None:
    nginx, (gone, there) = start(answer, answer)
    gone.close()
    with httpx.Client(base_url=nginx.url, headers={"Authorization": "Bearer it"}) as client:
        for _ in range(20):
            assert client.post("/v1/classify", content=b"x" * 100_000).status_code == 200
    assert len(there.heads) == 20


def test_a_path_is_passed_on_as_it_was_written(start: Start) -> None:
    nginx, replicas = start(answer, answer)
    paths = ["/v2/models/a%2Fb", "/v2//models", "/v2/./x/../models?a=%0a&b=//", "/%76%32/classify%0a", "/a%20b;c=d"]
    for path in paths:
        with asked(nginx, f"GET {path} HTTP/1.1\r\nHost: it\r\n\r\n") as connection:
            assert status_of(connection) == 200
    seen = [head.split(b" ")[1].decode() for replica in replicas for head in replica.heads]
    assert sorted(seen) == sorted(paths)


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "//metrics", "/metrics/", "/metrics//", "/metrics?a=b", "/metrics;a=b", "/./metrics"),
        *("/%6detrics", "/%2fmetrics", "/metrics%0a", "/metrics%0d%0a", "/metrics%09", "/metrics%20", "/metrics%2f"),
        *("/metrics/..%0a", "/metrics/x", "/.%2fmetrics", "/metrics#a", "/%2e/metrics", "http://it/metrics"),
    ],
)
def test_metrics_stay_inside_however_they_are_spelt(start: Start, path: str) -> None:
    nginx, replicas = start(answer, answer)
    with asked(nginx, f"GET {path} HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer it\r\n\r\n") as connection:
        assert status_of(connection) == 404
    assert [replica.heads for replica in replicas] == [[], []]


@pytest.mark.parametrize("spelt", [A_KEY, A_KEY.upper(), f"a-{A_KEY}", "IMC_", "x.iMc_y"])
def test_a_key_sent_as_a_request_id_is_kept_nowhere(start: Start, spelt: str) -> None:
    nginx, replicas = start(answer, break_off)
    with httpx.Client(base_url=nginx.url, headers={"X-Request-ID": spelt, "Authorization": "Bearer it"}) as client:
        answers = [client.get("/metrics"), *(client.post("/v1/classify", content=b"x") for _ in range(2))]
    assert [one.status_code for one in answers] == [404, 200, 503]
    for one in answers:
        assert "imc_" not in (one.text + str(one.headers)).lower()
    assert "imc_" not in json.dumps(nginx.log()).lower()
    for replica in replicas:
        assert b"imc_" not in b"".join(replica.heads).lower()


def test_a_callers_own_id_reaches_the_replica(start: Start) -> None:
    nginx, replicas = start(answer, answer)
    httpx.get(nginx.url, headers={"X-Request-ID": "mine-1"})
    [head] = [head for replica in replicas for head in replica.heads]
    assert b"X-Request-ID: mine-1\r\n" in head


def test_headers_are_bounded_in_size_and_time(start: Start) -> None:
    nginx, replicas = start(answer, answer)
    assert_problem(httpx.get(nginx.url, headers={"A": "a" * 9000}), 431)
    assert_problem(httpx.get(nginx.url, headers={f"A{number}": "a" * 1000 for number in range(40)}), 431)
    assert_problem(httpx.get(nginx.url + "/" + "a" * 9000), 414)
    began = time.monotonic()
    with asked(nginx, "GET / HTTP/1.1\r\nHost: it\r\n") as slow, asked(nginx, "") as silent:

        def has_ended_though_it_sends() -> bool:
            with contextlib.suppress(ConnectionError):
                slow.sendall(b"A: a\r\n")
            return has_ended(slow)

        wait_until(has_ended_though_it_sends, "the slow connection is closed", looks_every_s=0.5)
        wait_until(lambda: has_ended(silent), "the silent connection is closed")
    assert 9 < time.monotonic() - began < 45
    assert [replica.heads for replica in replicas] == [[], []]


def test_idle_and_half_sent_connections_keep_nobody_out(start: Start) -> None:
    nginx, _ = start(answer, answer)
    at_rest = nginx.memory_mb()
    with contextlib.ExitStack() as held:
        for head in ("", "GET / HTTP/1.1\r\nHost: it\r\nA: a"):
            for _ in range(1000):
                held.enter_context(asked(nginx, head))
        for _ in range(20):
            assert httpx.get(nginx.url, headers={"Authorization": "Bearer it"}).status_code == 200
        assert nginx.memory_mb() - at_rest < 50


def test_strangers_have_a_limit_and_users_have_their_own(start: Start) -> None:
    nginx, _ = start(answer, answer)

    def refused_in_a_flood() -> httpx.Response | None:
        """Send all before the first answer is read, so that it is a flood on a slow machine too."""
        head = "GET /readyz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n"
        with contextlib.ExitStack() as opened:
            flood = [opened.enter_context(asked(nginx, head)) for _ in range(2 * BURST)]
            answers = [told for connection in flood for told in read_answers(connection)]
        return next((one for one in answers if one.status_code != 200), None)

    refused = wait_until(refused_in_a_flood, "a stranger is refused")
    assert refused is not None
    assert "key" in assert_problem(refused, 429)["detail"]
    assert int(refused.headers["retry-after"]) >= 1
    with httpx.Client(base_url=nginx.url) as stranger:
        key = {"Authorization": "Bearer it"}
        assert {stranger.get("/readyz", headers=key).status_code for _ in range(2 * BURST)} == {200}


def under_way_in(replicas: list[ListeningReplica]) -> int:
    return sum(len(replica.heads) for replica in replicas)


def test_one_network_has_so_many_requests_under_way_and_all_have_so_many(start: Start) -> None:
    nginx, replicas = start(keep, keep)
    head = "POST /v1/classify HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer it\r\nContent-Length: 10\r\n\r\n"
    with contextlib.ExitStack() as under_way:
        for number in range(REPLICAS_TAKE):
            under_way.enter_context(asked(nginx, head, f"127.0.0.{1 + number // AT_ONCE}"))
            if number == AT_ONCE - 1:
                wait_until(lambda: under_way_in(replicas) == AT_ONCE, "as many are under way as one network may have")
                beyond = httpx.post(nginx.url + "/v1/classify", headers={"Authorization": "Bearer it"}, content=b"x")
                assert_problem(beyond, 429)
                assert int(beyond.headers["retry-after"]) >= 1
        wait_until(lambda: under_way_in(replicas) == REPLICAS_TAKE, "as many are under way as all may have")
        with asked(nginx, head, "127.0.0.100") as overload:
            told = overload.recv(65536)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in told
        assert b"application/problem+json" in told
        assert under_way_in(replicas) == REPLICAS_TAKE


def test_an_ipv6_network_is_a_64(tmp_path: Path) -> None:
    port = free_port()
    shutil.copy(SHIPPED / "http.conf", tmp_path)
    (tmp_path / "it.conf").write_text(
        "daemon off; pid it.pid; error_log stderr crit; events {} http { include http.conf; access_log off; "
        f"server {{ listen 127.0.0.1:{port}; set_real_ip_from 127.0.0.1; real_ip_header X-Client; "
        'location / { return 200 "$client_network"; } } }'
    )
    nginx = launch(tmp_path / "it.conf", port)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

            def networks(*addresses: str) -> Counter[str]:
                return Counter(client.get("/", headers={"X-Client": address}).text for address in addresses)

            for first, last in (
                ("2001:db8:1:2::", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
                ("2001:db8:1::1", "2001:db8:1:0:1:2:3:4"),
                ("2001:db8:1:0:1::", "2001:db8:1::ffff:0:0:1"),
                ("2001:db8::1", "2001:db8:0:0:1::"),
                ("2001:db8:0:0:ffff::", "2001:db8::1:2:3:4"),
            ):
                assert len(networks(first, last)) == 1, first
            apart = ["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1::1", "2001:db8::1", "2001:db9::1", "192.0.2.1"]
            assert len(networks(*apart, "192.0.2.2")) == len(apart) + 1
    finally:
        nginx.terminate()
        nginx.wait()


def answer_over_tls(connection: socket.socket) -> None:
    """Answers as a replica does that trusts this proxy, and so knows that its caller speaks TLS."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=31536000\r\nContent-Length: 0\r\n\r\n")
    connection.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_over_tls_browsers_are_told_to_stay_there(tmp_path: Path) -> None:
    folder = copied_with_certificate(tmp_path / "nginx")
    tls, plain, replica = free_port(), free_port(), ListeningReplica(answer_over_tls)
    conf = (folder / "nginx.conf").read_text()
    conf = conf.replace("listen 8443", f"listen 127.0.0.1:{tls}").replace("listen 8080", f"listen 127.0.0.1:{plain}")
    conf = re.sub(r"172\.30\.83\.\d+:3000", f"127.0.0.1:{replica.port}", conf)
    (folder / "nginx.conf").write_text("daemon off;" + conf)
    nginx = launch(folder / "nginx.conf", tls)
    try:
        with httpx.Client(verify=str(folder / "tls" / "certificate.pem")) as client:
            for path, status in (("/", 200), ("/metrics", 404)):
                told = client.get(f"https://localhost:{tls}{path}")
                assert told.status_code == status
                assert told.headers.get_list("strict-transport-security") == ["max-age=31536000"]
            in_the_clear = client.get(f"http://127.0.0.1:{plain}/")
            assert_problem(in_the_clear, 400)
            assert "strict-transport-security" not in in_the_clear.headers
    finally:
        nginx.terminate()
        nginx.wait()
        replica.close()


def test_a_web_socket_is_passed_on_for_its_path_alone(start: Start) -> None:
    nginx, replicas = start(answer, answer)
    for path, protocol in (
        ("/v2/stream", "websocket"),
        ("/v2/stream", "WebSocket"),
        ("/v2/stream", "h2c"),
        ("/", "websocket"),
    ):
        headers = {
            "Connection": "Upgrade",
            "Upgrade": protocol,
            "Sec-WebSocket-Protocol": "bearer.imc_x",
            "Host": "it:8443",
        }
        assert httpx.get(nginx.url + path, headers=headers).status_code == 200
    heads = sorted(head.lower() for replica in replicas for head in replica.heads)
    assert [b"upgrade: websocket" in head for head in heads] == [False, False, True, True]
    assert [b"connection: upgrade" in head for head in heads] == [False, False, True, True]
    assert b"host: it:8443" in heads[2]
    assert "imc_" not in (nginx.folder / "access.log").read_text()


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0"])
def test_no_replica_is_offered_another_protocol(start: Start, protocol: str) -> None:
    """A replica that took it, and nginx that did not know, would differ on where a request ends."""
    nginx, replicas = start(answer, answer)
    offered = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol, "HTTP2-Settings": "AAMAAABk"}
    for method in ("GET", "POST"):
        assert httpx.request(method, nginx.url + "/v1/classify", content=b"{}", headers=offered).status_code == 200
    heads = [head.lower() for replica in replicas for head in replica.heads]
    assert len(heads) == 2
    assert [head for head in heads if b"upgrade" in head or b"http2-settings" in head] == []
