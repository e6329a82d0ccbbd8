"""The OpenAPI description, taken apart: its operations, its models without references, and answers held against it."""

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
    """The schema with what it refers to in place. There are no cycles."""
    if isinstance(schema, list):
        return [without_references(description, one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        return without_references(description, description["components"]["schemas"][name])
    return {key: without_references(description, one) for key, one in schema.items()}


def content(answer: Json) -> Json:
    """Of an answer or a body; nothing where it is no JSON."""
    return answer["content"].get("application/json", {})


def find_faults(description: Json, schema: Json, value: Any) -> list[str]:
    """What is wrong with a value, formats and keys that nobody described included."""
    whole = {"components": {"schemas": copy.deepcopy(description["components"]["schemas"])}, **schema}
    for one in whole["components"]["schemas"].values():
        if "properties" in one:
            one["additionalProperties"] = False
    checked = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{list(error.instance_path)}: {error.message}" for error in checked.iter_errors(value)]
