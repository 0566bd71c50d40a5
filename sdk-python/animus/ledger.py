"""The work ledger: what a piece of work planned, found, decided and did. Entries are never changed or removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from . import host
from .errors import Invalid

EntryType = Literal["plan", "finding", "decision", "step", "error", "note"]
"""What an entry is."""

_TYPES = ("plan", "finding", "decision", "step", "error", "note")


@dataclass(frozen=True)
class Entry:
    """One entry of the ledger."""

    seq: int
    """1, 2, 3 … within the work item."""
    entry_type: EntryType
    content: str
    created_ms: int
    """When it was written, milliseconds since 1970-01-01T00:00Z."""


def append(entry_type: EntryType, content: str) -> int:
    """Append an entry of at most 64 KiB and return its number."""
    ledger = host.interface("ledger", "ledger:append")
    seq: int = host.call(ledger.append, _type(ledger, entry_type), str(content))
    return seq


def read(entry_type: EntryType | None = None, last_n: int | None = None) -> list[Entry]:
    """Entries in the order of their numbers, at most 1,000. Only one type, only the last so many where you say so."""
    ledger = host.interface("ledger", "ledger:read")
    which = ledger.Filter(None if entry_type is None else _type(ledger, entry_type), last_n)
    return [Entry(e.seq, e.entry_type.name.lower(), e.content, e.created_ms) for e in host.call(ledger.read, which)]


def formatted() -> str:
    """The ledger as text: the newest plan, findings, steps, decisions, errors."""
    text: str = host.call(host.interface("ledger", "ledger:read").formatted)
    return text


def _type(ledger: Any, name: str) -> Any:
    if name not in _TYPES:
        raise Invalid(f"ledger entries have no type {name!r}; it is one of {', '.join(_TYPES)}")
    return ledger.EntryType[name.upper()]
