"""What outlives a piece of work: text that the tenant's agents store and recall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import host


@dataclass(frozen=True)
class Item:
    """A stored memory."""

    id: str
    content: str
    kind: str
    """The author's own sorting word, such as `fact` or `preference`."""
    tags: list[str]
    source: str
    """Who stored it: a plugin's name, or `operator`."""
    created_ms: int
    """When, milliseconds since 1970-01-01T00:00Z."""
    score: float | None = None
    """In an answer of `recall`: greater is nearer."""


def store(content: str, kind: str = "fact", tags: Iterable[str] = ()) -> str:
    """Store a memory of at most 64 KiB and return its id. `kind` and `tags` are words like `[a-z][a-z0-9_-]*`."""
    id: str = host.call(host.interface("memory", "memory:write").store, str(content), kind, list(tags))
    return id


def recall(query: str = "", limit: int | None = None, kind: str | None = None, tags: Iterable[str] = ()) -> list[Item]:
    """Memories whose text matches the query's words, best first. An empty query gives the newest.

    At most `limit` (1 to 100; 10 when none), only those of `kind`, only those with all of `tags`.
    """
    memory = host.interface("memory", "memory:read")
    hits = host.call(memory.recall, query, memory.RecallOptions(limit, kind, list(tags)))
    return [_item(hit.item, hit.score) for hit in hits]


def get(id: str) -> Item:
    """One memory."""
    return _item(host.call(host.interface("memory", "memory:read").get, id))


def forget(id: str) -> None:
    """Remove a memory for good."""
    host.call(host.interface("memory", "memory:write").forget, id)


def tag(id: str, tag: str) -> None:
    """Add a tag to a memory."""
    host.call(host.interface("memory", "memory:write").tag, id, tag)


def _item(item: Any, score: float | None = None) -> Item:
    return Item(item.id, item.content, item.kind, list(item.tags), item.source, item.created_ms, score)
