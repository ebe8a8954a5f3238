"""Where settings are read: the environment and the file `.env`, and names there that are no settings."""

import contextlib
import os
from pathlib import Path
from unittest import mock

import pytest

from configs.settings import Settings, SettingsError, load_settings

SECRET = "sesame"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CLASSIFIER_REDIS_URI", "CLASSIFIER_REDIS_URL"),
        ("CLASSIFIER_DATABASE_URI", "CLASSIFIER_DATABASE_URL"),
        ("CLASSIFIER_MAX_BODY_SIZE", "CLASSIFIER_MAX_BODY_BYTES"),
        ("CLASSIFIER_TRUSTED_PROXY", "CLASSIFIER_TRUSTED_PROXIES"),
        ("classifier_offline", "CLASSIFIER_OFFLINE_MODEL"),
        ("CLASSIFIER_PORT", "README"),
        ("CLASSIFIER_HF_TOKEN", "README"),
        ("CLASSIFIER_COLOUR_OF_THE_SKY", "README"),
    ],
)
def test_a_name_that_is_no_settings_is_told_with_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    value = f"redis://:{SECRET}@host/0"
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / ".env").write_text(f"{name}={value}\n")
    for told in (default_limit_in(tmp_path, **{name: value}), default_limit_in(tmp_path / "file")):
        [line] = told.splitlines()
        assert line.startswith(f"{name}: there is no such setting; ")
        assert meant in line
        assert SECRET not in line


def test_what_kubernetes_sets_beside_a_service_of_that_name_is_no_setting(tmp_path: Path) -> None:
    set_by_it = {
        "CLASSIFIER_SERVICE_HOST": "10.0.0.1",
        "CLASSIFIER_SERVICE_PORT": "3000",
        "CLASSIFIER_SERVICE_PORT_HTTP": "3000",
        "CLASSIFIER_PORT": "tcp://10.0.0.1:3000",
        "CLASSIFIER_PORT_3000_TCP": "tcp://10.0.0.1:3000",
        "CLASSIFIER_PORT_3000_TCP_ADDR": "10.0.0.1",
        "CLASSIFIER_API_SERVICE_HOST": "10.0.0.1",
        "CLASSIFIER_API_PORT": "tcp://10.0.0.1:3000",
    }
    assert default_limit_in(tmp_path, **set_by_it) == "5/minute"


def without_settings() -> dict[str, str]:
    """The environment of this process, without settings of the developer."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CLASSIFIER_", "HF_"))}


def default_limit_in(folder: Path, **settings: str) -> str:
    """The default limit as a program in that folder reads it, or what is wrong."""
    environment = {**without_settings(), **settings}
    with contextlib.chdir(folder), mock.patch.dict(os.environ, environment, clear=True):
        try:
            return load_settings().default_limit
        except SettingsError as error:
            return str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"CLASSIFIER_DEFAULT_LIMIT=7/minute\n", "7/minute", id="plain"),
        pytest.param("\ufeffCLASSIFIER_DEFAULT_LIMIT=7/minute\n".encode(), "7/minute", id="byte order mark"),
        pytest.param(b"A=1\r\nCLASSIFIER_DEFAULT_LIMIT='7/minute'\r\n", "7/minute", id="CRLF and quotes"),
        pytest.param(b"export CLASSIFIER_DEFAULT_LIMIT=7/minute\n", "7/minute", id="export"),
        pytest.param(b"CLASSIFIER_DEFAULT_LIMIT=3/day\nCLASSIFIER_DEFAULT_LIMIT=7/minute\n", "7/minute", id="twice"),
        pytest.param("CLASSIFIER_DEFAULT_LIMIT=7/minute\n".encode("utf-16"), "UTF-8", id="UTF-16"),
        pytest.param("# für später\nCLASSIFIER_DEFAULT_LIMIT=7/minute\n".encode("latin-1"), "UTF-8", id="Latin-1"),
    ],
)
def test_a_file_of_settings_is_read_or_told_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    [line] = default_limit_in(tmp_path).splitlines()
    assert said in line


@pytest.mark.parametrize(
    "line",
    [
        "CLASSIFIER_DEFAULT_LIMIT: 7/minute",
        "CLASSIFIER_DEFAULT_LIMIT='7/minute",
        'CLASSIFIER_DEFAULT_LIMIT="sesame',
        "CLASSIFIER_DEFAULT_LIMIT='7'/minute",
        "set CLASSIFIER_DEFAULT_LIMIT=7/minute",
        "classifier_default_limit 7/minute",
        "CLASSIFIER_DEFAULT_LIMIT",
        "export CLASSIFIER_DEFAULT_LIMIT",
    ],
)
def test_a_line_that_sets_nothing_is_told_with_its_number(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str
) -> None:
    (tmp_path / ".env").write_text(f"# Settings\n\nexport A=1\n{line}\nB=2\n")
    [said] = default_limit_in(tmp_path).splitlines()
    assert "CLASSIFIER_DEFAULT_LIMIT" in said.upper()
    assert "line 4" in said
    assert SECRET not in said
    assert capfd.readouterr() == ("", "")


def test_a_name_alone_stands_for_the_environments_value(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CLASSIFIER_DEFAULT_LIMIT\n# CLASSIFIER_MAX_QUEUE\n")
    assert default_limit_in(tmp_path, CLASSIFIER_DEFAULT_LIMIT="7/minute") == "7/minute"


def test_a_line_of_another_program_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("set -a\nCLASSIFIER_DEFAULT_LIMIT=7/minute\n")
    assert default_limit_in(tmp_path) == "7/minute"


def test_a_folder_of_that_name_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert default_limit_in(tmp_path) == "5/minute"


def test_the_hubs_token_is_read_from_the_file_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN=hf_its_token\n")
    with contextlib.chdir(tmp_path), mock.patch.dict(os.environ, without_settings(), clear=True):
        settings = load_settings()
    assert settings.hf_token is not None
    own, shown = settings.hf_token.get_secret_value(), repr(settings)
    assert own == "hf_its_token"
    assert own not in shown


@pytest.mark.parametrize(("written", "read"), [(" hf_of_a_file\r\n", "hf_of_a_file"), ("\n", None)])
def test_the_hubs_token_may_end_with_a_newline_as_its_own_client_takes_it(written: str, read: str | None) -> None:
    with mock.patch.dict(os.environ, {**without_settings(), "HF_TOKEN": written}, clear=True):
        token = Settings(_env_file=None).hf_token
    assert (token and token.get_secret_value()) == read
