"""Reads and checks every setting of the project; no other module reads them from the environment or `.env`."""

import io
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from configs import data_folder, origins, webhooks
from storage import urls
from storage.policy import Limit

PREFIX = "CLASSIFIER_"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Kubernetes sets such variables in every container of a namespace with a Service whose name starts with "classifier".
_KUBERNETES_NAME = re.compile(rf"{PREFIX}(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?)")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://.+")
# As BentoML takes them.
_MODEL_TAG = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[a-z0-9]([a-z0-9._-]*[a-z0-9])?)?")
_SETTING = re.compile(rf"\b({PREFIX}\w+|HF_TOKEN)", re.ASCII | re.IGNORECASE)
_ONE_WORD = re.compile(r"[!-~]+")
_ENV_FILE, _ENV_FILE_ENCODING = ".env", "utf-8-sig"


class SettingsError(ValueError):
    """A setting has a wrong value. The message is one line that names the setting."""


class Settings(BaseSettings):
    """The settings; the README explains each. Its variable is `CLASSIFIER_` and the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=_ENV_FILE, env_file_encoding=_ENV_FILE_ENCODING, extra="ignore", frozen=True
    )

    model: Annotated[str, Field(min_length=1)] = "microsoft/resnet-18"
    model_revision: Annotated[str, Field(min_length=1)] = "main"
    offline_model: Literal["allow", "deny", "only"] = "allow"
    engine: Literal["auto", "openvino", "torch"] = "auto"
    precision: Literal["auto", "f32", "bf16", "int8"] = "auto"
    tune: Literal["auto", "off"] = "auto"
    threads: Annotated[int | None, Field(gt=0, le=1024)] = None
    max_batch_size: Annotated[int | None, Field(gt=0, le=256)] = None
    runner: Literal["auto", "embedded", "service"] = "auto"
    data_dir: Path | None = None
    database_url: str = "sqlite:///var/classifier.db"
    # The database that `python -m auth move` moves to: with a setting, no password is on its command line.
    move_to_url: str | None = None
    redis_url: str | None = None
    default_limit: str = "5/minute"
    auth_failure_limit: str = "60/minute"
    trusted_proxies: str = ""
    max_body_bytes: Annotated[int, Field(gt=0)] = 10 * 1024 * 1024
    max_image_pixels: Annotated[int, Field(gt=0)] = 50_000_000
    max_batch_images: Annotated[int, Field(gt=0)] = 32
    cors_origins: str = ""
    max_queue: Annotated[int | None, Field(gt=0)] = None
    drain_seconds: Annotated[float, Field(gt=0, le=25)] = 20
    log_format: Literal["text", "json"] = "text"
    stripe_key: SecretStr | None = None
    stripe_meter: Annotated[str, Field(min_length=1, max_length=100)] = "images"
    stripe_api: str = "https://api.stripe.com"
    # Stands before `webhook_url`: pydantic checks the fields in this order, and the check of the URL reads the secret.
    webhook_secret: SecretStr | None = None
    webhook_url: str | None = None
    prepared_model: str = ""
    # The choice that the main process measured at its start; only that process sets it, for its workers.
    tuned: str = ""
    # A variable of the Hugging Face hub's client; it is a field, so that it may also stand in `.env`.
    hf_token: Annotated[SecretStr | None, Field(validation_alias="HF_TOKEN")] = None

    @field_validator("*", mode="before")
    @classmethod
    def _ends_are_stripped(cls, value: Any) -> Any:
        # A file that the value was read from may have ended with a newline.
        return value.strip() if isinstance(value, str) else value

    @field_validator("model", "model_revision")
    @classmethod
    def _name_is_one_line(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("give it in one line, without control characters")
        return name

    @field_validator("default_limit", "auth_failure_limit")
    @classmethod
    def _limit_is_readable(cls, text: str) -> str:
        return str(Limit.parse(text))

    @field_validator("data_dir")
    @classmethod
    def _data_dir_is_absolute(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_absolute():
            raise ValueError("give an absolute path, such as /srv/classifier")
        return folder

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, url: str, info: ValidationInfo) -> str:
        return data_folder.absolute_database(urls.database(url), info.data.get("data_dir"))

    @field_validator("move_to_url")
    @classmethod
    def _new_database_is_known(cls, url: str | None) -> str | None:
        return urls.postgresql(url) if url else None

    @field_validator("redis_url")
    @classmethod
    def _redis_is_known(cls, url: str | None) -> str | None:
        return urls.redis(url)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, text: str) -> str:
        for part in filter(None, text.replace(" ", "").split(",")):
            try:
                ip_network(part)
            except ValueError:
                raise ValueError("name networks by their first address, such as 10.244.0.0/24,127.0.0.1/32") from None
        return text

    @field_validator("stripe_api")
    @classmethod
    def _stripe_is_reached_safely(cls, url: str) -> str:
        with suppress(ValueError):
            parts = urlsplit(url)
            is_safe = bool(parts.hostname) if parts.scheme == "https" else parts.hostname in _LOOPBACK
            if parts.scheme in ("https", "http") and is_safe and parts.port != 0 and _ONE_WORD.fullmatch(url):
                return url.rstrip("/")
        raise ValueError("give an address that begins with https://, or with http://127.0.0.1 for tests")

    @field_validator("stripe_key")
    @classmethod
    def _stripe_key_fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        text = "" if key is None else key.get_secret_value()
        if text and not _ONE_WORD.fullmatch(text):
            raise ValueError("give a key of Stripe in one line, like rk_live_...")
        return SecretStr(text) if text else None

    @field_validator("hf_token")
    @classmethod
    def _hf_token_is_one_line(cls, token: SecretStr | None) -> SecretStr | None:
        # The hub's client too removes line ends.
        text = "" if token is None else "".join(token.get_secret_value().splitlines())
        return SecretStr(text) if text else None

    @field_validator("webhook_secret")
    @classmethod
    def _webhook_secret_is_complete(cls, secret: SecretStr | None) -> SecretStr | None:
        return webhooks.secret(secret)

    @field_validator("webhook_url")
    @classmethod
    def _webhook_is_signed(cls, url: str | None, info: ValidationInfo) -> str | None:
        return webhooks.url(url, has_secret=info.data.get("webhook_secret") is not None)

    @field_validator("prepared_model")
    @classmethod
    def _prepared_model_is_a_tag(cls, tag: str) -> str:
        if tag and not _MODEL_TAG.fullmatch(tag):
            raise ValueError("give the tag of a prepared model, as `bentoml models list` shows it")
        return tag

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_named(cls, text: str) -> str:
        return ",".join(origins.parsed(written) for written in text.replace(",", " ").split())

    def data_folders(self) -> list[Path]:
        """Return the data folder, and after it the default one if another is set.

        Raises:
            ValueError: there is no such folder (see `configs.data_folder.default`).
        """
        return [*dict.fromkeys(filter(None, (self.data_dir, data_folder.default())))]


def load_settings() -> Settings:
    """Read the settings from the environment and `.env`.

    Raises:
        SettingsError: a value is wrong, or a variable is no setting. The message names the setting. It never quotes the
            value, which may be a secret.
    """
    try:
        _check_lines()
        _check_names({**dotenv_values(_ENV_FILE, encoding=_ENV_FILE_ENCODING), **os.environ})
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}.") from None
    except UnicodeDecodeError:
        raise SettingsError("The file .env is not in UTF-8; save it in that encoding.") from None
    except OSError as error:
        raise SettingsError(f"The file .env can't be read: {error.strerror}.") from None


def _check_lines() -> None:
    """Check that every line of `.env` about a setting sets it: dotenv passes others over, and leaves the default.

    Raises:
        SettingsError: a line is not written as dotenv reads it.
    """
    path = Path(_ENV_FILE)
    text = path.read_text(_ENV_FILE_ENCODING) if path.is_file() else ""
    for read in parse_stream(io.StringIO(text)):
        named = _SETTING.search(read.original.string)
        # A name alone, as in Docker's files of variables, is one that the environment has.
        is_alone = read.key is not None and read.value is None and read.key not in os.environ
        if named and (read.error or is_alone):
            line = read.original.line + read.original.string.count("\n", 0, named.start())
            raise SettingsError(f"{named[0]}: line {line} of .env does not set it; write NAME=value, and close quotes.")


def _check_names(variables: Mapping[str, str | None]) -> None:
    """Check that every variable `CLASSIFIER_...` is a setting: a misspelt one would silently leave the default.

    Raises:
        SettingsError: a variable is no setting.
    """
    # The field with an alias has another name than its own: HF_TOKEN.
    known = [name.upper() for name, field in Settings.model_fields.items() if field.validation_alias is None]
    for name, value in variables.items():
        written = name.upper().removeprefix(PREFIX)
        if not name.upper().startswith(PREFIX) or written in known or _is_set_by_kubernetes(name.upper(), value or ""):
            continue
        close = get_close_matches(written, known, n=1)
        hint = f"did you mean {PREFIX}{close[0]}?" if close else "the README lists all settings."
        raise SettingsError(f"{name}: there is no such setting; {hint}")


def _is_set_by_kubernetes(name: str, value: str) -> bool:
    """Tell whether the variable describes a Service, as Kubernetes does for Docker links."""
    return bool(_KUBERNETES_NAME.fullmatch(name) or (name.endswith("_PORT") and _KUBERNETES_PORT.match(value)))
