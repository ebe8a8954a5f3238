"""A route that answers JSON: how Starlette serves it, and how the OpenAPI document describes it."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.fields import HOW_TO_WRITE_MOMENT
from api.openapi_parts import Json, query_parameter, reference
from api.requests import OWN_ERROR
from web.problem import Problem
from web.routes import route_name

Query = TypeVar("Query", bound=BaseModel)
_SPACE_BEFORE_ZONE = re.compile(r"T[0-9:.]{2,20} [0-9]{2}(:?[0-9]{2})?$", re.IGNORECASE)
_IF_MATCH: Json = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the object as you know it: if it was changed since, nothing is changed (412).",
    "schema": {"type": "string"},
}
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
        body: the model of a body; None if the route takes none.
        needs_body: whether the body must not be left out.
        location: where the object that the route creates is, with the names of fields of the answer in braces. With it,
            the route answers 201 and the header `Location`; None if it creates nothing.
        has_etag: whether the answer has an `ETag`.
        takes_if_match: whether the route checks the header `If-Match`.
    """

    path: str
    endpoint: Callable[[Request], Awaitable[BaseModel | None]]
    answer: type[BaseModel] | None
    query: type[BaseModel] | None = None
    method: str = "GET"
    body: type[BaseModel] | None = None
    needs_body: bool = False
    location: str | None = None
    has_etag: bool = False
    takes_if_match: bool = False

    @property
    def name(self) -> str:
        """The name of the path in the table of routes."""
        return route_name(self.path)

    def starlette_route(self) -> Route:
        """Return the route for Starlette."""

        async def respond(request: Request) -> Response:
            answer = await self.endpoint(request)
            if answer is None:
                return Response(status_code=204)
            content = written(answer)
            headers = {"ETag": etag(answer)} if self.has_etag else {}
            if self.location is None:
                return Response(content, 200, headers, "application/json")
            headers["Location"] = self.location.format_map(answer.model_dump())
            return Response(content, 201, headers, "application/json")

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
            operation["responses"] = {"200" if self.location is None else "201": self._success(self.answer)}
        if self.body is not None:
            operation["requestBody"] = {"required": self.needs_body, "content": _json_content(self.body)}
        parameters = self._path_parameters() + self._query_parameters()
        if self.takes_if_match:
            parameters.append(_IF_MATCH)
        if parameters:
            operation["parameters"] = parameters
        return operation

    def _success(self, answer: type[BaseModel]) -> Json:
        described = {}
        if self.has_etag:
            described["ETag"] = {"description": "Changes with the object.", "schema": {"type": "string"}}
        if self.location is not None:
            described["Location"] = {"description": "The path of what was created.", "schema": {"type": "string"}}
        success: Json = {"description": answer.__doc__, "content": _json_content(answer)}
        return success | ({"headers": described} if described else {})

    def _path_parameters(self) -> list[Json]:
        return [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(self.path)
        ]

    def _query_parameters(self) -> list[Json]:
        if self.query is None:
            return []
        schema = self.query.model_json_schema()
        required = schema.get("required", ())
        return [query_parameter(name, one, name in required) for name, one in schema["properties"].items()]


def written(answer: BaseModel) -> str:
    """Return the JSON of an answer."""
    return answer.model_dump_json(by_alias=True)


def etag(answer: BaseModel) -> str:
    """Return the `ETag` of an answer: a hash of what it says."""
    return f'"{hashlib.sha256(written(answer).encode()).hexdigest()[:32]}"'


def check_if_match(request: Request, current: Callable[[], BaseModel]) -> None:
    """Check the header `If-Match`, if the request has one (RFC 9110, section 13.1.1).

    Args:
        request: the request.
        current: returns the object as a GET would answer it now.

    Raises:
        Problem: 412, the object was changed: the header does not name its current ETag.
    """
    named = request.headers.get("if-match")
    if named is None or named.strip() == "*":
        return
    if etag(current()) not in [one.strip() for one in named.split(",")]:
        raise Problem(412, "It was changed meanwhile; GET it again, and send the new ETag in If-Match.")


def _json_content(model: type[BaseModel]) -> Json:
    return {"application/json": {"schema": {"$ref": reference(model.__name__)}}}


def read_query(request: Request, model: type[Query]) -> Query:
    """Return the query of a request. If a name comes twice, the last value counts.

    Raises:
        Problem: 422, names the first field that is wrong.
    """
    for name, value in request.query_params.items():
        if "\0" in value and name in model.model_json_schema()["properties"]:
            raise Problem(422, f"The field '{name}' is wrong: it has a character that no text has.", field=name)
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
    field = str(first["loc"][-1])
    detail = f"The field '{field}' is wrong: {first['msg'].removeprefix(OWN_ERROR)}."
    if first["type"] == "missing":
        detail = f"The field '{field}' is missing; add it to the query."
    if first["type"].startswith("datetime"):
        detail = f"The field '{field}' is wrong: {HOW_TO_WRITE_MOMENT}."
    if _SPACE_BEFORE_ZONE.search(str(first["input"])):
        detail = f"The field '{field}' is wrong: a '+' in a query means a space; write the one before the zone as %2B."
    raise Problem(422, detail, field=field)
