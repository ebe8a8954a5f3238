"""Small parts of the OpenAPI document that several modules build."""

from typing import Any

Json = dict[str, Any]


def reference(name: str) -> str:
    """Return the `$ref` of a schema, by its name."""
    return f"#/components/schemas/{name}"


def query_parameter(name: str, schema: Json, is_required: bool = False) -> Json:
    """Return the description of a query parameter.

    Args:
        name: the name of the parameter.
        schema: its JSON schema, as pydantic writes it. It is not changed.
        is_required: whether a request without it is refused.
    """
    parameter: Json = {"name": name, "in": "query", "required": is_required}
    if "description" in schema:
        parameter["description"] = schema["description"]
    parameter["schema"] = {
        key: value
        for key, value in without_null(schema).items()
        if key not in ("title", "description") and (key, value) != ("default", None)
    }
    return parameter


def without_null(schema: Json) -> Json:
    """Return the schema of what a query can hold: it can leave a parameter out, but has no null."""
    taken = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(taken) != 1:
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **taken[0]}
