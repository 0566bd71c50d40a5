"""Runs the tests of a program."""

import ast

from animus import errors, host

from . import transform
from .modules import Finder, filename
from .output import Output
from .run import Main, awaited, fresh, told


def test(program) -> list:
    """How each test went: the functions `test_…` at the top of the source, in its order.

    Raises what keeps the source from being loaded.
    """
    fresh()
    types = host.interpreter_types()
    modules = {module.name: module.source for module in program.modules}
    files = {program.name, *map(filename, modules)}
    tested = []
    with Output(), Finder(modules), Main(program, entry=True) as main:
        try:
            names = [node.name for node in ast.parse(program.source, program.name).body if is_test(node)]
            exec(transform.module(program.source, program.name), main.__dict__)
        except BaseException as error:
            found = told(error, files)
            raise errors.Invalid(f"the tests in {program.name} cannot be loaded:\n{found.traceback or found.message}") from None
        for name in names:
            failed = None
            try:
                awaited(main.__dict__[name]())
            except BaseException as error:
                failed = told(error, files)
            tested.append(types.Tested(name, failed))
    return tested


def is_test(node: ast.stmt) -> bool:
    """Whether it defines a test."""
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
