"""Runs a program."""

import asyncio
import builtins
import gc
import importlib
import inspect
import linecache
import os
import random
import sys
import types

import animus
from animus import errors, host, jsonable, plugin, schema

from . import failure, loop, session, transform, value
from .modules import Finder, filename
from .output import Output

PREDEFINED = ("tools", "ledger", "memory", "llm")
"""Names of `animus` that a program has without an import; `asyncio` as well."""


def run(program):
    """The outcome of a program. Whatever it does short of a trap is in there."""
    fresh()
    kept = session.Session(program.name) if program.state is not None else None
    modules = {module.name: module.source for module in program.modules}
    files = {program.name, session.EARLIER, *map(filename, modules)}
    text, data, failed = "", None, None
    with Output() as output, Finder(modules), Main(program) as main:
        try:
            args = arguments(program.args)
            if kept:
                kept.restore(program.state, main, output.note)
            answer = execute(program, main, args)
            text, data = value.shown(answer)
        except SystemExit as error:
            if error.code not in (None, 0):
                failed = failure.of(error, files)
        except BaseException as error:
            failed = told(error, files)
        try:
            if kept:
                kept.learn(program.source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass  # It does not parse, and the failure says so.
        state = None
        if kept:
            try:
                state = kept.save(main, output.note)
            except session.TooLarge as error:
                state = program.state
                failed = failed or failure.of(error, files)
            except BaseException as error:
                state = program.state
                failed = failed or told(error, files)
    stdout, stderr = output.texts()
    linecache.clearcache()
    return host.interpreter_types().Outcome(text, data, stdout, stderr, failed, state)


def told(error, files):
    """The failure of an exception, even where memory or stack are short."""
    if isinstance(error, (RecursionError, MemoryError)):
        # Its frames hold what used the memory up.
        error.__context__ = None
        gc.collect()
    return failure.of(error, files)


def fresh() -> None:
    """Make this run differ from every other of the same snapshot, and owe nothing to the environment."""
    random.seed(os.urandom(32))
    os.environ.clear()
    sys.argv[:] = [""]
    animus.tools._forget()


def arguments(text: str) -> dict:
    """The arguments of a program."""
    try:
        args = jsonable.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise errors.Invalid(f"the program's arguments are not JSON: {error}") from None
    if not isinstance(args, dict):
        raise errors.Invalid("the program's arguments must be a JSON object")
    return args


def execute(program, main: types.ModuleType, args: dict):
    """The value of a program."""
    if program.entry is not None:
        exec(transform.module(program.source, program.name), main.__dict__)
        return call(main, program.entry, args)
    main.__dict__["args"] = args
    exec(transform.body(program.source, program.name), main.__dict__)
    return awaited(main.__dict__.pop(transform.BODY)())


def call(main: types.ModuleType, entry: str, args: dict):
    """The value of the function `entry`, with arguments by name."""
    named = (v for v in list(main.__dict__.values()) if getattr(getattr(v, plugin.MARK, None), "name", None) == entry)
    function = main.__dict__.get(entry) or next(named, None)
    if not callable(function):
        functions = [n for n, v in main.__dict__.items() if inspect.isfunction(v) and v.__module__ == main.__name__]
        raise errors.NotFound(f"the program has no function '{entry}'; it has {', '.join(functions) or 'none'}")
    return awaited(function(**schema.arguments(function, args, entry)))


def awaited(answer):
    """The value of what a program left: that of a coroutine, if it is one."""
    depth = 0
    while inspect.isawaitable(answer) and depth < 8:
        answer, depth = loop.run(answer), depth + 1
    return answer


def star(main: types.ModuleType):
    """What `from module import *` is made of in a body."""

    def star_(name: str) -> None:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", None) or [n for n in module.__dict__ if not n.startswith("_")]
        main.__dict__.update({n: getattr(module, n) for n in names})

    return star_


class Main:
    """The module that a program is, while it runs."""

    def __init__(self, program, entry: bool | None = None) -> None:
        body = program.entry is None if entry is None else not entry
        self._module = types.ModuleType("__main__" if body else "__program__")
        names = {transform.AWAIT: loop.wait, "__file__": program.name, "__builtins__": builtins}
        names |= {n: getattr(animus, n) for n in PREDEFINED} | {"asyncio": asyncio}
        if body:
            names[transform.STAR] = star(self._module)
        self._module.__dict__.update(names)
        self.given = dict(self._module.__dict__)
        failure.remember(program.name, program.source)

    def __enter__(self) -> types.ModuleType:
        self._before = sys.modules.get(self._module.__name__)
        sys.modules[self._module.__name__] = self._module
        self._module.__dict__[session.GIVEN] = self.given
        return self._module

    def __exit__(self, *exception: object) -> None:
        sys.modules.pop(self._module.__name__, None)
        if self._before is not None:
            sys.modules[self._module.__name__] = self._before
