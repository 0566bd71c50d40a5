"""From a function's type hints and docstring to JSON Schemas, and from JSON arguments to what the function takes."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

from .errors import Invalid

Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
    dict: {"type": "object"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    set: {"type": "array", "uniqueItems": True},
    frozenset: {"type": "array", "uniqueItems": True},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    decimal.Decimal: {"type": "string", "format": "decimal"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    pathlib.Path: {"type": "string"},
    pathlib.PurePath: {"type": "string"},
    bytes: {"type": "string", "contentEncoding": "base64"},
}
_ARRAYS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_SETS = (set, frozenset)
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Unsuitable(Exception):
    """The function cannot be a tool; the text says why."""


def of(hint: Any, _within: tuple[Any, ...] = ()) -> Schema:
    """The JSON Schema of a type hint. `Unsuitable` for a type without a JSON form."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        text = next((a for a in args[1:] if isinstance(a, str)), None)
        return {**of(args[0], _within), **({"description": text} if text else {})}
    if origin in (typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", None)) and origin is not None:
        return of(args[0], _within)
    try:
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
    except TypeError:
        pass
    if origin is Literal:
        return _enum(list(args))
    if origin in (Union, types.UnionType):
        return _union([of(a, _within) for a in args])
    if origin in _ARRAYS:
        return {"type": "array", "items": of(args[0], _within), **({"uniqueItems": True} if origin in _SETS else {})}
    if origin is tuple:
        if len(args) == 2 and args[1] is ...:
            return {"type": "array", "items": of(args[0], _within)}
        return {
            "type": "array",
            "prefixItems": [of(a, _within) for a in args],
            "minItems": len(args),
            "maxItems": len(args),
        }
    if origin in _OBJECTS:
        if args[0] is not str:
            raise Unsuitable("a JSON object has keys of text: write dict[str, …]")
        return {"type": "object", "additionalProperties": of(args[1], _within)}
    if hint in _within:
        raise Unsuitable(f"{_name(hint)} contains itself")
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _described(hint, _enum([member.value for member in hint]))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = _hints(hint)
        required = [f.name for f in dataclasses.fields(hint) if f.init and _default(f) is inspect.Parameter.empty]
        docs = docstring(hint.__doc__ or "")[1]
        properties = {}
        for field in dataclasses.fields(hint):
            if field.init:
                properties[field.name] = _property(
                    hints[field.name], docs.get(field.name), _default(field), (*_within, hint)
                )
        return _described(hint, _object(properties, required))
    if typing.is_typeddict(hint):
        hints, docs = _hints(hint), docstring(hint.__doc__ or "")[1]
        empty = inspect.Parameter.empty
        properties = {k: _property(t, docs.get(k), empty, (*_within, hint)) for k, t in hints.items()}
        return _described(hint, _object(properties, [k for k in hints if k in hint.__required_keys__]))
    raise Unsuitable(f"{_name(hint)} has no JSON Schema")


def of_parameters(function: Callable[..., Any]) -> Schema:
    """The JSON Schema of a function's arguments. `Unsuitable` where one has no hint, or one without a JSON form."""
    hints, docs = _hints(function), docstring(inspect.getdoc(function) or "")[1]
    properties, required = {}, []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Unsuitable(f"the parameter '*{name}' has no schema; name each argument")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise Unsuitable(f"the parameter '{name}' is by position only; arguments are given by name")
        if name not in hints:
            raise Unsuitable(f"the parameter '{name}' has no type hint")
        try:
            properties[name] = _property(hints[name], docs.get(name), parameter.default, ())
        except Unsuitable as error:
            raise Unsuitable(f"the parameter '{name}': {error}") from None
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
    return _object(properties, required)


def of_return(function: Callable[..., Any]) -> tuple[Schema | None, bool]:
    """The JSON Schema of what a function returns, and whether the value is the field `result` of an object.

    Data of tools are objects: a type that is none is wrapped. None where it returns text, nothing, or does not say.
    """
    hint = _hints(function).get("return", str)
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    if bare in (str, None, type(None), Any, object) or getattr(bare, "__module__", "") == "animus.plugin":
        return None, False
    try:
        schema = of(hint)
    except Unsuitable as error:
        raise Unsuitable(f"what it returns: {error}") from None
    if schema.get("type") == "object":
        return schema, False
    return {
        "type": "object",
        "properties": {"result": schema},
        "required": ["result"],
        "additionalProperties": False,
    }, True


def arguments(function: Callable[..., Any], args: Any, what: str = "") -> dict[str, Any]:
    """The keyword arguments of `function` from a JSON object, decoded by its hints. `Invalid` names the argument."""
    known = inspect.signature(function).parameters
    what = f"arguments of '{what or getattr(function, '__name__', 'it')}'"
    takes = ", ".join(n if p.default is p.empty else f"{n}?" for n, p in known.items() if p.kind is not p.VAR_KEYWORD)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    if not isinstance(args, dict):
        raise Invalid(f"{what}: must be a JSON object; it takes {{{takes}}}")
    try:
        hints = _hints(function)
    except Unsuitable:
        hints = {}
    for name in args:
        if (name not in known or known[name].kind is inspect.Parameter.VAR_KEYWORD) and not open_ended:
            raise Invalid(f"{what}: unknown '{name}'; it takes {{{takes}}}")
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    for name, parameter in known.items():
        if name not in args and parameter.default is parameter.empty and parameter.kind not in kinds:
            raise Invalid(f"{what}: missing '{name}'; it takes {{{takes}}}")
    try:
        return {name: decode(hints.get(name, Any), value, name) for name, value in args.items()}
    except Invalid as error:
        raise Invalid(f"{what}: {error}; it takes {{{takes}}}") from None


def decode(hint: Any, value: Any, where: str) -> Any:
    """`value`, which came from JSON, as what `hint` says. `Invalid` names the place by `where`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return decode(args[0], value, where)
    if hint in (Any, object, inspect.Parameter.empty):
        return value
    if hint in (None, type(None)):
        return _expect(value is None, value, "null", where)
    if hint is bool:
        return _expect(isinstance(value, bool), value, "true or false", where)
    if hint is int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return _expect(isinstance(value, int) and not isinstance(value, bool), value, "an integer", where)
    if hint is float:
        return float(_expect(isinstance(value, (int, float)) and not isinstance(value, bool), value, "a number", where))
    if hint is str:
        return _expect(isinstance(value, str), value, "a string", where)
    if origin is Literal:
        return _one_of(value, list(args), where)
    if origin in (Union, types.UnionType):
        return _decode_union(args, value, where)
    if hint in (list, tuple, set, frozenset) or origin in _ARRAYS or origin is tuple:
        return _decode_array(hint, origin, args, value, where)
    if hint is dict or origin in _OBJECTS:
        _expect(isinstance(value, dict), value, "an object", where)
        return {k: decode(args[1], v, f"{where}.{k}") for k, v in value.items()} if args else value
    if isinstance(hint, type):
        return _decode_class(hint, value, where)
    if typing.is_typeddict(hint):
        return _decode_class(hint, value, where)
    return value


def docstring(text: str) -> tuple[str, dict[str, str]]:
    """A docstring's own text, and what it says of each parameter: in Google's, NumPy's or reST's style."""
    lines, kept = inspect.cleandoc(text).splitlines(), []
    docs: dict[str, str] = {}
    i = 0
    while i < len(lines):
        line = lines[i]
        underlined = i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1].strip()) is not None
        if re.fullmatch(r"(Args|Arguments|Parameters|Params|Attributes):", line.strip()):
            i = _google(lines, i + 1, docs)
        elif underlined and line.strip() in ("Parameters", "Other Parameters", "Attributes"):
            i = _numpy(lines, i + 2, docs)
        elif match := re.match(r":(?:param|parameter|arg)(?:\s+[^:]*?)?\s+(\w+):\s*(.*)", line.strip()):
            i = _continued(lines, i + 1, docs, match[1], match[2])
        elif re.match(r":(type|rtype|return|returns|raises)\b.*:", line.strip()):
            i += 1
        else:
            kept.append(line)
            i += 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), {k: " ".join(v.split()) for k, v in docs.items()}


def _google(lines: list[str], i: int, docs: dict[str, str]) -> int:
    base, name = None, None
    while i < len(lines):
        line, indent = lines[i].strip(), len(lines[i]) - len(lines[i].lstrip())
        if line and indent == 0:
            break
        base = indent if line and base is None else base
        match = re.match(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)", line)
        if match and indent == base:
            name = match[1]
            docs[name] = match[2]
        elif line and name:
            docs[name] += " " + line
        i += 1
    return i


def _numpy(lines: list[str], i: int, docs: dict[str, str]) -> int:
    name = None
    while i < len(lines):
        line, indent = lines[i].strip(), len(lines[i]) - len(lines[i].lstrip())
        if i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1].strip()):
            break
        match = re.match(r"(\w+)\s*(?::.*)?$", line)
        if match and indent == 0:
            name = match[1]
            docs[name] = ""
        elif line and indent == 0:
            break
        elif line and name:
            docs[name] += " " + line
        i += 1
    return i


def _continued(lines: list[str], i: int, docs: dict[str, str], name: str, text: str) -> int:
    docs[name] = text
    while i < len(lines) and lines[i].startswith((" ", "\t")):
        docs[name] += " " + lines[i].strip()
        i += 1
    return i


def _object(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _property(hint: Any, doc: str | None, default: Any, within: tuple[Any, ...]) -> Schema:
    schema = of(hint, within)
    if doc and not (typing.get_origin(hint) is typing.Annotated and "description" in schema):
        schema["description"] = doc
    if isinstance(default, enum.Enum):
        default = default.value
    if default is not None and isinstance(default, (str, int, float, bool)):
        schema["default"] = default
    return schema


def _enum(values: list[Any]) -> Schema:
    kinds = {type(v) for v in values}
    names = {str: "string", int: "integer", bool: "boolean", type(None): "null", float: "number"}
    if not kinds <= names.keys():
        raise Unsuitable("a choice has values that are not text, numbers, true, false or None")
    return {"type": names[kinds.pop()], "enum": values} if len(kinds) == 1 else {"enum": values}


def _union(options: list[Schema]) -> Schema:
    if {} in options:
        return {}
    if all(list(o) == ["type"] and isinstance(o["type"], str) for o in options):
        return {"type": list(dict.fromkeys(o["type"] for o in options))}
    return {"anyOf": options}


def _described(hint: Any, schema: Schema) -> Schema:
    doc = hint.__dict__.get("__doc__") or ""
    # A dataclass without a docstring gets its signature as one, an old Enum a phrase.
    generated = doc.startswith(f"{hint.__name__}(") or doc in ("An enumeration.", enum.Enum.__doc__)
    text = "" if generated else docstring(doc)[0]
    return {**schema, "description": text} if text else schema


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return inspect.Parameter.empty if field.default_factory is dataclasses.MISSING else None


def _hints(thing: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except Exception as error:
        raise Unsuitable(f"its type hints cannot be read: {error}") from None


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)


def _expect(fits: bool, value: Any, what: str, where: str) -> Any:
    if fits:
        return value
    raise Invalid(f"'{where}' must be {what}, not {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _one_of(value: Any, options: list[Any], where: str) -> Any:
    for option in options:
        if option == value and type(option) is type(value):
            return option
    return _expect(False, value, "one of " + ", ".join(map(repr, options)), where)


def _decode_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    # A type that is the value's own comes first, or 1 would become True's or 1.0's.
    exact = [a for a in args if a is type(value) or value is None and a is type(None)]
    errors = []
    for option in [*exact, *args]:
        try:
            return decode(option, value, where)
        except Invalid as error:
            errors.append(str(error))
    if len(set(errors)) > 2 or any(not e.startswith(f"'{where}' must be") for e in errors):
        inner = [e for e in errors if not e.startswith(f"'{where}' must be")]
        raise Invalid(inner[0] if inner else f"'{where}' fits none of {', '.join(map(_name, args))}")
    alternatives = dict.fromkeys(e.removeprefix(f"'{where}' must be ").rpartition(", not ")[0] for e in errors)
    return _expect(False, value, " or ".join(alternatives), where)


def _decode_array(hint: Any, origin: Any, args: tuple[Any, ...], value: Any, where: str) -> Any:
    _expect(isinstance(value, list), value, "an array", where)
    kind = origin if origin in (tuple, set, frozenset) else hint if hint in (tuple, set, frozenset) else list
    if kind is tuple and args and not (len(args) == 2 and args[1] is ...):
        if len(value) != len(args):
            raise Invalid(f"'{where}' must be an array of {len(args)}, not of {len(value)}")
        return tuple(decode(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    item = args[0] if args else Any
    decoded = [decode(item, v, f"{where}[{i}]") for i, v in enumerate(value)]
    try:
        return kind(decoded)
    except TypeError:
        raise Invalid(f"'{where}' must be an array of values that a set can hold") from None


def _decode_class(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(_one_of(value, [member.value for member in hint], where))
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return _decode_fields(hint, value, where)
    text = (datetime.datetime, datetime.date, datetime.time)
    if hint in text:
        return _parse(hint.fromisoformat, value, "a date or time in ISO 8601", where)
    if hint in (decimal.Decimal, uuid.UUID) or isinstance(hint, type) and issubclass(hint, pathlib.PurePath):
        if hint is decimal.Decimal and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        return _parse(hint, value, f"the text of a {hint.__name__}", where)
    if hint is bytes:
        import base64

        return _parse(lambda text: base64.b64decode(text, validate=True), value, "base64 text", where)
    return value


def _parse(parse: Callable[[str], Any], value: Any, what: str, where: str) -> Any:
    try:
        return parse(_expect(isinstance(value, str), value, what, where))
    except (ValueError, ArithmeticError):
        return _expect(False, value, what, where)


def _decode_fields(hint: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, "an object", where)
    hints = _hints(hint)
    if typing.is_typeddict(hint):
        known, required = list(hints), hint.__required_keys__
    else:
        fields = [f for f in dataclasses.fields(hint) if f.init]
        known = [f.name for f in fields]
        required = {f.name for f in fields if _default(f) is inspect.Parameter.empty}
    for name in value:
        if name not in known:
            raise Invalid(f"'{where}' has an unknown '{name}'; it takes {{{', '.join(known)}}}")
    for name in known:
        if name in required and name not in value:
            raise Invalid(f"'{where}' lacks '{name}'")
    decoded = {k: decode(hints[k], v, f"{where}.{k}") for k, v in value.items()}
    try:
        return hint(**decoded)
    except (TypeError, ValueError) as error:
        raise Invalid(f"'{where}': {error}") from None
