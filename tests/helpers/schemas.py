"""Checks JSON against docs/mqtt-schema.json: as much of JSON Schema as stands in it, and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "mqtt-schema.json").read_text(encoding="utf-8"))
TYPES = {"string": str, "boolean": bool, "object": dict, "null": type(None)}
KNOWN = {"$ref", "anyOf", "type", "enum", "pattern", "minimum", "maxLength", "properties", "required"}
KNOWN |= {"additionalProperties", "description", "default"}


def faults(value, name):
    """What is wrong with a value, by the name of its definition."""
    return list(_faults(value, {"$ref": f"#/$defs/{name}"}, name))


def _faults(value, rule, path):
    assert rule.keys() <= KNOWN, rule.keys() - KNOWN
    if "$ref" in rule:
        yield from _faults(value, SCHEMA["$defs"][rule["$ref"].removeprefix("#/$defs/")], path)
    if "anyOf" in rule and all(list(_faults(value, each, path)) for each in rule["anyOf"]):
        yield f"{path}: {value!r} is none of {len(rule['anyOf'])} alternatives"
    if "enum" in rule and not any(value == each and type(value) is type(each) for each in rule["enum"]):
        yield f"{path}: {value!r} is none of {rule['enum']}"
    if "type" in rule and not _is(value, rule["type"]):
        yield f"{path}: {value!r} is no {rule['type']}"
    elif "pattern" in rule and not re.search(rule["pattern"], value):
        yield f"{path}: {value!r} does not fit {rule['pattern']}"
    elif "minimum" in rule and value < rule["minimum"]:
        yield f"{path}: {value!r} is below {rule['minimum']}"
    elif "maxLength" in rule and len(value) > rule["maxLength"]:
        yield f"{path}: longer than {rule['maxLength']}"
    elif rule.get("type") == "object":
        yield from (f"{path}.{key}: missing" for key in rule.get("required", ()) if key not in value)
        for key, each in value.items():
            if key in rule["properties"]:
                yield from _faults(each, rule["properties"][key], f"{path}.{key}")
            elif not rule["additionalProperties"]:
                yield f"{path}.{key}: not permitted"


def _is(value, kind):
    if kind in ("number", "integer"):
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])
