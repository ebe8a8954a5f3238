"""What lies in deploy/ for one machine: Compose and its files agree, and no secret lies open."""

import os
import re
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from configs.settings import Settings
from storage import jobs
from storage.database import Database
from storage.migrate import migrate
from testing.servers import PROJECT, Server
from testing.store_servers import Postgres
from tests.deployment import COMPOSE, DEPLOY, REPLICAS, SERVICES, assert_settings, pods, read

PASSWORDS = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"}
OPTIONAL = {"CLASSIFIER_STRIPE_KEY"}
JOBS = ("backup", "prune", "reconcile", "meter")
EVERY = DEPLOY / "jobs" / "every.sh"


def test_compose_confines_the_service_and_publishes_nginx_alone() -> None:
    assert all(service["image"] for service in SERVICES.values())
    for name in (*REPLICAS, *JOBS, "migrate", "nginx"):
        service = SERVICES[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert name == "backup" or not service["user"].startswith("0")
    inside = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    outside = {name for name, service in SERVICES.items() if not inside.issuperset(service["networks"])}
    assert outside == {"nginx", "grafana", "meter"}
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
    assert {name for name, value in example.items() if not value} == PASSWORDS | OPTIONAL
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
    assert len(patience) == 3
    for config in (PROJECT / "configs").glob("*.yaml"):
        for service in read(config)["services"].values():
            assert service["traffic"]["timeout"] < min(map(int, patience))


def test_the_migration_is_a_command_that_there_is(server: Server) -> None:
    command = SERVICES["migrate"]["entrypoint"]
    [container] = pods()["classifier-migrate"]["spec"]["containers"]
    assert command == container["command"]
    assert command[:3] == ["python", "-m", "auth"]
    assert server.auth(*command[3:]).returncode == 0


def test_what_runs_by_itself_is_a_command_that_there_is_at_its_time(tmp_path: Path) -> None:
    operator = Server(tmp_path / "it", tmp_path, CLASSIFIER_STRIPE_KEY="sk_test_1")
    assert operator.auth("migrate").returncode == 0
    times = {}
    for name in JOBS:
        assert SERVICES[name]["init"] is True
        shell, program, period, after, *command = SERVICES[name]["entrypoint"]
        assert (shell, program) == ("sh", "/etc/classifier/every.sh")
        times[name] = (int(period), int(after))
        if name == "backup":
            assert command == ["sh", "/etc/classifier/backup.sh"]
        else:
            assert command[:3] == ["python", "-m", "auth"]
            done = operator.auth(*command[3:])
            assert done.returncode == 0, done.stderr
    day_s, hour_s = 86400, 3600
    assert times == {
        "backup": (day_s, 3 * hour_s),
        "prune": (day_s, 3.5 * hour_s),
        "reconcile": (day_s, 4 * hour_s),
        "meter": (hour_s, 600),
    }
    assert SERVICES["meter"]["profiles"] == ["stripe"]
    assert SERVICES["meter"]["environment"].items() > SERVICES["migrate"]["environment"].items()
    # Stripe drops an event of another name, and says so only later.
    assert SERVICES["meter"]["environment"]["CLASSIFIER_STRIPE_METER"] == "${CLASSIFIER_STRIPE_METER:-images}"


def test_a_job_runs_at_its_time_also_after_it_has_failed(tmp_path: Path) -> None:
    """Every two seconds, one second after their start."""
    command = 'date +%s; test "$(date +%s)" = 0'
    with subprocess.Popen(
        ["sh", EVERY, "2", "1", "sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        times = [int(job.stdout.readline()) for _ in range(3)]
        said = [job.stderr.readline() for _ in range(2)]
        job.terminate()
    assert all(line.startswith("ERROR: this ended with 1: sh -c date") for line in said)
    # Each in another period. (A machine that is busy may begin a command late.)
    periods = [(at_s - 1) // 2 for at_s in times]
    assert periods == sorted(set(periods))


def test_a_backup_is_whole_and_old_ones_are_deleted(tmp_path: Path, postgres: Postgres) -> None:
    """The script itself, with another folder in the place of the volume."""
    url = postgres.new_database()
    migrate(url)
    (tmp_path / "backup").mkdir()
    old, new = (tmp_path / "backup" / f"classifier-{name}.dump" for name in ("2026-01-01", "2026-01-02"))
    for file, days in ((old, 20), (new, 2)):
        file.write_text("a dump")
        at_s = time.time() - days * 86400
        os.utime(file, (at_s, at_s))
    script = (DEPLOY / "jobs" / "backup.sh").read_text().replace("/backup", f"{tmp_path}/backup")
    path = {"PATH": f"{postgres.programs}:{os.environ['PATH']}"}

    def back_up(database: str) -> subprocess.CompletedProcess[str]:
        server = {"PGHOST": str(postgres.folder), "PGUSER": "postgres", "PGDATABASE": database}
        return subprocess.run(["sh", "-c", script], env=path | server, capture_output=True, text=True, check=False)

    assert back_up("no_such_database").returncode == 1
    assert sorted(tmp_path.glob("backup/*.dump")) == [old, new]
    done = back_up(str(make_url(url).database))
    assert (done.returncode, "bytes" in done.stdout) == (0, True), done.stderr
    [made] = set(tmp_path.glob("backup/*")) - {new}
    assert made.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(
        [postgres.programs / "pg_restore", "--list", made], capture_output=True, text=True, check=True
    )
    assert "TABLE DATA public usage_log" in listed.stdout
    # As in Kubernetes, where the database is named by its URL. (The driver's name is not libpq's.)
    by_url = {
        "CLASSIFIER_DATABASE_URL": make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    }
    began_s = time.time()
    done = subprocess.run(["sh", "-c", script], env=path | by_url, capture_output=True, text=True, check=False)
    assert (done.returncode, "not noted" in done.stdout) == (0, False), done.stderr
    with closing(Database(url)) as database:
        assert began_s - 1 <= database.ask(jobs.last_successes)["backup"] <= time.time() + 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of deploy/, as it is checked out."""
    return Path(shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns(".env*", "secrets", "tls")))


def instructions() -> str:
    """The commands of the README, up to the first that needs Docker."""
    [block] = re.findall(
        r"```sh\n(cp .*?|umask .*?)# A key for Prometheus", (DEPLOY / "README.md").read_text(), re.DOTALL
    )
    return block


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "check.sh"], capture_output=True, text=True, check=False)


def modes(folder: Path, *names: str) -> list[str]:
    return [f"{(folder / name).stat().st_mode & 0o777:o}" for name in names]


def prepare(folder: Path) -> None:
    """What the README says, typed into a shell that lets others read what is written."""
    # Whoever writes the passwords uses an editor, which keeps the mode.
    environment = {**os.environ, "EDITOR": "true"}
    text = "umask 022\n" + instructions() + "printf imc_ > secrets/metrics-key\n"
    subprocess.run(["bash", "-e", "-c", text], cwd=folder, env=environment, check=True, capture_output=True)


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


@needs_openssl
def test_what_the_readme_has_people_write_is_theirs_alone_from_the_start(folder: Path) -> None:
    prepare(folder)
    assert modes(folder, ".env", "nginx/tls/key.pem", "secrets/metrics-key") == ["600", "600", "600"]
    # nginx' user is another one, and reads these two.
    assert modes(folder, "nginx/tls", "nginx/tls/certificate.pem") == ["755", "644"]
    done = check(folder)
    assert (done.returncode, done.stderr) == (0, "")


@needs_openssl
@pytest.mark.parametrize(
    "name", [".env", ".env.backup", "nginx/tls/key.pem", "nginx/tls/other.key", "secrets/metrics-key"]
)
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622])
def test_a_secret_that_others_can_read_is_refused(folder: Path, name: str, mode: int) -> None:
    prepare(folder)
    secret = folder / name
    secret.write_text("-----BEGIN PRIVATE KEY-----")
    secret.chmod(mode)
    done = check(folder)
    assert done.returncode == 1
    assert done.stderr == f"ERROR: others can read or change {name}: chmod 600 {name}\n"
    secret.chmod(0o400)
    assert check(folder).returncode == 0


def test_what_a_link_leads_to_counts(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("POSTGRES_PASSWORD=x")
    (tmp_path / "kept").chmod(0o644)
    (folder / ".env").symlink_to(tmp_path / "kept")
    assert check(folder).returncode == 1
    (tmp_path / "kept").chmod(0o600)
    assert check(folder).returncode == 0


def test_without_passwords_nothing_is_ready(folder: Path) -> None:
    done = check(folder)
    assert (done.returncode, "example.env" in done.stderr) == (1, True)


def test_the_check_stands_before_the_start() -> None:
    text = (DEPLOY / "README.md").read_text()
    assert text.index("./check.sh") < text.index("docker compose up -d\n")
