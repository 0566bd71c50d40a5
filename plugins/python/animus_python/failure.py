"""What is told of an exception: its kind, message and traceback, in lines of the program alone."""

import builtins
import difflib
import linecache
import traceback

import animus
from animus import errors, host

from . import preload, sandbox

MESSAGE, TRACEBACK = 4_000, 16_000
"""The longest message and traceback, in characters."""

_INSTEAD = {
    "requests": "use a tool such as web.fetch",
    "httpx": "use a tool such as web.fetch",
    "aiohttp": "use a tool such as web.fetch",
    "bs4": "use html.parser, or a tool that returns text such as web.fetch",
    "yaml": "use json or tomllib, or read it line by line",
    "pytz": "use zoneinfo",
    "dateutil": "use datetime and zoneinfo",
    "numpy": "use math, statistics, array or fractions",
    "pandas": "use csv, sqlite3 and statistics",
}


def remember(name: str, source: str) -> None:
    """Let tracebacks show the lines of a source."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)


def of(error: BaseException, files: set[str]):
    """The `failure` of an exception; `files` are the names of the program's sources."""
    _hint(error)
    try:
        told = traceback.TracebackException.from_exception(error, limit=None, max_group_width=8, max_group_depth=4)
        _only(told, files, set())
        text = "".join(told.format())
        message = _syntax(error) if isinstance(error, SyntaxError) else str(told)
    except Exception:
        # An exception whose own text raises.
        text = message = f"{kind(error)} (its text cannot be shown)"
    notes = [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)]
    message = "; ".join([message, *notes]) if notes else message
    cause = None
    if isinstance(error, errors.Error) and not isinstance(error, errors.ToolFailed):
        cause = errors.to_wit(error)
    types = host.interpreter_types()
    return types.Failure(kind(error), clean(cut(message, MESSAGE)), clean(cut(text, TRACEBACK)), cause)


def kind(error: BaseException) -> str:
    """The name of an exception's type, whatever its metaclass says."""
    return type.__dict__["__name__"].__get__(type(error))


def cut(text: str, limit: int) -> str:
    """`text`, or its two ends where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2 - 20
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters cut …]\n{text[-half:]}"


def clean(text: str) -> str:
    """`text` as UTF-8 can hold it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _only(told: traceback.TracebackException, files: set[str], seen: set[int]) -> None:
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack = traceback.StackSummary.from_list([frame for frame in told.stack if frame.filename in files])
    _only(told.__cause__, files, seen)
    _only(told.__context__, files, seen)
    for inner in getattr(told, "exceptions", None) or ():
        _only(inner, files, seen)


def _syntax(error: SyntaxError) -> str:
    where = f" ({error.filename}, line {error.lineno})" if error.lineno else ""
    return f"{error.msg}{where}"


def _hint(error: BaseException) -> None:
    """Adds to an exception what helps to write the program right."""
    if isinstance(error, MemoryError) and not error.args:
        error.args = ("out of memory; work on a part at a time",)
    if isinstance(error, NameError) and error.name and not isinstance(error, UnboundLocalError):
        if error.name in animus.__all__:
            error.add_note(f"did you forget `from animus import {error.name}`?")
        elif hasattr(errors, error.name):
            error.add_note(f"did you forget `from animus.errors import {error.name}`?")
    elif isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        near = difflib.get_close_matches(top, ("animus", "tools", "ledger", "memory", "llm"), 1, 0.7)
        if top in animus.__all__ or near and near[0] != "animus":
            error.add_note(f"did you mean `from animus import {top if top in animus.__all__ else near[0]}`?")
        elif top == "animus" and error.name != "animus":
            error.add_note("it has tools, ledger, memory, llm, children, errors: `from animus import tools`")
        elif top in preload.ABSENT:
            error.add_note("CPython on WebAssembly lacks it; use a tool, or another module of the standard library")
        else:
            instead = _INSTEAD.get(top, "write what you need with the standard library and tools")
            error.add_note(f"the sandbox has the standard library and no other packages; {instead}")
    elif isinstance(error, ImportError) and error.name == "animus":
        error.add_note(
            f"animus has {', '.join(animus.__all__)}; a tool is an attribute of tools: tools.fs.read_file(…)"
        )
    elif isinstance(error, (FileNotFoundError, PermissionError)) and sandbox.FILES not in str(error):
        error.add_note(sandbox.FILES)
    elif isinstance(error, AttributeError) and isinstance(getattr(error, "obj", builtins), str):
        if error.name in ("text", "content", "result", "output", "data"):
            error.add_note("it is text already; a tool without structured data returns a str")
