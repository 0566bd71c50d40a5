"""Offering tools: a function with type hints and a docstring is one.

from animus import tool

@tool(read_only=True)
def greet(name: str) -> str:
    \"\"\"Greets somebody by name.

    Args:
        name: Who is greeted.
    \"\"\"
    return f"Hello, {name}!"
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar, overload

from . import errors, host, schema
from .jsonable import NoForm, dumps, loads

F = TypeVar("F", bound=Callable[..., Any])

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
MARK = "__animus_tool__"


@dataclasses.dataclass(frozen=True)
class Marks:
    """What `@tool` says of a function. The defaults are the cautious ones: it may overwrite, and may not be
    repeated."""

    name: str | None = None
    read_only: bool = False
    idempotent: bool = False
    destructive: bool = True
    open_world: bool = False


@dataclasses.dataclass
class ToolOutput:
    """An answer with more than a value: its text for models, its data for programs, images for models that take
    them."""

    text: str = ""
    structured: Any = None
    images: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    """Media type (`image/png`, `image/jpeg`, `image/gif`, `image/webp`) and bytes."""
    is_error: bool = False
    """The tool did run and reports that it failed, as a compiler does that found errors; the text says how."""


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    read_only: bool = False,
    idempotent: bool = False,
    destructive: bool | None = None,
    open_world: bool = False,
) -> Callable[[F], F]: ...
def tool(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    read_only: bool = False,
    idempotent: bool = False,
    destructive: bool | None = None,
    open_world: bool = False,
) -> Any:
    """Make a function a tool, which stays the function that it is.

    Its docstring is what the model reads, its type hints become the JSON Schema of its arguments. Be honest about what
    it does: after a crash the host repeats calls that may be repeated (`read_only` or `idempotent`), and only those.

    Args:
        name: What the tool is called; the function's name where you do not say.
        read_only: It changes nothing.
        idempotent: Doing it twice is the same as doing it once.
        destructive: It may overwrite or remove. True where you do not say, unless it is `read_only`.
        open_world: It reaches beyond this machine.
    """
    marks = Marks(name, read_only, idempotent, not read_only if destructive is None else destructive, open_world)

    def mark(function: F) -> F:
        setattr(function, MARK, marks)
        return function

    return mark if function is None else mark(function)


def definition(function: Callable[..., Any], name: str | None = None) -> Any:
    """The definition of a function as a tool. `schema.Unsuitable` says why it cannot be one."""
    marks = getattr(function, MARK, Marks())
    name = marks.name or name or function.__name__
    if not NAME.fullmatch(name):
        raise schema.Unsuitable(
            f"'{name}' is no name of a tool: use a-z, 0-9 and _, beginning with a letter, at most 64{_place(function)}"
        )
    text, _ = schema.docstring(inspect.getdoc(function) or "")
    if not text:
        raise schema.Unsuitable(
            f"'{name}' has no docstring; say what it does and when to use it, for that is what models read"
            + _place(function)
        )
    try:
        given, (returned, _) = schema.of_parameters(function), schema.of_return(function)
    except schema.Unsuitable as error:
        raise schema.Unsuitable(f"'{name}': {error}{_place(function)}") from None
    types = host.tool_types()
    return types.Definition(
        name,
        _without_returns(text),
        json.dumps(given, ensure_ascii=False),
        None if returned is None else json.dumps(returned, ensure_ascii=False),
        types.Annotations(marks.read_only, marks.idempotent, marks.destructive, marks.open_world),
    )


def _place(function: Callable[..., Any]) -> str:
    """Where a function stands, as a traceback says it; nothing for what is not written in Python."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None else f' (File "{code.co_filename}", line {code.co_firstlineno})'


def marked(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions of a module that `@tool` marks, by the name of the tool."""
    found: dict[str, Callable[..., Any]] = {}
    for value in list(vars(module).values()):
        marks = getattr(value, MARK, None) if callable(value) else None
        if isinstance(marks, Marks):
            name = marks.name or value.__name__
            if found.setdefault(name, value) is not value:
                raise schema.Unsuitable(f"two functions are the tool '{name}'; give one of them another name")
    return found


def answer(function: Callable[..., Any], args: Any, name: str | None = None) -> Any:
    """Call a tool with a JSON object and return its `tool-result`. Raises what the function raises."""
    name = name or getattr(function, MARK, Marks()).name or function.__name__
    value = function(**schema.arguments(function, args, name))
    if inspect.isawaitable(value):
        value = _await(value)
    return result(value, *schema.of_return(function), name)


def result(value: Any, output: schema.Schema | None, wrapped: bool, name: str) -> Any:
    """The `tool-result` of what a tool returned; `output` and `wrapped` are those of `schema.of_return`."""
    types = host.tool_types()
    try:
        if isinstance(value, ToolOutput):
            structured = None if value.structured is None else dumps(value.structured, f"the data of '{name}'")
            images = [types.Image(kind, data) for kind, data in value.images]
            return types.ToolResult(value.text or structured or "", structured, images, value.is_error)
        if output is None and (value is None or isinstance(value, str)):
            return types.ToolResult(value or "", None, [], False)
        text = dumps(value, f"the answer of '{name}'")
        if output is None:
            return types.ToolResult(text, None, [], False)
        return types.ToolResult(text, f'{{"result":{text}}}' if wrapped else text, [], False)
    except NoForm as error:
        raise errors.Internal(str(error)) from None


def export(module: ModuleType) -> type:
    """The class that componentize-py exports as `animus:tool/tools`, with the tools that `@tool` marks in `module`."""
    functions = marked(module)
    if not functions:
        raise schema.Unsuitable(f"{module.__name__} has no tools; mark a function with @tool")
    definitions = [definition(function) for function in functions.values()]

    class Tools:
        """`animus:tool/tools`."""

        def list_tools(self) -> list[Any]:
            return list(definitions)

        def call_tool(self, name: str, args: str) -> Any:
            if name not in functions:
                raise host.failure(errors.NotFound(f"no tool '{name}'; there are {', '.join(functions)}"))
            try:
                return answer(functions[name], _loads(args), name)
            except errors.ToolFailed as error:
                return host.tool_types().ToolResult(str(error), None, [], True)
            except errors.Error as error:
                raise host.failure(error) from None
            except Exception as error:
                # To the log of the call; the caller gets one line.
                traceback.print_exc(file=sys.stderr)
                raise host.failure(errors.Internal(f"{name}: {type(error).__name__}: {error}")) from None

    return Tools


def _loads(args: str) -> Any:
    try:
        return loads(args)
    except ValueError as error:
        raise errors.Invalid(f"the arguments are not JSON: {error}") from None


def _await(value: Any) -> Any:
    """The value of an awaitable that waits for nothing: what it calls in the host answers at once."""
    steps = value.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return done.value
    raise errors.Internal("an async tool waited for something other than the host; there is no event loop in a plugin")


def _without_returns(text: str) -> str:
    # What follows `Returns:` and `Raises:` is for readers of the code; the output schema and errors say it to models.
    return re.split(r"\n\s*(?:Returns|Raises|Yields|Examples?):?\s*\n|\n\s*(?:Returns|Raises)\n-{3,}", text)[0].strip()
