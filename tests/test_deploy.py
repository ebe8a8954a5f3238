"""What watches the service, and what stands before it: alerts, dashboard, autoscaler and nginx know what it tells."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from auth import quota_webhooks
from testing.photographs import COFFEE
from testing.ports import free_port
from testing.servers import PROJECT, Server
from testing.waiting import wait_until
from tests.answers import assert_problem
from tests.deployment import DEPLOY, KUBERNETES, of_kind, read
from tests.proxies import NGINX, copied_with_certificate, launch

OPERATIONS = (PROJECT / "docs" / "operations.md").read_text()
Node = TypeVar("Node", bound=promql_parser.Expr)
# What Prometheus itself puts on every sample.
TARGET = {"job", "instance"}


def expressions() -> Iterator[tuple[str, str, str]]:
    """Of every alert and every panel: its name, what it asks, and what it writes beside the answer."""
    for group in read(DEPLOY / "prometheus" / "alerts.yml")["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"], ""
    for panel in json.loads((DEPLOY / "grafana" / "dashboards" / "dashboard.json").read_text())["panels"]:
        for number, target in enumerate(panel["targets"]):
            asked = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            yield f"{panel['title']} {number}", asked, target["legendFormat"]


def every(kind: type[Node], tree: promql_parser.Expr) -> list[Node]:
    found: list[Node] = []
    promql_parser.walk(tree, pre_visit=lambda node: found.append(node) if isinstance(node, kind) else None)
    return found


def labels_of(tree: promql_parser.Expr, known: dict[str, set[str]]) -> set[str]:
    return set().union(*(known[str(selector.name)] for selector in every(promql_parser.VectorSelector, tree)))


@pytest.fixture(scope="module")
def told(server: Server) -> dict[str, set[str]]:
    """The labels of every metric of a server that has seen requests of several kinds."""
    image = {"content": COFFEE.read_bytes(), "headers": {"Content-Type": "image/png"}}
    with server.client(server.create_key("deploy@example.org", "--limit", "2/day")["key"]) as client:
        seen = [client.post("/v2/classify", **image).status_code for _ in range(3)]  # type: ignore[arg-type]
        seen += [client.get(path).status_code for path in ("/readyz", "/v2/usage", "/made/up", "/metrics")]
    with server.client() as stranger:
        seen.append(stranger.get("/v1/usage").status_code)
    assert seen == [200, 200, 429, 200, 200, 404, 403, 401]
    labels: dict[str, set[str]] = {}
    with server.client(server.create_key("deploy-metrics@example.org", "--scope", "metrics")["key"]) as client:

        def tells_its_model() -> bool:
            for family in text_string_to_metric_families(client.get("/metrics").text):
                for sample in family.samples:
                    labels.setdefault(sample.name, set()).update(sample.labels)
            return "classifier_model_info" in labels

        # What is true of a worker just now is told every second.
        wait_until(tells_its_model, "the metrics tell the model", looks_every_s=0.2)
    # A server tells these only if it has an endpoint for webhooks.
    for metric in (quota_webhooks.attempts_total, quota_webhooks.undelivered):
        for family in metric.collect():
            for sample in family.samples:
                labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.mark.parametrize(("asked", "legend"), [pytest.param(*rest, id=name) for name, *rest in expressions()])
def test_alerts_and_panels_ask_for_what_the_service_tells(told: dict[str, set[str]], asked: str, legend: str) -> None:
    tree = promql_parser.parse(asked)
    known = {"up": TARGET} | {name: labels | TARGET for name, labels in told.items()}
    for selector in every(promql_parser.VectorSelector, tree):
        assert selector.name in known
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name]
            if matcher.name == "kind":
                assert all(f"`{kind}`" in OPERATIONS for kind in matcher.value.split("|"))
    for aggregate in every(promql_parser.AggregateExpr, tree):
        if aggregate.modifier is not None:
            assert set(aggregate.modifier.labels) <= labels_of(aggregate.expr, known)
    assert set(re.findall(r"{{(\w+)}}", legend)) <= labels_of(tree, known)


def test_the_autoscaler_goes_by_what_the_service_tells(told: dict[str, set[str]]) -> None:
    pods_metric = of_kind("HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["metric"]["name"]
    [rule] = read(KUBERNETES / "monitoring" / "adapter-values.yaml")["rules"]["custom"]
    assert rule["name"]["as"] == pods_metric
    assert rule["seriesQuery"].startswith(f"{pods_metric}{{")
    assert pods_metric in told


def test_every_alert_points_to_a_place_that_tells_what_to_do() -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATIONS, re.MULTILINE)
    places = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for group in read(DEPLOY / "prometheus" / "alerts.yml")["groups"]:
        for rule in group["rules"]:
            page, _, place = rule["annotations"]["runbook"].partition("#")
            assert (page, place in places) == ("docs/operations.md", True)
            assert rule["annotations"]["summary"].rstrip().endswith(".")
            assert rule["labels"]["severity"] in ("page", "ticket")


needs_nginx = pytest.mark.skipif(NGINX is None or shutil.which("openssl") is None, reason="no nginx or openssl here")


@pytest.fixture
def nginx_folder(tmp_path: Path) -> Path:
    """deploy/nginx with a certificate, and on free ports where it is on loopback."""
    folder = copied_with_certificate(tmp_path / "nginx")
    loopback = folder / "loopback.conf"
    loopback.write_text(re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{free_port()}", loopback.read_text()))
    return folder


@needs_nginx
@pytest.mark.parametrize("name", ["nginx.conf", "loopback.conf"])
def test_nginx_takes_its_configuration(nginx_folder: Path, name: str) -> None:
    command = [str(NGINX), "-t", "-e", "stderr", "-p", str(nginx_folder), "-c", str(nginx_folder / name)]
    assert "test is successful" in subprocess.run(command, check=True, capture_output=True, text=True).stderr


@needs_nginx
def test_what_nginx_answers_itself_has_the_form_of_all_errors(nginx_folder: Path) -> None:
    conf = nginx_folder / "loopback.conf"
    port = re.findall(r"listen 127\.0\.0\.1:(\d+)", conf.read_text())[0]
    with launch(conf, int(port)) as nginx:
        try:
            # nginx closes a connection on which it answered before the body had come.
            alone = httpx.Limits(max_keepalive_connections=0)
            headers = {"X-Request-ID": "mine"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, limits=alone) as client:
                away = client.post("/v1/classify", json={})
                assert assert_problem(away, 503)["request_id"] == "mine"
                assert away.headers["retry-after"] == "1"
                assert_problem(client.get("/metrics"), 404)
                assert_problem(client.request("TRACE", "/"), 405)
                assert_problem(client.get("/" + "a" * 9000), 414)
                assert_problem(client.post("/v1/classify", content=bytes(12 * 2**20)), 413)
                strange = assert_problem(client.get("/", headers={"X-Request-ID": 'a "b'}), 503)
                assert strange["request_id"].startswith("req_")
        finally:
            nginx.terminate()
