"""What lies in deploy/kubernetes: a cluster would take it, its parts agree, and it lets through what it must."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from testing.servers import Server
from tests.deployment import DEPLOY, KUBERNETES, SERVICES, assert_settings, manifests, of_kind, pods, read

# The oldest that has all we name, and the newest that the package knows.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
CONFINED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version: str) -> None:
    core = [manifest for manifest in manifests() if "coreos.com" not in manifest["apiVersion"]]
    for manifest in core:
        kubernetes_validate.validate(manifest, version, strict=True)
    assert len(core) == 15


def test_the_manifests_refer_to_what_is_there() -> None:
    labels = {name: template["metadata"]["labels"] for name, template in pods().items()}
    replica = labels["classifier"]
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        assert of_kind(kind)["spec"]["selector"]["matchLabels"] == replica
    assert of_kind("Service")["spec"]["selector"] == replica
    policies = [manifest["spec"] for manifest in manifests() if manifest["kind"] == "NetworkPolicy"]
    # Each pod has one policy, and each policy is for pods that there are.
    assert [policy["podSelector"].get("matchLabels") for policy in policies] == [
        replica,
        None,
        labels["classifier-meter"],
    ]
    [chosen] = policies[1]["podSelector"]["matchExpressions"]
    assert (chosen["key"], chosen["operator"]) == ("app.kubernetes.io/name", "In")
    assert {*chosen["values"], "classifier", "classifier-meter"} == labels.keys()
    assert all(found["app.kubernetes.io/name"] == name for name, found in labels.items())
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


def test_what_runs_by_itself_is_a_command_that_there_is_at_its_time(tmp_path: Path) -> None:
    operator = Server(tmp_path / "it", tmp_path, CLASSIFIER_STRIPE_KEY="sk_test_1")
    assert operator.auth("migrate").returncode == 0
    jobs = {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "CronJob"}
    times = {name: job["schedule"] for name, job in jobs.items()}
    assert times == {
        "classifier-backup": "0 3 * * *",
        "classifier-prune": "30 3 * * *",
        "classifier-reconcile": "0 4 * * *",
        "classifier-meter": "10 * * * *",
    }
    # Nothing is sent to anybody until the owner says so.
    assert [name for name, job in jobs.items() if job.get("suspend")] == ["classifier-meter"]
    [meter] = pods()["classifier-meter"]["spec"]["containers"]
    # It has the event name of Stripe's meter: Stripe drops an event of another name, and says so only later.
    assert meter["envFrom"] == pods()["classifier"]["spec"]["containers"][0]["envFrom"]
    [generated] = read(KUBERNETES / "kustomization.yaml")["configMapGenerator"]
    assert "CLASSIFIER_STRIPE_METER=images" in generated["literals"]
    for job in jobs.values():
        assert (job["timeZone"], job["concurrencyPolicy"]) == ("Etc/UTC", "Forbid")
        [container] = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        if container["name"] == "backup":
            continue
        assert container["command"][:3] == ["python", "-m", "auth"]
        done = operator.auth(*container["command"][3:])
        assert done.returncode == 0, done.stderr


def test_the_backup_is_the_one_that_compose_makes() -> None:
    spec = pods()["classifier-backup"]["spec"]
    [container] = spec["containers"]
    # tests/test_compose.py runs it.
    assert (container["command"], container["args"]) == (["sh", "-c"], [(DEPLOY / "jobs" / "backup.sh").read_text()])
    assert container["image"] == SERVICES["backup"]["image"] == SERVICES["postgres"]["image"]
    [claim] = (m for m in manifests() if m["kind"] == "PersistentVolumeClaim")
    [name] = (
        v["name"] for v in spec["volumes"] if v.get("persistentVolumeClaim") == {"claimName": claim["metadata"]["name"]}
    )
    assert {"name": name, "mountPath": "/backup"} in container["volumeMounts"]
    # The user of the pod may write to a new volume.
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsUser"]


def test_nobody_is_believed_about_addresses_until_somebody_is_named() -> None:
    [generated] = read(KUBERNETES / "kustomization.yaml")["configMapGenerator"]
    settings = dict(literal.split("=", 1) for literal in generated["literals"])
    assert settings["CLASSIFIER_TRUSTED_PROXIES"] == ""
    text = (KUBERNETES / "kustomization.yaml").read_text() + (DEPLOY / "README.md").read_text()
    assert "CLASSIFIER_TRUSTED_PROXIES" in (DEPLOY / "README.md").read_text()
    for network in re.findall(r"\d+\.\d+\.\d+\.\d+/\d+", text):
        assert ip_network(network).num_addresses <= 256


def peers() -> list[dict[str, Any]]:
    """Whom the network policies let in, and whom they let the service reach."""
    policies = [manifest["spec"] for manifest in manifests() if manifest["kind"] == "NetworkPolicy"]
    rules = [rule for policy in policies for way in ("ingress", "egress") for rule in policy.get(way, [])]
    assert all(rule["ports"] for rule in rules)
    return [peer for rule in rules for way in ("from", "to") for peer in rule.get(way, [])]


def test_every_peer_is_in_a_namespace_that_is_named() -> None:
    instructions = (DEPLOY / "README.md").read_text()
    blocks = [peer for peer in peers() if "ipBlock" in peer]
    inside = [peer for peer in peers() if "ipBlock" not in peer]
    # Stripe's addresses change; nothing of the inside is among these.
    assert [block["ipBlock"]["cidr"] for block in blocks] == ["0.0.0.0/0"]
    excepted = [ip_network(network) for network in blocks[0]["ipBlock"]["except"]]
    for private in ("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254"):
        assert any(ip_address(private) in network for network in excepted)
    named = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in inside]
    assert set(named) == {"ingress", "monitoring", "kube-system", "postgresql", "redis"}
    for namespace in set(named) - {"kube-system"}:
        assert f"`{namespace}`" in instructions
    for peer, namespace in zip(inside, named, strict=True):
        assert namespace == "ingress" or peer["podSelector"]["matchLabels"]


def test_the_policies_leave_no_direction_and_no_rule_open() -> None:
    policies = [manifest["spec"] for manifest in manifests() if manifest["kind"] == "NetworkPolicy"]
    for policy in policies:
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        for way, peer in (("ingress", "from"), ("egress", "to")):
            assert all(rule.get(peer) for rule in policy.get(way, []))
