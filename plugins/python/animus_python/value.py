"""The value of a program: as JSON for programs, as text for models."""

import json
import pprint

from animus.jsonable import NoForm, plain

from .failure import clean

LIMIT = 2 * 1024 * 1024
"""The largest value, in bytes of UTF-8."""


class TooLarge(ValueError):
    """The value is larger than `LIMIT`."""


def shown(value) -> tuple[str, str | None]:
    """Text and JSON of a value; the text is empty for None, the JSON none for what has no JSON form."""
    if value is None:
        return "", None
    try:
        form = plain(value)
        data = json.dumps(form, ensure_ascii=False, allow_nan=False)
    except (NoForm, RecursionError, ValueError):
        return _bounded(clean(_repr(value))), None
    _bounded(data)
    if isinstance(form, str) and not isinstance(value, (bytes, bytearray, memoryview)):
        text = form
    elif isinstance(form, str):
        text = _repr(value)
    else:
        text = data if len(data) <= 100 else json.dumps(form, ensure_ascii=False, indent=2)
    return _bounded(clean(text)), clean(data)


def _repr(value) -> str:
    try:
        return pprint.pformat(value, width=120) if isinstance(value, (dict, list, tuple, set)) else repr(value)
    except RecursionError:
        return f"<{type(value).__name__}, nested too deep to show>"


def _bounded(text: str) -> str:
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    if size > LIMIT:
        raise TooLarge(f"the value is too large: {size:,} bytes, and {LIMIT:,} are allowed; return a part or a summary")
    return text
