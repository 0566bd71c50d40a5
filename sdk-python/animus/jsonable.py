"""Python values as JSON, and JSON objects as Python values."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import re
import uuid
from collections.abc import Mapping, Set
from typing import Any

DEPTH = 100
"""The deepest nesting of a value that has a JSON form."""


NESTING = 200
"""The deepest nesting of JSON text that is read."""


class NoForm(Exception):
    """The value has no JSON form; the text says which part of it."""


class Record(dict[str, Any]):
    """A JSON object: a dict whose keys are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self) or "nothing"
            raise AttributeError(f"the record has no {name!r}; it has {known}", name=name, obj=self) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key in self if key.isidentifier())]


def record(value: Any) -> Any:
    """`value`, which came from JSON, with every object in it a `Record`."""
    if isinstance(value, dict):
        return Record((key, record(item)) for key, item in value.items())
    return [record(item) for item in value] if isinstance(value, list) else value


def plain(value: Any, where: str = "the value", depth: int = 0) -> Any:
    """`value` from the types that JSON has.

    Dataclasses and mappings become objects, sequences and sets arrays, enums their values, dates ISO 8601, decimals
    numbers as text, paths and UUIDs text, bytes base64 text. `NoForm` for the rest, for NaN and infinities, for cycles,
    and for nesting deeper than 100.
    """
    if value is None or isinstance(value, (bool, str)) and not isinstance(value, enum.Enum):
        return value if value is None or isinstance(value, bool) else str(value)
    if depth > DEPTH:
        raise NoForm(f"{where} is nested more than {DEPTH} deep or contains itself")
    if isinstance(value, enum.Enum):
        return plain(value.value, where, depth + 1)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoForm(f"{where} is {value}, which JSON lacks")
        return float(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: plain(getattr(value, f.name), f"{where}.{f.name}", depth + 1) for f in fields}
    if isinstance(value, Mapping):
        return {_key(key, where): plain(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict(), where, depth + 1)
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, (Set, range)) or type(value).__name__ in ("dict_keys", "dict_values", "dict_items", "deque"):
        items = value
        if isinstance(value, Set) and not isinstance(value, type({}.keys())):
            # The order of a set of strings depends on the build's hash secret; a sorted one says the same every time.
            try:
                items = sorted(value)
            except TypeError:
                items = value
        return [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(items)]
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (decimal.Decimal, pathlib.PurePath, uuid.UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    raise NoForm(f"{where} is of type {type(value).__name__}, which has no JSON form")


def dumps(value: Any, where: str = "the value", indent: int | None = None) -> str:
    """`value` as JSON text. `NoForm` where it has none."""
    try:
        return json.dumps(plain(value, where), ensure_ascii=False, allow_nan=False, indent=indent)
    except (RecursionError, ValueError) as error:
        raise NoForm(f"{where} has no JSON form: {error}") from None


def loads(text: str) -> Any:
    """The value of a JSON text. ValueError for one that does not parse, or is nested more than 200 deep."""
    if too_deep(text):
        raise ValueError(f"it is nested more than {NESTING} deep")
    return json.loads(text)


def too_deep(text: str) -> bool:
    """Whether a JSON text is nested so deep that reading it may use up the stack, which ends the instance."""
    if text.count("[") + text.count("{") <= NESTING:
        return False
    depth = 0
    for c in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if c in "[{" else -1
        if depth > NESTING:
            return True
    return False


def _key(key: Any, where: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    if isinstance(key, bool) or key is None:
        return json.dumps(key)
    if isinstance(key, (int, float)):
        return str(key)
    if isinstance(key, (datetime.date, datetime.time)):
        return key.isoformat()
    if isinstance(key, (decimal.Decimal, pathlib.PurePath, uuid.UUID)):
        return str(key)
    raise NoForm(f"{where} has a key of type {type(key).__name__}; JSON has keys of text")
