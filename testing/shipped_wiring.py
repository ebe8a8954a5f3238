"""Takes the parts of the gateway that `service.build` gives to BentoML, so that tests run what ships."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from api import documents, openapi
from api.openapi import OpenApiDocument
from api.streams import StreamOptions
from configs.settings import PREFIX, Settings
from testing import colour_model


@dataclass(frozen=True)
class Wiring:
    """The parts that `service.build` gives to BentoML."""

    middlewares: list[tuple[Any, dict[str, Any]]]
    apis: dict[str, Any]
    document: OpenApiDocument
    document_routes: list[BaseRoute]
    stream_options: StreamOptions


@cache
def wiring(settings: Settings) -> Wiring:
    """Build the service with these settings, and read its parts."""
    with _no_settings_of_the_developer():
        from service import build  # noqa: TID251 - the wiring under test is the one that ships
    gateway = build(settings).gateway
    with mock.patch.object(openapi, "models_json_schema", _schemas):
        parts = gateway.assembled()
    routes = documents.routes(parts.document)
    return Wiring(gateway.middlewares, gateway.apis, parts.document, routes, parts.stream_options)


def _schemas(models: list[Any], ref_template: str) -> Any:
    return _schemas_of(tuple(models), ref_template)


@cache
def _schemas_of(models: tuple[Any, ...], ref_template: str) -> Any:
    """Read the schemas of the same models once: that would take most of the time of a wiring."""
    return models_json_schema(models, ref_template=ref_template)


def settings_of(**values: Any) -> Settings:
    """Return settings whose other fields have their defaults, whatever the developer's are."""
    return _read_settings(tuple(sorted(values.items())))


@cache
def _read_settings(values: tuple[tuple[str, Any], ...]) -> Settings:
    """Read settings once: that takes longer than all else that a gateway is made of."""
    own = {"model": colour_model.NAME, "engine": "openvino", "runner": "embedded", **dict(values)}
    with _no_settings_of_the_developer():
        return Settings(_env_file=None, **own)


@contextmanager
def _no_settings_of_the_developer() -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with mock.patch.dict(os.environ, kept, clear=True):
        yield
