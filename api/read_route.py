"""A route that only reads: how Starlette serves it, and what the OpenAPI document says of it."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from web.problem import Problem

Json = dict[str, Any]
Query = TypeVar("Query", bound=BaseModel)
_ZONE_BEHIND_A_SPACE = re.compile(r"T[0-9:.]{2,20} [0-9]{2}(:?[0-9]{2})?$", re.IGNORECASE)
_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


@dataclass(frozen=True)
class ReadRoute:
    """A GET route that answers JSON.

    Args:
        path: its path, as the table of routes has it.
        endpoint: makes the answer; its name and docstring are the operation's in the OpenAPI document.
        answer: the shape of the answer.
        query: the shape of the query, where the route takes one.
    """

    path: str
    endpoint: Callable[[Request], Awaitable[BaseModel]]
    answer: type[BaseModel]
    query: type[BaseModel] | None = None

    def served(self) -> Route:
        """The route, for Starlette."""

        async def respond(request: Request) -> Response:
            answer = await self.endpoint(request)
            return Response(answer.model_dump_json(by_alias=True), media_type="application/json")

        route = Route(self.path, respond)
        # Starlette adds HEAD, which the table of routes does not declare.
        route.methods = {"GET"}
        return route

    def operation(self, reference: Callable[[str], str]) -> Json:
        """The operation, for the OpenAPI document.

        Args:
            reference: gives the `$ref` of a shape by its name.
        """
        shape = {"schema": {"$ref": reference(self.answer.__name__)}}
        parameters = self._in_path() + self._in_query()
        return {
            "operationId": self.endpoint.__name__,
            "description": self.endpoint.__doc__,
            **({"parameters": parameters} if parameters else {}),
            "responses": {"200": {"description": self.answer.__doc__, "content": {"application/json": shape}}},
        }

    def _in_path(self) -> list[Json]:
        return [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(self.path)
        ]

    def _in_query(self) -> list[Json]:
        if self.query is None:
            return []
        parameters = []
        for name, schema in self.query.model_json_schema()["properties"].items():
            said = {key: schema.pop(key) for key in ("description",) if key in schema}
            schema.pop("title", None)
            parameters.append({"name": name, "in": "query", "required": False, **said, "schema": schema})
        return parameters


def parsed(request: Request, shape: type[Query]) -> Query:
    """The query of a request, in that shape; of a name that comes twice, the last counts.

    Raises:
        Problem: 422, with the first field that is wrong.
    """
    try:
        return shape.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
    field = str(first["loc"][-1])
    detail = f"The field '{field}' is wrong: {first['msg']}."
    if _ZONE_BEHIND_A_SPACE.search(str(first["input"])):
        detail = f"The field '{field}' is wrong: a '+' in a query means a space; write the one before the zone as %2B."
    raise Problem(422, detail, field=field)
