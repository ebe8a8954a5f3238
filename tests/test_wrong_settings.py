"""Settings that are wrong: one line that names the setting, says what to write instead, and tells no secret."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from configs.settings import SettingsError, load_settings
from testing.servers import PROJECT, inherited

SECRET = "sesame"
WRONG = {
    "DATABASE_URL": [
        "",
        "x",
        f"oracle://{SECRET}@host",
        f"mysql://user:{SECRET}@host/it",
        f"postgresql+asyncpg://user:{SECRET}@host/it",
        f"postgresql://user:{SECRET}@one:5432,two:5432/it",
        f"postgresql://user:{SECRET}@host:port/it",
        f"postgresql://user:{SECRET}@host:99999/it",
        f"postgresql://user:{SECRET}@host:0/it",
        f"postgresql://user:{SECRET}@ho st/it",
        f"postgresql://user:{SECRET}@host/it?schema=app",
        f"postgresql://user:{SECRET}@host/it?currentSchema=app",
        f"postgresql://user:p@host/it?{SECRET} and more=1",
        "sqlite://it.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:it.db?uri=true",
        "sqlite:///it.db?mode=ro",
        "sqlite:/it.db",
        "sqlite:///~/it.db",
        "sqlite:///~me/it.db",
        "sqlite:///%7E/it.db",
        "sqlite:///$HOME/it.db",
        "sqlite:///${HOME}/it.db",
    ],
    "REDIS_URL": [
        "x",
        f"http://{SECRET}@host",
        f"redis+cluster://:{SECRET}@host",
        f"redis://:pass/{SECRET}@host:6379/0",
        f"redis://:pass#{SECRET}@host:6379/0",
        f"redis://:{SECRET}@one:6379,two:6379/0",
        f"redis://:{SECRET}@host:port/0",
        f"redis://:{SECRET}@host:99999/0",
        f"redis://:{SECRET}@host:0/0",
        f"redis://:{SECRET}@host/zero",
        f"redis://:{SECRET}@host/0?{SECRET}=1",
        f"redis://:{SECRET}@host/0?socket_timeout=soon",
        f"redis://:{SECRET}@host/0?protocol=9",
        f"redis://:{SECRET}@[::1/0",
        f"rediss://:{SECRET}@host/0?ssl_cert_reqs=perhaps",
        "redis://",
        "unix://",
    ],
    "OFFLINE_MODEL": ["", "maybe", SECRET],
    "MODEL": ["", " ", "microsoft/resnet\n-18", "microsoft/\x1b[31mresnet-18"],
    "MODEL_REVISION": ["", "ma\nin"],
    "ENGINE": ["onnx", ""],
    "PRECISION": ["f64", "F32"],
    "THREADS": ["0", "-1", "two", "1.5", "1025", "9" * 30],
    "PREPARED_MODEL": ["no such", "Model:1", "a:b:c", "a/b", ":1", "a:", f"{SECRET}/"],
    "MAX_BATCH_SIZE": ["0", "257", "many"],
    "RUNNER": ["here"],
    "DEFAULT_LIMIT": ["1٣/minute", "5/1٣s", "", "5", "5/fortnight", "0/minute", "-5/minute", "five/minute", SECRET],
    "AUTH_FAILURE_LIMIT": ["60", "60/eternity"],
    "TRUSTED_PROXIES": ["proxy", "10.0.0.1/8", "10.0.0.0/99", f"10.0.0.0/8,{SECRET}"],
    "MAX_BODY_BYTES": ["0", "-1", "10MB"],
    "MAX_IMAGE_PIXELS": ["0", "lots"],
    "MAX_BATCH_IMAGES": ["0", "1.5"],
    "MAX_QUEUE": ["0", "long"],
    "DRAIN_SECONDS": ["0", "26", "soon", "nan"],
    "LOG_FORMAT": ["xml"],
    "STRIPE_METER": [""],
    "STRIPE_API": [
        "",
        "api.stripe.com",
        "https://",
        f"http://{SECRET}",
        f"http://127.0.0.1@{SECRET}",
        f"ftp://{SECRET}",
        f"http://127.0.0.1:{SECRET}",
        f"https://{SECRET}.example:99999",
        f"https://[::1/{SECRET}",
        f"https://stripe.example/ {SECRET}",
    ],
    "STRIPE_KEY": [f"sk_live_{SECRET} x", f"sk_live_{SECRET}\nX: 1", f"sk_ü{SECRET}", f"sk_€{SECRET}"],
    # Without a secret.
    "WEBHOOK_URL": [f"https://shop.example/?token={SECRET}"],
    "WEBHOOK_SECRET": [SECRET, f"whsec_{SECRET}", "whsec_", f"whsec_{'A' * 28}", f"whsec_{'A' * 90}"],
}
WEBHOOK_SECRET = f"whsec_{'A' * 32}"
RIGHT = {
    "DATABASE_URL": [
        "sqlite:///var/classifier.db",
        "sqlite:////data/a b'c/ü.db",
        "sqlite:////data/~/$it.db",
        "postgres://user:p%2Fw@host/it",
        "postgresql://user:p%40w@[::1]:5432/it",
        "postgresql://user@/it?host=one:5432&host=two:5432",
        "postgresql://user:pw@host/it?sslmode=require&options=-csearch_path%3Dapp",
        "postgresql:///it",
    ],
    "REDIS_URL": [
        "",
        "redis://host",
        "rediss://user:p%2Fw@host:6380/3",
        "redis://[::1]:6379",
        "unix:///run/it.sock?db=2",
    ],
    "TRUSTED_PROXIES": ["", "10.0.0.0/8, ::1/128"],
    "THREADS": ["2", "1024"],
    "PREPARED_MODEL": ["", "microsoft--resnet-18:5fa0dbd3d6c9-20261128234751", "stand_in.1"],
    "STRIPE_KEY": ["", " ", "sk_test_1", "rk_live_1\n"],
    "STRIPE_API": ["https://api.stripe.com", "http://127.0.0.1:8000/", "http://[::1]:8000"],
    "WEBHOOK_URL": [""],
    "WEBHOOK_SECRET": ["", WEBHOOK_SECRET, f"{WEBHOOK_SECRET} whsec_{'B' * 86}=="],
}


def loaded(name: str, value: str) -> str | None:
    """What is said of a setting; None where it is taken."""
    with mock.patch.dict(os.environ, {f"CLASSIFIER_{name}": value}):
        try:
            load_settings()
        except SettingsError as error:
            return str(error)
    return None


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_told_in_one_line(name: str, value: str) -> None:
    said = loaded(name, value)
    assert said is not None, "it was taken"
    assert f"CLASSIFIER_{name}" in said
    assert "\n" not in said
    assert SECRET not in said
    assert "Value error" not in said
    assert "IPv6" not in said


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in RIGHT.items() for value in values])
def test_a_right_value_is_taken(name: str, value: str) -> None:
    assert loaded(name, value) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in RIGHT.items() for value in values]
    + [("MODEL", "/data/my model"), ("OFFLINE_MODEL", "deny"), ("DEFAULT_LIMIT", "5/second"), ("DATA_DIR", "/srv/it")],
)
def test_a_value_means_the_same_with_the_line_end_of_the_file_that_it_comes_from(name: str, value: str) -> None:
    with mock.patch.dict(os.environ, {f"CLASSIFIER_{name}": value}):
        without = load_settings()
    with mock.patch.dict(os.environ, {f"CLASSIFIER_{name}": f"{value}\n"}):
        assert load_settings() == without


@pytest.mark.parametrize(
    ("url", "is_right"),
    [
        ("https://shop.example/webhooks?token=sesame", True),
        ("https://user:sesame@10.0.0.1:8443", True),
        ("http://127.0.0.1:8000/hook", True),
        ("http://localhost/hook", True),
        ("http://[::1]:8000", True),
        ("http://shop.example/?token=sesame", False),
        ("http://10.0.0.1/?token=sesame", False),
        ("http://127.0.0.1.sesame.example/", False),
        ("ftp://sesame.example", False),
        ("https://", False),
        ("https://shop.example:sesame/", False),
        ("https://shop.example:99999/?sesame", False),
        ("https://shop.example/#sesame", False),
        ("https://shop.example/ sesame", False),
        ("https://[::1/sesame", False),
        ("sesame", False),
    ],
)
def test_webhooks_go_to_https_or_to_this_machine(monkeypatch: pytest.MonkeyPatch, url: str, is_right: bool) -> None:
    monkeypatch.setenv("CLASSIFIER_WEBHOOK_SECRET", WEBHOOK_SECRET)
    said = loaded("WEBHOOK_URL", url)
    if is_right:
        assert said is None
    else:
        assert said is not None
        assert said.startswith("CLASSIFIER_WEBHOOK_URL: give a URL like https://shop.example/webhooks")
        assert SECRET not in said


def run(*arguments: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **inherited(),
        "PYTHONPATH": str(PROJECT),
        "BENTOML_HOME": str(folder / "bentoml"),
        **settings,
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("program", [("-m", "auth", "list"), ("-m", "bentoml", "serve", "service:ImageClassifier")])
def test_every_program_says_so(tmp_path: Path, program: tuple[str, ...]) -> None:
    (tmp_path / "service.py").symlink_to(PROJECT / "service.py")
    done = run(*program, folder=tmp_path, CLASSIFIER_REDIS_URL=f"redis://:pass/{SECRET}@host:6379/0")
    [line] = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode == 1
    assert line.startswith("ERROR: CLASSIFIER_REDIS_URL: ")
    assert SECRET not in line
