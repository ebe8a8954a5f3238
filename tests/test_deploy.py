"""What lies in deploy/: a cluster would take it, its files agree, and it names only metrics that the service tells."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import kubernetes_validate
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from configs.settings import Settings
from tests.answers import assert_problem
from tests.photographs import COFFEE
from tests.proxies import NGINX, copied_with_certificate, launch
from tests.servers import PROJECT, Server, free_port

DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OPERATIONS = (PROJECT / "docs" / "operations.md").read_text()
PASSWORDS = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"}
# The oldest that has all we name, and the newest that the package knows.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
CONFINED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
Node = TypeVar("Node", bound=promql_parser.Expr)
# What Prometheus itself puts on every sample.
TARGET = {"job", "instance"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


COMPOSE = read(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
REPLICAS = [name for name in SERVICES if name.startswith("api-")]


@cache
def manifests() -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, of each of the three folders, but for names that kustomize makes."""
    found = []
    for kustomization in sorted(KUBERNETES.rglob("kustomization.yaml")):
        for name in read(kustomization)["resources"]:
            found += yaml.safe_load_all((kustomization.parent / name).read_text())
    return found


def of_kind(kind: str) -> dict[str, Any]:
    return next(manifest for manifest in manifests() if manifest["kind"] == kind)


def pods() -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m["spec"]["template"] for m in manifests() if m["kind"] in ("Deployment", "Job")}


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
    with server.client(server.create_key("deploy@example.org", "--limit", "2/minute")["key"]) as client:
        seen = [client.post("/v2/classify", **image).status_code for _ in range(3)]  # type: ignore[arg-type]
        seen += [client.get(path).status_code for path in ("/readyz", "/v2/usage", "/made/up", "/metrics")]
    with server.client() as stranger:
        seen.append(stranger.get("/v1/usage").status_code)
    assert seen == [200, 200, 429, 200, 200, 404, 403, 401]
    labels: dict[str, set[str]] = {}
    with server.client(server.create_key("deploy-metrics@example.org", "--scope", "metrics")["key"]) as client:
        give_up = time.monotonic() + 10
        # What is true of a worker just now is told every second.
        while "classifier_model_info" not in labels and time.monotonic() < give_up:
            for family in text_string_to_metric_families(client.get("/metrics").text):
                for sample in family.samples:
                    labels.setdefault(sample.name, set()).update(sample.labels)
            time.sleep(0.2)
    return labels


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version: str) -> None:
    core = [manifest for manifest in manifests() if "coreos.com" not in manifest["apiVersion"]]
    for manifest in core:
        kubernetes_validate.validate(manifest, version, strict=True)
    assert len(core) == 9


def test_the_manifests_refer_to_what_is_there() -> None:
    labels = {name: template["metadata"]["labels"] for name, template in pods().items()}
    replica = labels["classifier"]
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        assert of_kind(kind)["spec"]["selector"]["matchLabels"] == replica
    assert of_kind("Service")["spec"]["selector"] == replica
    policies = [manifest["spec"] for manifest in manifests() if manifest["kind"] == "NetworkPolicy"]
    assert [policy["podSelector"]["matchLabels"] for policy in policies] == [replica, labels["classifier-migrate"]]
    target = of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", of_kind("Deployment")["metadata"]["name"])
    backend = of_kind("Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == of_kind("Service")["metadata"]["name"]

    [container] = pods()["classifier"]["spec"]["containers"]
    [port] = container["ports"]
    [service] = of_kind("Service")["spec"]["ports"]
    [scraped] = of_kind("PodMonitor")["spec"]["podMetricsEndpoints"]
    named = [service["targetPort"], scraped["port"], policies[0]["ingress"][0]["ports"][0]["port"]]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert named + [probe["port"] for probe in probes.values()] == [port["name"]] * 6
    assert backend["port"]["name"] == service["name"]
    paths = {name: probe["path"] for name, probe in probes.items()}
    assert paths == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}


def test_pods_are_confined_and_their_settings_and_secrets_are_known() -> None:
    instructions = (DEPLOY / "README.md").read_text()
    [generated] = read(KUBERNETES / "kustomization.yaml")["configMapGenerator"]
    settings = dict(literal.split("=", 1) for literal in generated["literals"])
    for template in pods().values():
        spec, [container] = template["spec"], template["spec"]["containers"]
        assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 10001)
        assert container["securityContext"] == CONFINED
        assert container["resources"]["limits"]["memory"]
        for source in container.get("envFrom", ()):
            assert source == {"configMapRef": {"name": generated["name"]}}
        for variable in container["env"]:
            secret = variable["valueFrom"]["secretKeyRef"]
            assert f"secret generic {secret['name']}" in instructions
            assert f"--from-literal={secret['key']}=" in instructions
            settings.setdefault(variable["name"], "")
    assert_settings({name: value for name, value in settings.items() if value}, settings)


def assert_settings(values: dict[str, str], names: Any) -> None:
    fields = {name: name.removeprefix("CLASSIFIER_").lower() for name in names}
    assert set(fields.values()) <= Settings.model_fields.keys()
    Settings(_env_file=None, **{fields[name]: value for name, value in values.items()})  # type: ignore[arg-type]


def test_compose_confines_the_service_and_publishes_nginx_alone() -> None:
    assert all(service["image"] for service in SERVICES.values())
    for name in (*REPLICAS, "migrate", "nginx"):
        service = SERVICES[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service["user"].startswith("0")
    for name in REPLICAS:
        assert SERVICES[name]["deploy"]["resources"]["limits"] == {"cpus": "2", "memory": "1g"}
        assert "/readyz" in SERVICES[name]["healthcheck"]["test"][-1]
        assert SERVICES[name]["environment"] == SERVICES["migrate"]["environment"]
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"nginx": ["443:8443", "80:8080"], "grafana": ["127.0.0.1:3001:3000"]}
    assert_settings(SERVICES["migrate"]["environment"], SERVICES["migrate"]["environment"])


def test_compose_holds_no_secret_and_asks_for_those_of_the_example() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = dict(line.split("=", 1) for line in (DEPLOY / "example.env").read_text().splitlines() if "=" in line[1:])
    example = {name: value for name, value in example.items() if not name.startswith("#")}
    assert set(re.findall(r"\$\{(\w+)", text)) == example.keys()
    assert {name for name, value in example.items() if not value} == PASSWORDS
    for name in PASSWORDS:
        assert set(re.findall(rf"\$\{{{name}([^}}]*)\}}", text)) == {":?set it in deploy/.env"}
    for password in re.findall(r"(?:://\w*:|PASSWORD: |AUTH: )(\S+)", text):
        assert password.startswith("${")
    assert {".env", "secrets/", "nginx/tls/"} <= set((DEPLOY / ".gitignore").read_text().split())


def test_the_files_of_compose_agree() -> None:
    addresses = {name: SERVICES[name]["networks"]["front"]["ipv4_address"] for name in (*REPLICAS, "nginx")}
    text = {path.name: path.read_text() for path in (DEPLOY / "nginx").glob("*.conf")}
    upstream = re.findall(r"server ([\d.]+):3000 ", text["nginx.conf"])
    assert upstream == [addresses[name] for name in REPLICAS]
    assert SERVICES["api-1"]["environment"]["CLASSIFIER_TRUSTED_PROXIES"] == f"{addresses['nginx']}/32"
    [scraped] = read(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"{name}:3000" for name in REPLICAS]}]
    assert Path(scraped["authorization"]["credentials_file"]).name in COMPOSE["secrets"]
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            assert (DEPLOY / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"]

    [megabytes] = re.findall(r"client_max_body_size (\d+)m;", text["locations.conf"])
    assert 1 < int(megabytes) * 2**20 / Settings.model_fields["max_body_bytes"].default < 1.2
    # nginx waits longer for a body and for an answer than the service does, which tells its caller why it ends.
    patience = re.findall(r"proxy_read_timeout (\d+)s;", text["locations.conf"])
    patience += re.findall(r"client_body_timeout (\d+)s;", text["http.conf"])
    assert len(patience) == 2
    for config in (PROJECT / "configs").glob("*.yaml"):
        for service in read(config)["services"].values():
            assert service["traffic"]["timeout"] < min(map(int, patience))


def test_the_migration_is_a_command_that_there_is(server: Server) -> None:
    command = SERVICES["migrate"]["entrypoint"]
    [container] = pods()["classifier-migrate"]["spec"]["containers"]
    assert command == container["command"]
    assert command[:3] == ["python", "-m", "auth"]
    assert server.auth(*command[3:]).returncode == 0


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
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Request-ID": "mine"}) as client:
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
