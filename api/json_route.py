"""A route that answers JSON: how Starlette serves it, and how the OpenAPI document describes it."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.openapi_parts import Json, query_parameter, reference
from web.problem import Problem

Query = TypeVar("Query", bound=BaseModel)
_SPACE_BEFORE_ZONE = re.compile(r"T[0-9:.]{2,20} [0-9]{2}(:?[0-9]{2})?$", re.IGNORECASE)
_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


@dataclass(frozen=True)
class JsonRoute:
    """A route that answers JSON, or with an empty 204.

    Args:
        path: the path, as the table of routes has it.
        endpoint: makes the answer. Its name and docstring describe the operation in the OpenAPI document.
        answer: the model of the answer; None if it is empty.
        query: the model of the query; None if the route takes none.
        method: the HTTP method.
        body: the model of a body that may be left out; None if the route takes none.
    """

    path: str
    endpoint: Callable[[Request], Awaitable[BaseModel | None]]
    answer: type[BaseModel] | None
    query: type[BaseModel] | None = None
    method: str = "GET"
    body: type[BaseModel] | None = None

    @property
    def name(self) -> str:
        """The name of the path in the table of routes."""
        return self.path.replace(":path}", "}")

    def starlette_route(self) -> Route:
        """Return the route for Starlette."""

        async def respond(request: Request) -> Response:
            answer = await self.endpoint(request)
            if answer is None:
                return Response(status_code=204)
            return Response(answer.model_dump_json(by_alias=True), media_type="application/json")

        route = Route(self.path, respond, methods=[self.method])
        # Starlette adds HEAD, which the table of routes does not declare.
        route.methods = {self.method}
        return route

    def operation(self) -> Json:
        """Return the operation for the OpenAPI document."""
        operation: Json = {
            "operationId": self.endpoint.__name__,
            "description": self.endpoint.__doc__,
            "responses": {"204": {"description": "Done"}},
        }
        if self.answer is not None:
            success = {"description": self.answer.__doc__, "content": _json_content(self.answer)}
            operation["responses"] = {"200": success}
        if self.body is not None:
            operation["requestBody"] = {"required": False, "content": _json_content(self.body)}
        parameters = self._path_parameters() + self._query_parameters()
        if parameters:
            operation["parameters"] = parameters
        return operation

    def _path_parameters(self) -> list[Json]:
        return [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(self.path)
        ]

    def _query_parameters(self) -> list[Json]:
        if self.query is None:
            return []
        return [query_parameter(name, schema) for name, schema in self.query.model_json_schema()["properties"].items()]


def _json_content(model: type[BaseModel]) -> Json:
    return {"application/json": {"schema": {"$ref": reference(model.__name__)}}}


def read_query(request: Request, model: type[Query]) -> Query:
    """Return the query of a request. If a name comes twice, the last value counts.

    Raises:
        Problem: 422, names the first field that is wrong.
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
    field = str(first["loc"][-1])
    detail = f"The field '{field}' is wrong: {first['msg']}."
    if _SPACE_BEFORE_ZONE.search(str(first["input"])):
        detail = f"The field '{field}' is wrong: a '+' in a query means a space; write the one before the zone as %2B."
    raise Problem(422, detail, field=field)
