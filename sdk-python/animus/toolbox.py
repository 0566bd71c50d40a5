"""The tools that may be called, as functions: `tools.fs.read_file(path="notes.md")`."""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections.abc import Mapping
from typing import Any

from . import errors, hints, host
from .jsonable import NoForm, dumps, loads, record
from .jsonable import Record as Record

Lines = list[str]


class Tools:
    """The tools that may be called.

    `tools.fs.read_file(path="notes.md")` calls one; `tools.search("read a file")` finds some,
    `tools.describe("fs.read_file")` and `help(tools.fs.read_file)` tell how to call it. A call that fails raises an
    exception that names the tool.
    """

    _known: dict[str, Any]
    _listed: dict[str, Any] | None

    def __init__(self) -> None:
        object.__setattr__(self, "_known", {})
        object.__setattr__(self, "_listed", None)

    def call(self, name: str, args: Mapping[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Call a tool by its full name, such as `fs.read_file`, with arguments by name.

        The value is the tool's data where it has any (one that is an object is a `Record`, a dict with attributes),
        else its text. `ToolFailed` where it ran and failed, `Denied`, `Invalid` and others of `animus.errors` where it
        did not run.
        """
        interface = host.interface("tool", f"tool:{name}")
        try:
            text = dumps({**(args or {}), **kwargs}, "arguments")
        except NoForm as error:
            raise _at(errors.Invalid(str(error)), name) from None
        try:
            answer = host.call(interface.call, name, text)
        except errors.Error as error:
            self._explain(error, name)
            raise _at(error, name) from None
        if answer.is_error:
            raise errors.ToolFailed(name, answer.text)
        try:
            return _value(answer)
        except ValueError as error:
            raise _at(errors.Internal(f"its data cannot be read: {error}"), name) from None

    def list(self) -> Lines:
        """The full names of the tools that may be called."""
        return sorted(self._all())

    def search(self, text: str, limit: int = 10) -> Lines:
        """The tools that fit these words best, one line each: how to call it, and what it does."""
        words = re.findall(r"[a-z0-9]+", text.lower())
        scored = []
        for name, definition in sorted(self._all().items()):
            in_name, in_text = name.lower(), definition.description.lower()
            score = sum(3 * (w in in_name) + (w in in_text) for w in words)
            if score or not words:
                scored.append((-score, name))
        return [self._line(name) for _, name in sorted(scored)[:limit]]

    def describe(self, name: str) -> str:
        """How to call a tool, what it does, and what its arguments mean."""
        name = getattr(name, "_full_name", name)
        return f"tools.{name}{hints.signature(self._definition(name))}\n\n{hints.doc(self._definition(name))}"

    def __getattr__(self, plugin: str) -> Namespace:
        if plugin.startswith("_"):
            raise AttributeError(plugin)
        return Namespace(self, plugin)

    def __getitem__(self, name: str) -> Tool:
        return Tool(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("tools are the host's; give your own functions names of their own")

    def __dir__(self) -> Lines:
        plugins = {name.partition(".")[0].replace("-", "_") for name in self._all()}
        return sorted({"call", "describe", "list", "search"} | plugins)

    def __reduce__(self) -> str:
        return "tools"

    def __repr__(self) -> str:
        return "<tools: tools.list(), tools.search(text), tools.describe(name)>"

    def _all(self) -> dict[str, Any]:
        listed = self._listed
        if listed is None:
            listed = {d.name: d for d in host.call(host.interface("tool", "tool:*").list)}
            self._known.update(listed)
            object.__setattr__(self, "_listed", listed)
        return listed

    def _definition(self, name: str) -> Any:
        if name not in self._known:
            interface = host.interface("tool", f"tool:{name}")
            try:
                self._known[name] = host.call(interface.describe, name)
            except errors.Error as error:
                self._explain(error, name)
                raise
        return self._known[name]

    def _forget(self) -> None:
        """Ask the host anew; for an instance that was prepared before it ran."""
        self.__init__()  # type: ignore[misc]

    def _resolve(self, plugin: str) -> str:
        # Only a name with `_` can stand for one with `-`, so that usual calls need no list.
        if "_" not in plugin:
            return plugin
        plugins = {name.partition(".")[0] for name in self._all()}
        return plugin if plugin in plugins else next((p for p in plugins if p.replace("-", "_") == plugin), plugin)

    def _line(self, name: str) -> str:
        definition = self._definition(name)
        first = definition.description.strip().partition("\n")[0][:200]
        return f"tools.{name}{hints.signature(definition)}: {first}"

    def _explain(self, error: errors.Error, name: str) -> None:
        """Adds to `error` what helps to call the tool right."""
        try:
            if isinstance(error, errors.Invalid) and "it takes {" not in error.text:
                error.text += f"; its parameters: {hints.signature(self._definition(name))}"
            elif isinstance(error, (errors.NotFound, errors.Denied)) and name not in self._all():
                near = difflib.get_close_matches(name, self._all(), 3, 0.6)
                if near:
                    error.text += f"; did you mean {' or '.join(near)}?"
        except errors.Error:
            pass  # The first error says more than one about its explanation.


class Namespace:
    """The tools of one plugin."""

    def __init__(self, tools: Tools, plugin: str) -> None:
        self._tools, self._plugin = tools, plugin

    def __getattr__(self, name: str) -> Tool:
        if name.startswith("_"):
            raise AttributeError(name)
        return Tool(self._tools, f"{self._tools._resolve(self._plugin)}.{name}")

    def __dir__(self) -> list[str]:
        prefix = f"{self._tools._resolve(self._plugin)}."
        return sorted(name.removeprefix(prefix) for name in self._tools._all() if name.startswith(prefix))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"'{self._plugin}' is a plugin, not a tool; it has {', '.join(dir(self)) or 'no tools for you'}"
        )

    def __repr__(self) -> str:
        return f"<tools of {self._plugin}>"


def _code(*args: Any, **kwargs: Any) -> Any: ...


class Tool:
    """A function that calls a tool. Its documentation and signature are fetched when they are looked at."""

    def __init__(self, tools: Tools, name: str) -> None:
        self._tools, self._full_name = tools, name
        self.__name__ = name.rpartition(".")[2]
        self.__qualname__ = f"tools.{name}"
        self.__module__ = "animus"
        # What `inspect` and `pydoc` look for in a function.
        self.__code__ = _code.__code__
        self.__globals__: dict[str, Any] = {}
        self.__defaults__, self.__kwdefaults__ = None, None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            parameters = hints.parameters(self._definition)
            if len(args) > len(parameters):
                raise _at(
                    errors.Invalid(f"it takes {len(parameters)} arguments; its parameters: {self.__signature__}"),
                    self._full_name,
                )
            for parameter, value in zip(parameters, args, strict=False):
                if parameter in kwargs:
                    raise _at(errors.Invalid(f"the argument {parameter!r} is given twice"), self._full_name)
                kwargs[parameter] = value
        return self._tools.call(self._full_name, kwargs)

    # `help()` and `inspect` treat it as the function that it stands for, not as an instance of this class.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return types.FunctionType

    @property
    def _definition(self) -> Any:
        return self._tools._definition(self._full_name)

    @property
    def __signature__(self) -> inspect.Signature:
        return hints.signature(self._definition)

    @property
    def __doc__(self) -> str:  # type: ignore[override,unused-ignore]
        return hints.doc(self._definition)

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return hints.types(self._definition)

    def __reduce__(self) -> Any:
        return Tool, (self._tools, self._full_name)

    def __repr__(self) -> str:
        return f"<tool {self._full_name}>"


def _at(error: errors.Error, tool: str) -> errors.Error:
    error.tool = tool
    return error


def _value(answer: Any) -> Any:
    if answer.structured is not None:
        value = record(loads(answer.structured))
        return value["result"] if isinstance(value, dict) and list(value) == ["result"] else value
    if answer.images:
        images = [Record(media_type=image.media_type, data=image.data) for image in answer.images]
        return Record(text=answer.text, images=images)
    return answer.text


tools = Tools()
