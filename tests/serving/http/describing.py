"""Reads the OpenAPI description: operations, models without references, and whether a response matches."""

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

Json = dict[str, Any]
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


def operations(description: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield f"{method.upper()} {path}", operation


def without_references(description: Json, schema: Any) -> Any:
    """The schema with all references resolved. There are no cycles."""
    if isinstance(schema, list):
        return [without_references(description, part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        return without_references(description, description["components"]["schemas"][name])
    return {key: without_references(description, part) for key, part in schema.items()}


def content(answer: Json) -> Json:
    """JSON content of a response or a body; empty if it has another type."""
    return answer["content"].get("application/json", {})


def find_faults(description: Json, schema: Json, value: Any) -> list[str]:
    """What is wrong with a value, including its formats and undescribed keys."""
    whole = {"components": {"schemas": copy.deepcopy(description["components"]["schemas"])}, **schema}
    for model in whole["components"]["schemas"].values():
        if "properties" in model:
            model["additionalProperties"] = False
    checked = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{list(error.instance_path)}: {error.message}" for error in checked.iter_errors(value)]
