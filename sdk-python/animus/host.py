"""The seam between this package and the host: nothing else imports `wit_world`.

Inside a component the contracts are the modules `wit_world.imports.*`; an interface that the component was built
without raises `Denied`. Elsewhere, in tests, they are those of an `animus.testing.FakeHost`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from . import errors

R = TypeVar("R")

INTERFACES = ("tool", "ledger", "memory", "llm", "spawn_child")
"""The interfaces that this package uses, when the component has them."""

_modules: dict[str, Any] = {}
_fake: Any = None


def use(fake: Any) -> Any:
    """Reach `fake` instead of the host from now on (None: the host again). Returns what was reached before."""
    global _fake
    before, _fake = _fake, fake
    return before


def preload() -> None:
    """Import the contracts now. A component can do so only before its snapshot is taken, for it has no files later."""
    for name in (*INTERFACES, "animus_types_types", "animus_tool_types", "types", "animus_interpreter_types"):
        _module(name)


def interface(name: str, capability: str | None = None) -> Any:
    """The module of an interface such as `tool`.

    `Denied` where this component was built without it, `Unavailable` where there is no host at all.
    """
    if _fake is not None:
        return _fake.interface(name)
    module = _module(name)
    if module is None and _module("animus_types_types") is None:
        raise errors.Unavailable("there is no host here; test with animus.testing.FakeHost")
    if module is None:
        raise errors.Denied(capability or name, "manifest", "ask-operator")
    return module


def types() -> Any:
    """The module of `animus:types/types`, or its likeness in a fake host or a test."""
    return _shapes("animus_types_types", "types", "Error_Denied")


def tool_types() -> Any:
    """The module of `animus:tool/types`, or its likeness."""
    return _shapes("animus_tool_types", "types", "ToolResult")


def llm_types() -> Any:
    """The module of `animus:llm/llm`, or its likeness."""
    return _shapes("llm", "llm", "Request")


def interpreter_types() -> Any:
    """The module of `animus:interpreter/types`, or its likeness."""
    return _shapes("animus_interpreter_types", "types", "Outcome")


def call(function: Callable[..., R], *args: Any) -> R:
    """Call a host function; its error is raised as one of `animus.errors`."""
    try:
        return function(*args)
    except errors.Error:
        raise
    except Exception as error:
        # componentize-py raises `Err(value)`, which is the same in a fake host.
        value = getattr(error, "value", None)
        if type(error).__name__ != "Err" or value is None:
            raise
    raise errors.from_wit(value) from None


def failure(error: BaseException) -> Exception:
    """What an exported function raises to return `error` to the host."""
    try:
        err = importlib.import_module("componentize_py_types").Err
    except ImportError:
        from . import shapes

        err = shapes.Err
    result: Exception = err(errors.to_wit(error))
    return result


def _module(name: str) -> Any:
    if name not in _modules:
        try:
            _modules[name] = importlib.import_module(f"wit_world.imports.{name}")
        except ImportError:
            _modules[name] = None
    return _modules[name]


def _shapes(full: str, short: str, member: str) -> Any:
    # componentize-py gives an interface its short name where only one package of the world has an interface so called.
    for name in (full, short):
        module = _module(name)
        if hasattr(module, member):
            return module
    from . import shapes

    return shapes
