"""Language models, by role. Keys, vendors and prices stay in the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import host
from .errors import Invalid


@dataclass(frozen=True)
class Response:
    """A model's answer. `str(response)` is its text."""

    text: str
    stop: str
    """Why it stopped: `end-turn`, `tool-use`, `max-tokens`, or the vendor's own word."""
    model: str
    """The model that answered, `<vendor>:<model>`."""
    input_tokens: int
    output_tokens: int
    cost_microusd: int | None
    """The price in millionths of a US dollar; none when the model has no price."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Embeddings:
    """Where texts point, as one model sees them."""

    model: str
    """The model that answered. Vectors of two models are not comparable."""
    vectors: list[list[float]]
    """One for each text, in their order, all of the same length."""
    input_tokens: int
    cost_microusd: int | None
    """The price in millionths of a US dollar; none when the model has no price."""


def complete(
    prompt: str | Sequence[Mapping[str, str]],
    model: str = "",
    system: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Response:
    """Ask a model, and return the whole answer.

    `prompt` is the question, or a conversation of `{"role": "user" | "assistant", "content": text}` whose last message
    is the user's. `model` is a role or alias of the host's configuration; empty means `default`. `max_tokens` bounds
    the answer (the grant's figure when none), `temperature` is 0 to 2.
    """
    llm = host.interface("llm", f"llm:{model or 'default'}")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    request = llm.Request(model, system, [_message(llm, m) for m in messages], [], max_tokens, temperature)
    answer = host.call(llm.complete, request)
    return Response(
        "".join(c.value for c in answer.message.content if type(c).__name__ == "Content_Text"),
        _stop(answer.stop),
        answer.model,
        answer.usage.input_tokens,
        answer.usage.output_tokens,
        answer.usage.cost_microusd,
    )


def embed(texts: Sequence[str]) -> Embeddings:
    """Where each of 1 to 256 texts points: texts that say alike things point alike ways.

    No text is blank or longer than 64 KiB. The models of the role `embed` answer; `lexical:384`, the host's own, tells
    of words and parts of words, not of meanings.
    """
    if isinstance(texts, str):
        raise Invalid("texts is a list of texts, not one text")
    answer = host.call(host.interface("llm", "llm:embed").embed, [str(text) for text in texts])
    vectors = [list(vector) for vector in answer.vectors]
    return Embeddings(answer.model, vectors, answer.usage.input_tokens, answer.usage.cost_microusd)


def list_models() -> list[str]:
    """The roles and aliases that may be used."""
    return list(host.call(host.interface("llm", "llm:default").list_models))


def _message(llm: Any, message: Mapping[str, str]) -> Any:
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant") or not isinstance(content, str):
        raise Invalid('a message is {"role": "user" or "assistant", "content": text}')
    return llm.Message(llm.Role[role.upper()], [llm.Content_Text(content)])


def _stop(stop: Any) -> str:
    case = type(stop).__name__.removeprefix("StopReason_")
    return (
        str(stop.value) if case == "Other" else {"EndTurn": "end-turn", "ToolUse": "tool-use"}.get(case, "max-tokens")
    )
