"""The shapes of the contracts, as componentize-py makes them, for use without a component."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Gate = Enum("Gate", "MANIFEST GRANT CEILING PRINCIPAL POLICY", start=0)
Unlock = Enum("Unlock", "ASK_OPERATOR ASK_FOR_LESS NOTHING", start=0)
EntryType = Enum("EntryType", "PLAN FINDING DECISION STEP ERROR NOTE", start=0)
Role = Enum("Role", "USER ASSISTANT", start=0)


class Err(Exception):
    """The error of a host function."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


@dataclass
class Denial:
    capability: str
    gate: Any
    unlock: Any


@dataclass
class _Value:
    value: Any


class Error_Denied(_Value): ...


class Error_BudgetExhausted(_Value): ...


@dataclass
class Error_Cancelled: ...


class Error_Timeout(_Value): ...


class Error_Invalid(_Value): ...


class Error_NotFound(_Value): ...


class Error_Conflict(_Value): ...


class Error_Unavailable(_Value): ...


class Error_Internal(_Value): ...


@dataclass
class Annotations:
    read_only: bool
    idempotent: bool
    destructive: bool
    open_world: bool


@dataclass
class Definition:
    name: str
    description: str
    input_schema: str
    output_schema: str | None
    annotations: Annotations


@dataclass
class Image:
    media_type: str
    data: bytes


@dataclass
class ToolResult:
    text: str
    structured: str | None
    images: list[Image]
    is_error: bool


@dataclass
class Entry:
    seq: int
    entry_type: Any
    content: str
    created_ms: int


@dataclass
class Filter:
    entry_type: Any
    last_n: int | None


@dataclass
class Item:
    id: str
    content: str
    kind: str
    tags: list[str]
    source: str
    created_ms: int
    version: int
    updated_ms: int


@dataclass
class Version:
    version: int
    content: str
    since_ms: int


@dataclass
class Hit:
    item: Item
    score: float


@dataclass
class RecallOptions:
    limit: int | None
    kind: str | None
    tags: list[str]
    source: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    half_life_days: float | None = None


class Content_Text(_Value): ...


class Content_Image(_Value): ...


class Content_ToolUse(_Value): ...


class Content_ToolResult(_Value): ...


class Content_Opaque(_Value): ...


@dataclass
class Message:
    role: Any
    content: list[Any]


@dataclass
class Request:
    model: str
    system: str | None
    messages: list[Message]
    tools: list[Any]
    max_tokens: int | None
    temperature: float | None


@dataclass
class Usage:
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_microusd: int | None = None


@dataclass
class Embeddings:
    model: str
    vectors: list[list[float]]
    usage: Usage


@dataclass
class StopReason_EndTurn: ...


@dataclass
class StopReason_ToolUse: ...


@dataclass
class StopReason_MaxTokens: ...


class StopReason_Other(_Value): ...


@dataclass
class Response:
    message: Message
    stop: Any
    usage: Usage
    model: str


class ChildState(Enum):
    QUEUED = 0
    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELLED = 4


@dataclass
class NewChild:
    faculty: str
    description: str
    params: str
    priority: int | None
    max_tokens: int | None
    max_cost: int | None
    dedup_key: str | None


@dataclass
class Child:
    id: str
    faculty: str
    state: ChildState
    success: bool
    summary: str
    data: str | None = None
    error: str | None = None
    ledger: str = ""
    cut: bool = False
    tokens: int = 0
    cost_microusd: int = 0


@dataclass
class Module:
    name: str
    source: str


@dataclass
class Program:
    name: str
    source: str
    modules: list[Module] = field(default_factory=list)
    entry: str | None = None
    args: str = "{}"
    state: bytes | None = None


@dataclass
class Failure:
    kind: str
    message: str
    traceback: str
    cause: Any


@dataclass
class Outcome:
    text: str
    value: str | None
    stdout: str
    stderr: str
    failure: Failure | None
    state: bytes | None


@dataclass
class Problem:
    line: int
    message: str


@dataclass
class Description:
    tools: list[Definition]
    uses: list[str]
    problems: list[Problem]
