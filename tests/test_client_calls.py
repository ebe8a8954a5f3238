"""The client against a server that the test plays: what it sends, when it tries again, and what it raises."""

import json
from collections.abc import Iterator

import classifier_client as cc
import httpx
import pytest
from classifier_client import Client, Retries, TimeLimits

from tests.played_server import KEY, RESULT, Classify, World, classify, classify_sync, problem

__all__ = ["classify"]


def test_an_image_is_classified(classify: Classify) -> None:
    world = World([])
    result = classify(world)
    assert result.label == "cup"
    assert result.predictions == (cc.Prediction("cup", 7, 0.9),)
    assert result.image == cc.ImageInfo(2, 3, "PNG")
    [sent] = world.requests
    assert (sent.method, sent.url.path, sent.content) == ("POST", "/v2/classify", b"image")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "fault",
    [problem(429, 7), problem(503, 7), httpx.ConnectError("no"), httpx.ReadError("cut"), httpx.ReadTimeout("late")],
    ids=["429", "503", "unreachable", "cut", "late"],
)
def test_a_fault_that_passes_is_tried_again_as_the_same_request(
    classify: Classify, fault: httpx.Response | Exception
) -> None:
    world = World([fault])
    assert classify(world).label == "cup"
    first, second = world.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.content == second.content
    assert classify(world).label == "cup"
    assert world.requests[2].headers["idempotency-key"] != first.headers["idempotency-key"]
    [wait] = world.waits
    assert wait == (7.25 if isinstance(fault, httpx.Response) else 0.25), "Retry-After, and half of the jitter"


def test_waits_double_at_most_to_the_longest_and_end(classify: Classify) -> None:
    world = World([problem(503) for _ in range(9)], part=1.0)
    with pytest.raises(cc.Overloaded):
        classify(world, retries=Retries(most=4, first=1, longest=5))
    assert world.waits == [1, 2, 4, 5]
    without_luck = World([problem(503)], part=0.0)
    classify(without_luck)
    assert without_luck.waits == [0.0], "full jitter begins at zero"


def test_a_limit_is_waited_out_however_often_within_the_total_time(classify: Classify) -> None:
    world = World([problem(429, 10) for _ in range(8)], part=1.0)
    assert classify(world, retries=Retries(most=1)).label == "cup"
    assert world.waits == [10.5] * 8, "however often others came first"


def test_a_wait_beyond_the_total_time_is_not_begun(classify: Classify) -> None:
    world = World([problem(429, 100)])
    with pytest.raises(cc.LimitReached, match="Do better") as raised:
        classify(world, time_limits=TimeLimits(total=60))
    assert raised.value.retry_after == 100
    assert world.waits == []


def test_a_body_that_drips_ends_at_the_total_time() -> None:
    world = World([])

    def drip() -> Iterator[bytes]:
        for _ in range(1000):
            world.now_s += 1
            yield b" "

    world.answers = [httpx.Response(200, content=drip())]
    with pytest.raises(cc.TimedOut):
        classify_sync(world, time_limits=TimeLimits(total=30))
    assert world.now_s < 33


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(400, field="image"), cc.InvalidImage),
        (problem(400), cc.InvalidRequest),
        (problem(401), cc.AuthenticationError),
        (problem(403), cc.PermissionDenied),
        (problem(404), cc.NotFound),
        (problem(409, 1), cc.Conflict),
        (problem(413), cc.TooLarge),
        (problem(422, field="image"), cc.InvalidImage),
        (problem(422, field="top_k"), cc.InvalidRequest),
        (problem(500), cc.ServerError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value.status_code),
)
def test_what_will_not_change_is_raised_at_once(
    classify: Classify, answer: httpx.Response, error: type[cc.ClassifierError]
) -> None:
    world = World([answer])
    with pytest.raises(error) as raised:
        classify(world)
    assert type(raised.value) is error
    assert len(world.requests) == 1
    assert raised.value.status == answer.status_code
    assert raised.value.request_id == "req_9"
    assert str(raised.value) == raised.value.detail == f"Do better than {answer.status_code}."
    assert KEY not in repr(raised.value)


def test_a_used_up_quota_is_told_from_a_limit(classify: Classify) -> None:
    """A limit is waited out; nobody waits until the month ends, however soon that is."""
    for type_ in ("quota-exceeded", "https://server/problems/quota-exceeded"):
        world = World([problem(429, 60, type=type_)])
        with pytest.raises(cc.QuotaExceeded) as raised:
            classify(world)
        assert raised.value.type == type_
        assert world.waits == []


def test_the_answer_of_a_try_that_is_still_under_way_is_waited_for(classify: Classify) -> None:
    world = World([httpx.ReadError("cut"), problem(409, 1), problem(409, 1)], part=0.0)
    assert classify(world).label == "cup"
    assert world.waits == [0, 1, 1]


ENDLESS = json.dumps(RESULT).replace('"class_id": 7', '"class_id": 1e999').encode()


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b"[]", b'{"id": 1}', b"null", b"", pytest.param(b"[" * 100_000, id="deep"), ENDLESS]
)
def test_an_answer_of_something_else_is_one_clear_error(classify: Classify, body: bytes) -> None:
    with pytest.raises(cc.UnexpectedAnswer, match="check the address"):
        classify(World([httpx.Response(200, content=body)]))


def test_an_answer_that_can_not_be_unpacked_is_one_clear_error() -> None:
    answer = httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=iter([b"no gzip"]))
    with pytest.raises(cc.UnexpectedAnswer, match="check the address"):
        classify_sync(World([answer]), retries=Retries(most=0))
    with pytest.raises(cc.InvalidRequest, match="status 400"):
        classify_sync(World([httpx.Response(400, content=b"[" * 100_000)]))


@pytest.mark.parametrize("wait", ["-5", "NaN", "-Infinity", "true", '"-5"', "null"])
def test_a_wait_that_is_no_time_counts_as_none(classify: Classify, wait: str) -> None:
    world = World([httpx.Response(429, content=f'{{"retry_after": {wait}}}'.encode())])
    assert classify(world).label == "cup"
    assert world.waits == [0.25]


def test_an_error_of_a_proxy_is_an_error_too(classify: Classify) -> None:
    with pytest.raises(cc.ServerError, match="502") as raised:
        classify(World([httpx.Response(502, text="<html>")]), retries=Retries(most=0))
    assert raised.value.status == 502


def test_a_redirect_is_an_error_that_names_the_new_address(classify: Classify) -> None:
    """Such as `http://` in place of `https://`."""
    world = World([httpx.Response(301, headers={"Location": "https://there.example/v2/classify"})])
    with pytest.raises(cc.ConnectionFailed, match=r"redirects to https://there\.example/v2/classify;") as raised:
        classify(world)
    assert raised.value.status == 301
    assert len(world.requests) == 1


def test_a_certificate_that_can_not_be_verified_is_named(classify: Classify) -> None:
    fault = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed (_ssl.c:1006)")
    with pytest.raises(cc.ConnectionFailed, match=r"can't be verified.* SSL_CERT_FILE"):
        classify(World([fault]), retries=Retries(most=0))


def test_a_key_is_replaced_once_even_if_the_answer_is_lost() -> None:
    for fault in (httpx.ReadError("cut"), problem(503, 1)):
        world = World([fault])
        with world.client() as client, pytest.raises(cc.ClassifierError):
            client.rotate_key("abc")
        assert len(world.requests) == 1
    new = {"key_id": "n", "key": KEY, "scopes": ["keys"], "expires_at": None}
    world = World([httpx.ConnectError("no"), httpx.Response(200, json=new)])
    with world.client() as client:
        made = client.rotate_key("a/../b", grace="1h")
    assert KEY not in repr(made)
    assert world.requests[1].url.raw_path == b"/v2/keys/a%2F..%2Fb/rotate"
    assert json.loads(world.requests[1].content) == {"grace": "1h"}


def test_without_key_or_with_a_wrong_address_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGE_API_KEY", raising=False)
    with pytest.raises(cc.AuthenticationError, match="IMAGE_API_KEY"):
        Client("http://server")
    with pytest.raises(cc.AuthenticationError, match="copy it once more"):
        Client("http://server", "imc_\nX: y")
    wrong = ["server:3000", "ftp://server", "http://", "http://user:word@server", "http://server/#part"]
    for url in [*wrong, "http://a..example", "http://xn--a", f"http://{'a' * 64}.example"]:
        with pytest.raises(cc.ConnectionFailed, match="https://images"):
            Client(url, KEY)


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", cc.MissingPackage, "socksio"),
        ("ALL_PROXY", "socks://user:word@proxy", cc.ConnectionFailed, "ALL_PROXY"),
        ("HTTP_PROXY", "http://user:word@[::1", cc.ConnectionFailed, "HTTP_PROXY"),
        ("SSL_CERT_FILE", "no-such.pem", cc.ConnectionFailed, "SSL_CERT_FILE"),
        ("SSL_CERT_FILE", __file__, cc.ConnectionFailed, "SSL_CERT_FILE"),
    ],
)
def test_proxies_and_certificates_of_the_environment_that_can_not_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: type[cc.ClassifierError], says: str
) -> None:
    monkeypatch.setenv(name, value)
    for kind in (Client, cc.AsyncClient):
        with pytest.raises(error, match=says) as raised:
            kind("http://server", KEY)
        assert "word" not in str(raised.value)


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_API_URL", "https://there.example/base/")
    monkeypatch.setenv("IMAGE_API_KEY", KEY)
    world = World([])
    with Client(**world.options()) as client:
        client.classify(b"image", top_k=3, min_confidence=0.5)
        assert KEY not in repr(client)
        assert KEY not in repr(vars(client))
    assert str(world.requests[0].url) == "https://there.example/base/v2/classify?top_k=3&min_confidence=0.5"
