"""Every row of the contract's error table, on both versions: status, content type, body, headers."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from auth.api_key import ApiKey
from testing.callers import BODY
from testing.photographs import as_base64
from testing.servers import Server
from testing.waiting import wait_until
from tests.answers import assert_problem
from tests.error_rows import MAX_BODY, OF_ONE_IMAGE, OF_V2, ROWS, SMALL, Row, wrap

# Below the ten seconds after which a slow body is refused (`api/body_limits.py`).
TIME_LIMIT_S = 8.0
QUEUE = 4

CLASSIFY = ("/v1/classify", "/v2/classify", "/v2/classify/batch")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    """A server whose bounds are so narrow that a test can reach each."""
    folder = tmp_path_factory.mktemp("narrow")
    config = folder / "bentoml.yaml"
    config.write_text(f"services:\n  ImageClassifier:\n    traffic:\n      timeout: {TIME_LIMIT_S}\n")
    server = Server(
        folder / "it",
        model_store,
        BENTOML_CONFIG=str(config),
        CLASSIFIER_MAX_BODY_BYTES=str(MAX_BODY),
        CLASSIFIER_MAX_BATCH_IMAGES="3",
        CLASSIFIER_MAX_QUEUE=str(QUEUE),
        CLASSIFIER_RUNNER="service",
    )
    server.start()
    yield server
    server.end()


@pytest.fixture
def callers(narrow: Server) -> Iterator[Callable[..., httpx.Client]]:
    """Makes clients with a key of its own each; takes the options of `python -m auth create`."""
    made: list[httpx.Client] = []

    def make(*options: str) -> httpx.Client:
        email = f"row{next(_numbers)}@example.org"
        made.append(narrow.client(narrow.create_key(email, *(options or ("--limit", "10000/day")))["key"]))
        return made[-1]

    yield make
    for client in made:
        client.close()


def check(answer: httpx.Response, row: Row) -> None:
    problem = assert_problem(answer, row.status)
    assert row.says in problem["detail"]
    if row.field is not None:
        assert problem["field"].startswith(row.field)
    assert answer.headers["ratelimit-policy"] == '"default";q=10000;w=86400'
    assert answer.headers["ratelimit"].startswith('"default";r=')


@pytest.mark.parametrize("path", CLASSIFY)
@pytest.mark.parametrize("case", ROWS)
def test_a_bad_request(callers: Callable[..., httpx.Client], path: str, case: str) -> None:
    check(callers().post(path, **ROWS[case].send(path)), ROWS[case])


def test_text_where_a_file_belongs(callers: Callable[..., httpx.Client]) -> None:
    form = {"files": {"image": (None, "photo.jpg")}}
    row = Row(400, lambda _: form, "send a file", "image")
    check(callers().post("/v2/classify", **row.send("")), row)
    [entry] = callers().post("/v2/classify/batch", **row.send("")).json()["results"]
    assert (entry["error"]["status"], entry["error"]["field"]) == (400, "image")


@pytest.mark.parametrize("path", CLASSIFY[:2])
@pytest.mark.parametrize("case", OF_ONE_IMAGE)
def test_a_bad_image(callers: Callable[..., httpx.Client], path: str, case: str) -> None:
    check(callers().post(path, **OF_ONE_IMAGE[case].send(path)), OF_ONE_IMAGE[case])


@pytest.mark.parametrize("path", CLASSIFY[1:])
@pytest.mark.parametrize("case", OF_V2)
def test_a_bad_form(callers: Callable[..., httpx.Client], path: str, case: str) -> None:
    check(callers().post(path, **OF_V2[case].send(path)), OF_V2[case])


def unknown_key() -> str:
    return ApiKey.generate().reveal()


@pytest.mark.parametrize("path", [*CLASSIFY, "/v1/usage", "/v2/usage", "/metrics", "/made/up"])
def test_401_without_a_good_key(narrow: Server, path: str) -> None:
    for wrong in ("Bearer " + unknown_key(), "Bearer imc_x", "Basic YTpi", "Bearer", "Bearer \xff"):
        answer = httpx.request("POST", narrow.url + path, headers={b"Authorization": wrong.encode("latin-1")})
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    answer = httpx.post(narrow.url + path, json=BODY)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "ratelimit" not in answer.headers


@pytest.mark.parametrize("path", CLASSIFY)
def test_403_where_the_scope_is_missing(callers: Callable[..., httpx.Client], path: str) -> None:
    answer = callers("--scope", "usage", "--limit", "10000/day").post(path, json=BODY)
    check(answer, Row(403, lambda _: {}, "'classify'"))
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_404_and_405(callers: Callable[..., httpx.Client], version: str) -> None:
    client = callers()
    for unknown in (f"/{version}", f"/{version}/nothing", f"/{version}/classify/x", f"/{version}/%00", "/v3/classify"):
        assert_problem(client.post(unknown), 404)
        assert_problem(client.get(unknown), 404)
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"):
        answer = client.request(method, f"/{version}/classify")
        assert answer.headers["allow"] == "POST"
        if method != "HEAD":
            assert_problem(answer, 405)
        answer = client.request(method if method not in ("GET", "HEAD") else "POST", f"/{version}/usage")
        assert_problem(answer, 405)
        assert "GET" in answer.headers["allow"]


def test_400_for_what_is_no_http(narrow: Server) -> None:
    for method in ("BREW", "SIP"):
        assert_problem(httpx.request(method, narrow.url + "/v1/classify"), 400)


@pytest.mark.parametrize("path", CLASSIFY)
def test_429_where_the_limit_is_reached(callers: Callable[..., httpx.Client], path: str) -> None:
    client = callers("--limit", "1/hour")
    body = wrap(path, as_base64(SMALL))
    assert client.post(path, **body).status_code == 200
    answer = client.post(path, **body)
    assert "1/hour" in assert_problem(answer, 429)["detail"]
    assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert answer.headers["ratelimit"] == f'"default";r=0;t={answer.headers["retry-after"]}'


def test_503_and_504_where_the_runner_hangs(narrow: Server, callers: Callable[..., httpx.Client]) -> None:
    """What fills the queue waits until the time limit; what comes then is told before that, and costs nothing."""
    client, operator = callers(), callers("--scope", "metrics")
    [runner] = narrow.workers("ResNetRunner")

    def ask(path: str) -> httpx.Response:
        return client.post(path, **wrap(path, as_base64(SMALL)))

    runner.suspend()
    try:
        with ThreadPoolExecutor(QUEUE) as pool:
            waiting = [pool.submit(ask, path) for path in (*CLASSIFY, "/v1/classify")]
            wait_until(lambda: f"_queue_images {QUEUE:.1f}\n" in operator.get("/metrics").text, "the queue is full")
            for path in CLASSIFY:
                answer = ask(path)
                check(answer, Row(503, lambda _: {}, "overloaded"))
                assert int(answer.headers["retry-after"]) >= 1
            assert not any(early.done() for early in waiting)
            for late in waiting:
                check(late.result(), Row(504, lambda _: {}, f"time limit of {TIME_LIMIT_S:g} s"))
    finally:
        runner.resume()
    answers = [ask(path) for path in CLASSIFY]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    # Four were admitted and timed out; the 503s took no place.
    assert answers[-1].headers["ratelimit"].startswith(f'"default";r={10000 - 4 - 3};')
    buckets = client.get("/v2/usage").json()["data"]
    assert [sum(bucket["status"][kind] for bucket in buckets) for kind in ("2xx", "4xx", "5xx")] == [3, 0, 7]


def test_a_killed_runner_is_an_error_at_most_and_back_by_itself(
    narrow: Server, callers: Callable[..., httpx.Client]
) -> None:
    """A request that was sent to it is tried once more: the next runner answers it, or it gets an error in time."""
    client = callers()
    [runner] = narrow.workers("ResNetRunner")
    runner.suspend()
    with ThreadPoolExecutor(len(CLASSIFY)) as pool:
        under_way = [pool.submit(client.post, path, **wrap(path, as_base64(SMALL))) for path in CLASSIFY]
        time.sleep(TIME_LIMIT_S / 4)
        assert not any(request.done() for request in under_way), "no request waited for the runner that is killed"
        runner.kill()
        answers = [request.result() for request in under_way]
    for answer in answers:
        assert answer.status_code in (200, 503, 504)
        if answer.status_code != 200:
            assert_problem(answer, answer.status_code)
    narrow.wait_until_ready()
    for path in CLASSIFY:
        assert client.post(path, **wrap(path, as_base64(SMALL))).status_code == 200


def test_503_at_most_while_the_model_is_being_loaded(tmp_path: Path, model_store: Path) -> None:
    """The runner is suspended as soon as it exists, until callers were told that the model is not loaded."""
    server = Server(tmp_path / "it", model_store, CLASSIFIER_RUNNER="service")
    key = server.create_key("early@example.org", "--limit", "1000000/day")["key"]
    seen: dict[str, set[int]] = {path: set() for path in CLASSIFY}

    def ask(client: httpx.Client, path: str) -> set[int]:
        """Send an image; return all statuses that the path has answered so far."""
        try:
            answer = client.post(path, **wrap(path, as_base64(SMALL)))
        except httpx.TransportError:
            return seen[path]
        seen[path].add(answer.status_code)
        if answer.status_code != 200:
            assert_problem(answer, 503)
            assert answer.headers["retry-after"]
        return seen[path]

    server.launch()
    try:
        [runner] = wait_until(lambda: server.workers("ResNetRunner"), "the runner is started", looks_every_s=0.01)
        runner.suspend()
        try:
            with server.client(key) as client:
                # (v1 names no engine in its answer, so it would wait for the runner.)
                for path in ("/v2/classify", "/v2/classify/batch"):
                    wait_until(partial(ask, client, path), f"{path} is answered")
        finally:
            runner.resume()
        assert seen == {"/v1/classify": set(), "/v2/classify": {503}, "/v2/classify/batch": {503}}
        with server.client(key) as client:
            for path in CLASSIFY:
                wait_until(lambda path=path: 200 in ask(client, path), f"{path} classifies")  # type: ignore[misc]
        assert all({200} <= statuses <= {200, 503} for statuses in seen.values()), seen
    finally:
        server.end()
