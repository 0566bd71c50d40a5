"""Errors, by the classes that hosts, plugins and models share.

Their text is for people and models: lowercase, no final full stop, and it names what failed.
"""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """Why a call failed. Its subclasses are the classes of the contract `animus:types`."""

    text: str
    """What is wrong."""
    tool: str | None
    """The full name of the tool whose call failed, where it was one."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.tool = None

    def __str__(self) -> str:
        return f"tool '{self.tool}' failed: {self.text}" if self.tool else self.text


class Denied(Error):
    """Not allowed. Repeating the same call does not help."""

    _UNLOCK = {
        "ask-operator": "; only the operator can allow it",
        "ask-for-less": "; the same with smaller figures would pass",
    }

    def __init__(self, capability: str, gate: str = "grant", unlock: str = "ask-operator") -> None:
        """`gate` is manifest, grant, ceiling, principal or policy; `unlock` is ask-operator, ask-for-less or
        nothing."""
        super().__init__(f"not allowed: {capability} (refused by the {gate}){self._UNLOCK.get(unlock, '')}")
        self.capability, self.gate, self.unlock = capability, gate, unlock

    def __reduce__(self) -> Any:
        return type(self), (self.capability, self.gate, self.unlock)


class BudgetExhausted(Error):
    """A budget (tokens, money) or a limit (bytes, calls, entries) is used up; the text names it."""


class Cancelled(Error):
    """The work was cancelled. Return soon; the host ends the call otherwise."""

    def __init__(self, text: str = "the work was cancelled") -> None:
        super().__init__(text)


class Timeout(Error):
    """A deadline has passed."""


class Invalid(Error):
    """The arguments are wrong; the text says which and why."""


class NotFound(Error):
    """No such thing; the text names what was looked for."""


class Conflict(Error):
    """It exists already, or changed meanwhile."""


class Unavailable(Error):
    """Not now: busy or unreachable. The same call may pass later."""


class Internal(Error):
    """The host or the plugin failed. The operator's log has the cause."""


class ToolFailed(Error):
    """The tool did run and reports that it failed; the text is its own."""

    def __init__(self, tool: str, text: str) -> None:
        super().__init__(text)
        self.tool = tool

    def __reduce__(self) -> Any:
        return type(self), (self.tool, self.text)


_BY_CASE: dict[str, type[Error]] = {
    "BudgetExhausted": BudgetExhausted,
    "Timeout": Timeout,
    "Invalid": Invalid,
    "NotFound": NotFound,
    "Conflict": Conflict,
    "Unavailable": Unavailable,
    "Internal": Internal,
}


def from_wit(error: Any) -> Error:
    """The exception for a value of the variant `animus:types/types.error`."""
    case = type(error).__name__.removeprefix("Error_")
    if case == "Denied":
        denial = error.value
        return Denied(denial.capability, _word(denial.gate), _word(denial.unlock))
    if case == "Cancelled":
        return Cancelled()
    return _BY_CASE.get(case, Internal)(str(getattr(error, "value", error)))


def to_wit(error: BaseException) -> Any:
    """The value of `animus:types/types.error` for an exception; one that is none of this module's is internal."""
    from . import host

    types = host.types()
    if isinstance(error, Denied):
        gate = getattr(types.Gate, error.gate.upper(), types.Gate.GRANT)
        unlock = getattr(types.Unlock, error.unlock.upper().replace("-", "_"), types.Unlock.NOTHING)
        return types.Error_Denied(types.Denial(error.capability, gate, unlock))
    if isinstance(error, Cancelled):
        return types.Error_Cancelled()
    if isinstance(error, ToolFailed) or not isinstance(error, Error):
        text = str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"
        return types.Error_Internal(text[:4000])
    case = next((case for case, kind in _BY_CASE.items() if isinstance(error, kind)), "Internal")
    return getattr(types, f"Error_{case}")(str(error)[:4000])


def _word(value: Any) -> str:
    return str(value.name).lower().replace("_", "-")
