"""Looks at a program as the source of tools, without running its functions."""

import ast
import linecache
import sys
import traceback

from animus import errors, host, plugin, schema

from . import failure, run, transform, uses
from .modules import Finder, filename
from .output import Output

MESSAGE = 1_000
"""The longest message of a problem, in characters."""
MOST = 100
"""The most problems that are told."""


class _Nothing:
    """A host that has nothing: what a program asks of it while it is imported is refused."""

    def interface(self, name: str):
        raise errors.Denied(name, "policy", "nothing")


def describe(program):
    """The tools that a program offers, the capabilities that it names, and what is wrong with it."""
    named, problems, tree = set(), [], None
    own = {module.name for module in program.modules}
    for name, source in [(None, program.source), *((m.name, m.source) for m in program.modules)]:
        where = program.name if name is None else filename(name)
        try:
            parsed = transform.parse(source, where)
            compile(source, where, "exec", dont_inherit=True) if name is None else transform.module(source, where)
            tree = parsed if name is None else tree
            found, wrong = uses.of(parsed, own)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            found, wrong = (
                set(),
                [(getattr(error, "lineno", 0) or 0, f"{type(error).__name__}: {getattr(error, 'msg', error)}")],
            )
        named |= found
        problems += wrong if name is None else [(0, f"{where}, line {line}: {text}") for line, text in wrong]
    tools = []
    if tree is not None:
        functions = _functions(tree)
        problems += _undocumented(functions)
        if not functions:
            problems.append(
                (0, "it has no public function; a tool is a function at the top level, with type hints and a docstring")
            )
        tools, more = _definitions(program, functions)
        # An import that cannot work was told already.
        blamed = {line for line, _ in problems}
        problems += [(line, text) for line, text in more if not (text.startswith("importing") and line in blamed)]
    types = host.interpreter_types()
    told = [
        types.Problem(max(line, 0), failure.clean(failure.cut(text, MESSAGE)))
        for line, text in sorted(set(problems))[:MOST]
    ]
    return types.Description(tools, sorted(named), told)


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith(("_", "test_")):
            found.pop(node.name, None)
            found[node.name] = node
    return found


def _undocumented(functions) -> list[tuple[int, str]]:
    problems = []
    for name, node in functions.items():
        if not (ast.get_docstring(node) or "").strip():
            problems.append(
                (
                    node.lineno,
                    f"'{name}' has no docstring; say what it does and when to use it, for that is what models read",
                )
            )
        for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            if arg.annotation is None:
                problems.append((arg.lineno, f"'{name}': the parameter '{arg.arg}' has no type hint"))
    return problems


def _definitions(program, functions):
    """The definitions of functions, read from the module that the program is, with a host that has nothing."""
    tools, problems, names = [], [], {}
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "wit_world"}
    before = host.use(_Nothing())
    try:
        with Output(), Finder({m.name: m.source for m in program.modules}), run.Main(program, entry=True) as main:
            try:
                exec(transform.module(program.source, program.name), main.__dict__)
            except BaseException as error:
                return [], [(_line(error, program.name), f"importing it raises {type(error).__name__}: {_text(error)}")]
            for name, node in functions.items():
                function = main.__dict__.get(name)
                try:
                    if not callable(function):
                        raise schema.Unsuitable(f"'{name}' is no longer a function when the module is imported")
                    if not any(
                        arg.annotation is None for arg in node.args.args + node.args.kwonlyargs
                    ) and ast.get_docstring(node):
                        tool = plugin.definition(function, name)
                        if tool.name in names:
                            raise schema.Unsuitable(
                                f"'{name}' and '{names[tool.name]}' are both the tool '{tool.name}'"
                            )
                        names[tool.name] = name
                        tools.append(tool)
                except schema.Unsuitable as error:
                    problems.append((node.lineno, str(error)))
                except Exception as error:
                    problems.append((node.lineno, f"'{name}': {type(error).__name__}: {_text(error)}"))
    finally:
        host.use(before)
        sys.modules.update(hidden)
        linecache.clearcache()
    return tools, problems


def _line(error: BaseException, name: str) -> int:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return lines[-1] or 0 if lines else 0


def _text(error: BaseException) -> str:
    try:
        return failure.cut(str(error), 500)
    except Exception:
        return "(its text cannot be shown)"
