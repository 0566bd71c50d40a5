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
    version: int = 1
    """1, and one more with each update."""
    updated_ms: int = 0
    """When its content was last updated; when it was stored, if never."""
    score: float | None = None
    """In an answer of `recall`: greater is nearer."""


@dataclass(frozen=True)
class Version:
    """What a memory said at one time."""

    version: int
    content: str
    since_ms: int
    """Since when, milliseconds since 1970-01-01T00:00Z."""


def store(content: str, kind: str = "fact", tags: Iterable[str] = ()) -> str:
    """Store a memory of at most 64 KiB and return its id. `kind` and `tags` are words like `[a-z][a-z0-9_-]*`."""
    id: str = host.call(host.interface("memory", "memory:write").store, str(content), kind, list(tags))
    return id


def recall(
    query: str = "",
    limit: int | None = None,
    kind: str | None = None,
    tags: Iterable[str] = (),
    *,
    source: str | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    half_life_days: float | None = None,
) -> list[Item]:
    """Memories that share words with the query or are near it by their embeddings, best first.

    An empty query gives the newest. At most `limit` (1 to 100; 10 when none), only those of `kind`, only those with all
    of `tags`, only those that `source` (a plugin, or `operator`) stored, only those stored or updated at `since_ms` or
    later and before `until_ms` (milliseconds since 1970-01-01T00:00Z). With `half_life_days`, an item counts half as much
    as a new one after so many days.
    """
    memory = host.interface("memory", "memory:read")
    options = memory.RecallOptions(limit, kind, list(tags), source, since_ms, until_ms, half_life_days)
    hits = host.call(memory.recall, query, options)
    return [_item(hit.item, hit.score) for hit in hits]


def get(id: str) -> Item:
    """One memory."""
    return _item(host.call(host.interface("memory", "memory:read").get, id))


def update(id: str, content: str, from_version: int | None = None) -> int:
    """Give a memory new content and return its version. The same content again changes nothing.

    `Conflict` when it is not at `from_version`, where that is given.
    """
    version: int = host.call(host.interface("memory", "memory:write").update, id, str(content), from_version)
    return version


def versions(id: str) -> list[Version]:
    """What a memory says and what it said: the current version first, then at most ten earlier ones."""
    found = host.call(host.interface("memory", "memory:read").versions, id)
    return [Version(v.version, v.content, v.since_ms) for v in found]


def forget(id: str) -> None:
    """Remove a memory for good, its versions too."""
    host.call(host.interface("memory", "memory:write").forget, id)


def tag(id: str, tag: str) -> None:
    """Add a tag to a memory."""
    host.call(host.interface("memory", "memory:write").tag, id, tag)


def _item(item: Any, score: float | None = None) -> Item:
    return Item(
        item.id,
        item.content,
        item.kind,
        list(item.tags),
        item.source,
        item.created_ms,
        item.version,
        item.updated_ms,
        score,
    )
