"""Every setting of the project, read from the environment and `.env` in this one place."""

from functools import cache
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.policy import Limit

PREFIX = "CLASSIFIER_"


class SettingsError(ValueError):
    """A setting has a wrong value. The message is one line that names the setting."""


class Settings(BaseSettings):
    """The settings of the contract's table; each is `CLASSIFIER_` and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    model: Annotated[str, Field(min_length=1)] = "microsoft/resnet-18"
    model_revision: Annotated[str, Field(min_length=1)] = "main"
    offline_model: Literal["allow", "deny", "only"] = "allow"
    engine: Literal["auto", "openvino", "torch"] = "auto"
    precision: Literal["auto", "f32", "bf16", "int8"] = "auto"
    tune: Literal["auto", "off"] = "auto"
    threads: Annotated[int | None, Field(gt=0)] = None
    max_batch_size: Annotated[int | None, Field(gt=0, le=256)] = None
    runner: Literal["auto", "embedded", "service"] = "auto"
    database_url: str = "sqlite:///var/classifier.db"
    redis_url: str | None = None
    default_limit: str = "5/minute"
    auth_failure_limit: str = "60/minute"
    trusted_proxies: str = ""
    max_body_bytes: Annotated[int, Field(gt=0)] = 10 * 1024 * 1024
    max_image_pixels: Annotated[int, Field(gt=0)] = 50_000_000
    max_batch_images: Annotated[int, Field(gt=0)] = 32
    max_queue: Annotated[int | None, Field(gt=0)] = None
    drain_seconds: Annotated[float, Field(gt=0, le=25)] = 20
    log_format: Literal["text", "json"] = "text"
    prepared_model: str = ""
    # What the start measured, for its workers; nobody else sets it.
    tuned: str = ""

    @field_validator("default_limit", "auth_failure_limit")
    @classmethod
    def _limit_is_readable(cls, text: str) -> str:
        return str(Limit.parse(text))

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, url: str) -> str:
        if not url.startswith(("sqlite:///", "postgresql://")):
            raise ValueError("give a URL like sqlite:///var/classifier.db or postgresql://user@host/database")
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_is_known(cls, url: str | None) -> str | None:
        if url and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("give a URL like redis://host:6379/0")
        return url or None

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, text: str) -> str:
        for part in filter(None, text.replace(" ", "").split(",")):
            ip_network(part)
        return text


@cache
def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a value is wrong; the message names the setting, never quotes the value (it may be a secret).
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']}.") from None
