"""The tools that agents get over MCP. Each tool is a request to a route of the API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pydantic import TypeAdapter
from starlette.types import Scope

from api.openapi_parts import Json, without_null
from api.read_schemas import UsageQuery
from api.schemas import ClassifyJson, Options
from web import internal_requests
from web.internal_requests import Answer
from web.problem import Problem

Arguments = Mapping[str, Any]

LONGEST_QUERY = 4096
_AS_JSON = TypeAdapter(dict[str, Any])
_JSON_BODY = ((b"content-type", b"application/json"),)


@dataclass(frozen=True)
class Tool:
    """A tool.

    Args:
        name: the name, which an agent calls.
        description: tells the agent when to use the tool, and what it returns.
        properties: the JSON schemas of the arguments, by name.
        path: the path of the route that answers.
        method: `POST` sends the arguments as JSON, `GET` as a query.
        required: the names of the arguments that must be given.
        shown: changes the JSON that the route answers; by default the agent gets it as it is.
    """

    name: str
    description: str
    properties: Json
    path: str
    method: str = "GET"
    required: tuple[str, ...] = ()
    shown: Callable[[Json, Arguments], Json] = lambda answer, _arguments: answer

    @property
    def schema(self) -> Json:
        """The JSON schema of the arguments."""
        return {"type": "object", "properties": self.properties, "required": [*self.required]}

    async def call(self, scope: Scope, arguments: Arguments) -> Answer:
        """Send the request of a call, in the name of the caller whose scope this is. Other arguments are left out.

        Raises:
            Problem: 422, the arguments are no text in Unicode, or too long for a query.
        """
        given = {name: value for name, value in arguments.items() if name in self.properties and value is not None}
        try:
            # A tenth of the time that the standard library takes for a large image; the event loop waits meanwhile.
            body = _AS_JSON.dump_json(given)
        except ValueError:
            raise Problem(422, "The arguments hold characters that are not Unicode; leave them out.") from None
        if self.method == "GET":
            if len(body) > LONGEST_QUERY:
                raise Problem(422, f"The arguments are too long; send at most {LONGEST_QUERY} bytes.")
            query = urlencode(given).encode()
            return await internal_requests.ask(scope, self.method, self.path, query=query)
        return await internal_requests.ask(scope, self.method, self.path, headers=_JSON_BODY, body=body)


def _properties(schema: Json, *names: str) -> Json:
    """Return the properties of a schema that have these names, without titles and defaults.

    Some agents send each default that they see, and a model of fewer than 5 labels refuses a `top_k` of 5.
    """
    return {
        name: {
            key: value
            for key, value in without_null(schema["properties"][name]).items()
            if key not in ("title", "default")
        }
        for name in names
    }


def _without_labels(answer: Json, arguments: Arguments) -> Json:
    """Return the models without their labels, which would fill the context of an agent, unless it asks for them."""
    if arguments.get("labels") is True:
        return answer
    models = answer["models"]
    return {"models": [{name: value for name, value in model.items() if name != "labels"} for model in models]}


TOOLS = (
    Tool(
        "classify_image",
        "Say what an image shows: returns its most probable labels with their probabilities. Costs one hit of your "
        "limit. Takes JPEG, PNG, WebP, GIF, BMP and TIFF.",
        {
            **_properties(ClassifyJson.model_json_schema(), "image"),
            **_properties(Options.model_json_schema(), "top_k", "min_confidence"),
        },
        path="/v2/classify",
        method="POST",
        required=("image",),
    ),
    Tool(
        "usage",
        "Show your requests in buckets of time: how many, their status and their response times in ms.",
        _properties(UsageQuery.model_json_schema(), "from", "to", "bucket", "endpoint", "cursor"),
        path="/v2/usage",
    ),
    Tool("limits", "Show each of your limits, and what is left of it. Costs no hit.", {}, path="/v2/limits"),
    Tool(
        "models",
        "Show the model that classifies: its name, revision, input size and number of labels.",
        {"labels": {"type": "boolean", "default": False, "description": "Whether to list all labels too."}},
        path="/v2/models",
        shown=_without_labels,
    ),
)
