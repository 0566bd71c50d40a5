"""Children: work given to other faculties, done beside this one. A child holds nothing that its parent does not hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from . import host, jsonable
from .errors import Invalid

State = Literal["queued", "running", "completed", "failed", "cancelled"]
"""Where a child stands. A queued one may be one that is tried again."""


@dataclass(frozen=True)
class Child:
    """Where a child stands, or how it ended."""

    id: str
    faculty: str
    state: State
    success: bool
    """Whether its faculty says that the work is done."""
    summary: str
    """What it says for people; empty before the end."""
    data: Any
    """What it says for programs; None where it says nothing."""
    error: str | None
    """Why it failed."""
    ledger: str
    """Its ledger as text."""
    cut: bool
    """Summary, data or ledger are too long to be whole here: texts are cut, data is left out."""
    tokens: int
    """Tokens that models counted for it so far."""
    cost_microusd: int
    """What it cost so far, in millionths of a US dollar."""


def spawn(
    faculty: str,
    description: str,
    params: Mapping[str, Any] | None = None,
    *,
    priority: int | None = None,
    max_tokens: int | None = None,
    max_cost: int | None = None,
    dedup_key: str | None = None,
) -> str:
    """Give work to a faculty and return the child's id at once. The child knows only what `description` says.

    `max_tokens` and `max_cost` (millionths of a US dollar) are set aside from this work's budget; an equal share of
    what is left where none. While a child with an equal `dedup_key` is queued or running, that one is meant.
    """
    module = host.interface("spawn_child", f"spawn-child:{faculty}")
    given = jsonable.dumps(dict(params or {}))
    new = module.NewChild(faculty, str(description), given, priority, max_tokens, max_cost, dedup_key)
    id: str = host.call(module.spawn, new)
    return id


def await_(ids: str | Iterable[str], timeout: float = 300.0) -> list[Child]:
    """Wait until all of these have ended and return them in this order; each may have failed: see `success`.

    Raises `errors.Timeout` after `timeout` seconds; nothing is lost, they may be awaited again.
    """
    if timeout < 0:
        raise Invalid("a timeout is 0 seconds or more")
    module = host.interface("spawn_child", "spawn-child")
    return [_child(child) for child in host.call(module.await_, _ids(ids), int(timeout * 1000))]


def check(ids: str | Iterable[str]) -> list[Child]:
    """Where these stand now, in this order."""
    module = host.interface("spawn_child", "spawn-child")
    return [_child(child) for child in host.call(module.check, _ids(ids))]


def cancel(id: str) -> None:
    """Ask for the end of a child and of its own children. One that has ended stays as it is."""
    host.call(host.interface("spawn_child", "spawn-child").cancel, id)


def _ids(ids: str | Iterable[str]) -> list[str]:
    return [ids] if isinstance(ids, str) else list(ids)


def _child(child: Any) -> Child:
    data = None if child.data is None else jsonable.loads(child.data)
    return Child(
        child.id,
        child.faculty,
        child.state.name.lower(),
        child.success,
        child.summary,
        data,
        child.error,
        child.ledger,
        child.cut,
        child.tokens,
        child.cost_microusd,
    )
