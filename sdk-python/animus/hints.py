"""From a tool's JSON Schemas to the signature and documentation of a Python function."""

from __future__ import annotations

import inspect
import keyword
from typing import Any, Literal, Union

from .jsonable import Record, loads

_PLAIN: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}


def parameters(definition: Any) -> list[str]:
    """The arguments in the order in which they are given by position: the required ones, then the others."""
    schema = _schema(definition)
    properties = schema.get("properties", {})
    required = [name for name in schema.get("required", []) if name in properties]
    return required + [name for name in properties if name not in required]


def signature(definition: Any) -> inspect.Signature:
    """The signature of a tool's function. An optional argument without a default in the schema has the default None."""
    schema = _schema(definition)
    required = schema.get("required", [])
    found, keyword_only = [], False
    for name in parameters(definition):
        if not name.isidentifier() or keyword.iskeyword(name):
            keyword_only = True
            continue
        prop = schema["properties"][name]
        prop = prop if isinstance(prop, dict) else {}
        default = inspect.Parameter.empty if name in required else prop.get("default")
        hint = of(prop)
        if default is None and hint is not Any and not _takes_none(prop):
            hint = Union[hint, None]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        found.append(inspect.Parameter(name, kind, default=default, annotation=hint))
    if keyword_only:
        # Arguments whose names Python cannot write are given as `**{"the-name": value}`.
        found.append(inspect.Parameter("others", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(found, return_annotation=returned(definition))


def types(definition: Any) -> dict[str, Any]:
    """The type hints of a tool's function."""
    found = signature(definition)
    hints = {p.name: p.annotation for p in found.parameters.values() if p.annotation is not inspect.Parameter.empty}
    return {**hints, "return": found.return_annotation}


def doc(definition: Any) -> str:
    """The documentation of a tool's function: what it does, and its arguments."""
    schema, lines = _schema(definition), []
    for name in parameters(definition):
        prop = schema["properties"][name]
        text = prop.get("description", "") if isinstance(prop, dict) else ""
        lines.append(f"    {name}: {' '.join(str(text).split())}".rstrip(": "))
    arguments = "\n\nArgs:\n" + "\n".join(lines) if lines else ""
    return f"{definition.description.strip()}{arguments}"


def returned(definition: Any) -> Any:
    """What a call returns."""
    if definition.output_schema is None:
        return str
    schema = _load(definition.output_schema)
    properties = schema.get("properties", {})
    return of(properties["result"]) if list(properties) == ["result"] else Record


def of(schema: Any, depth: int = 0) -> Any:
    """The type hint of a JSON Schema; `Any` for what hints cannot say."""
    if not isinstance(schema, dict) or depth > 10:
        return Any
    if (
        isinstance(values := schema.get("enum"), list)
        and values
        and all(isinstance(v, (str, int, type(None))) for v in values)
    ):
        return Literal[tuple(values)]
    if isinstance(options := schema.get("anyOf") or schema.get("oneOf"), list) and options:
        return Union[tuple(of(option, depth + 1) for option in options)]
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        return Union[tuple(of({**schema, "type": one}, depth + 1) for one in kind)]
    if kind == "array":
        return list[of(schema.get("items"), depth + 1)]  # type: ignore[misc]
    if kind == "object":
        return dict[str, of(schema.get("additionalProperties"), depth + 1)]  # type: ignore[misc]
    return _PLAIN.get(kind, Any) if isinstance(kind, str) else Any


def _takes_none(prop: dict[str, Any]) -> bool:
    kind, options = prop.get("type"), prop.get("anyOf") or prop.get("oneOf") or []
    return kind == "null" or isinstance(kind, list) and "null" in kind or {"type": "null"} in options


def _schema(definition: Any) -> dict[str, Any]:
    return _load(definition.input_schema)


def _load(text: str) -> dict[str, Any]:
    # Schemas come from plugins of strangers: what is not an object says nothing.
    try:
        schema = loads(text)
    except ValueError:
        return {}
    if not isinstance(schema, dict):
        return {}
    for key, kind in (("properties", dict), ("required", list)):
        if not isinstance(schema.get(key, kind()), kind):
            del schema[key]
    return schema
