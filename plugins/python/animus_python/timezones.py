"""The time zones of the package `tzdata`, kept in memory: there are no files at run time."""

import importlib.resources
import io
import zoneinfo
from zoneinfo import _common

_zones: dict[str, bytes] = {}


def preload() -> bool:
    """Read every zone and let `zoneinfo` find them. False where the package `tzdata` is absent."""
    try:
        root = importlib.resources.files("tzdata") / "zoneinfo"
        names = (importlib.resources.files("tzdata") / "zones").read_text().split()
    except (ImportError, OSError):
        return False
    for name in names:
        _zones[name] = root.joinpath(*name.split("/")).read_bytes()
    _common.load_tzdata = _load
    zoneinfo.available_timezones = available
    return True


def available() -> set[str]:
    """The names of all time zones."""
    return set(_zones)


def _load(key: str) -> io.BytesIO:
    try:
        return io.BytesIO(_zones[key])
    except (KeyError, TypeError):
        raise zoneinfo.ZoneInfoNotFoundError(f"no time zone found with key {key}") from None
