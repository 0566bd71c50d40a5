import json
import pathlib
import sys
import unittest
import unittest.mock

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent.parent / "sdk-python")]

from animus import shapes  # noqa: E402
from animus.plugin import ToolOutput  # noqa: E402
from animus.testing import FakeHost  # noqa: E402
from animus_python import loop, run, value  # noqa: E402

loop.install()


def read_file(path: str, limit: int | None = None) -> str:
    """Reads a file.

    Args:
        path: Which.
    """
    return f"text of {path}"


def glob(pattern: str) -> list[str]:
    """Finds files."""
    return ["a.md", "bb.md"]


class Running(unittest.TestCase):
    def setUp(self) -> None:
        self.host = self.enterContext(FakeHost())
        self.host.add_tool("fs.read_file", read_file)
        self.host.add_tool("fs.glob", glob)

    def outcome(self, source: str, **fields: object) -> shapes.Outcome:
        fields.setdefault("name", "<agent>")
        modules = [shapes.Module(*m) for m in fields.pop("modules", {}).items()]
        return run.run(shapes.Program(source=source, modules=modules, **fields))

    def value(self, source: str, **fields: object) -> object:
        found = self.outcome(source, **fields)
        self.assertIsNone(found.failure, found.failure)
        return None if found.value is None else json.loads(found.value)

    def failure(self, source: str, **fields: object) -> shapes.Failure:
        found = self.outcome(source, **fields)
        self.assertIsNotNone(found.failure, found)
        self.assertEqual((found.text, found.value), ("", None))
        return found.failure


class Bodies(Running):
    def test_a_return_or_the_last_expression_is_the_value(self) -> None:
        for source, expected in [
            ("return 2+2", 4),
            ("2+2", 4),
            ("x = 3\nx", 3),
            ("if True:\n    return 'early'\n1", "early"),
            ("for i in range(3):\n    if i == 1: return i", 1),
            ("print('x')", None),
            ("x = 1", None),
            ("", None),
            ("# nothing", None),
            ("try:\n    return 1\nfinally:\n    x = 2", 1),
            ("'''only a text'''", "only a text"),
            ("from __future__ import annotations\nx: Undefined = 4\nx", 4),
            ("from math import *\nfloor(pi)", 3),
            ("x: int\ny: list[int] = [1]\ny", [1]),
        ]:
            self.assertEqual(self.value(source), expected, source)

    def test_names_are_global_so_that_functions_see_each_other(self) -> None:
        source = """
import math
limit = 3
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
class Box:
    def area(self): return math.floor(limit * 1.5)
for k in [1]:
    with __import__("contextlib").nullcontext(5) as w:
        pass
try:
    1 / 0
except ZeroDivisionError as error:
    seen = str(error)
match [1, 2, 3]:
    case [first, *rest]: pass
if (n := 4) > 3: pass
def all_(): return [even(n), Box().area(), k, w, seen, first, rest, n]
all_()
"""
        self.assertEqual(self.value(source), [True, 4, 1, 5, "division by zero", 1, [2, 3], 4])

    def test_a_global_statement_and_comprehensions(self) -> None:
        self.assertEqual(
            self.value("global x\nx = 1\ni = 7\ny = [i for i in range(3)]\nz = [w := v for v in y]\n[x, i, y, w]"),
            [1, 7, [0, 1, 2], 2],
        )

    def test_tools_need_no_import(self) -> None:
        source = 'return sum(len(tools.fs.read_file(path=p)) for p in tools.fs.glob(pattern="**/*.md"))'
        self.assertEqual(self.value(source), len("text of a.md") + len("text of bb.md"))

    def test_plain_and_awaited_calls_are_one(self) -> None:
        for source in (
            'tools.fs.read_file(path="x")',
            'await tools.fs.read_file(path="x")',
            'from animus import tools\nasync def main():\n    return await tools.fs.read_file("x")\nawait main()',
            'async def main():\n    return tools.fs.read_file("x")\nmain()',
            'async def main():\n    return await tools.fs.read_file("x")\nreturn main()',
            'import asyncio\nasync def main():\n    return await tools.fs.read_file("x")\nasyncio.run(main())',
            'async def main():\n    return asyncio.run(inner())\nasync def inner():\n    return await tools.fs.read_file("x")\nawait main()',
            'async def f():\n    return asyncio.run(g()), await asyncio.sleep(0, asyncio.run(g()))\nasync def g():\n    await asyncio.sleep(0.001)\n    return tools.fs.read_file("x")\n(await asyncio.gather(f(), f()))[1][1]',
            '(await asyncio.gather(tools.fs.read_file("x"), asyncio.sleep(0, 1)))[0]',
            'asyncio.run(asyncio.gather(tools.fs.read_file("x"), asyncio.sleep(0, 1)))[0]',
            'await asyncio.wait_for(tools.fs.read_file("x"), 1)',
            't = asyncio.create_task(tools.fs.read_file("x"))\nawait asyncio.sleep(0.001)\nawait t',
            'async with asyncio.TaskGroup() as g:\n    t = g.create_task(tools.fs.read_file("x"))\nt.result()',
            'await asyncio.to_thread(tools.fs.read_file, "x")',
        ):
            self.assertEqual(self.value(source), "text of x", source)

    def test_tasks_take_turns(self) -> None:
        source = """
async def work(n):
    for i in range(2):
        seen.append((n, i))
        await asyncio.sleep(0.001)
seen = []
await asyncio.gather(work(1), work(2))
seen
"""
        self.assertEqual(self.value(source), [[1, 0], [2, 0], [1, 1], [2, 1]])

    def test_a_task_that_nothing_wakes_is_told(self) -> None:
        self.assertIn("nothing is left that could wake", self.failure("await asyncio.Event().wait()").message)

    def test_a_timeout_of_asyncio(self) -> None:
        self.assertEqual(self.failure("await asyncio.wait_for(asyncio.Event().wait(), 0.01)").kind, "TimeoutError")

    def test_args_is_a_global(self) -> None:
        self.assertEqual(self.value("args['n'] + 1", args='{"n": 2}'), 3)
        self.assertEqual(self.failure("1", args="[]").kind, "Invalid")
        self.assertEqual(self.failure("1", args="{").kind, "Invalid")
        self.assertIn("nested more than", self.failure("1", args='{"a":' + "[" * 9000 + "]" * 9000 + "}").message)

    def test_runs_share_no_names(self) -> None:
        self.value("leak = 1\nimport builtins")
        self.assertEqual(self.failure("leak").kind, "NameError")

    def test_chance_is_fresh(self) -> None:
        source = "import random\nrandom.random()"
        self.assertNotEqual(self.value(source), self.value(source))


class Entries(Running):
    SOURCE = """
from dataclasses import dataclass
from animus import tool
@dataclass
class P:
    x: int
def add(p: P, by: int = 1) -> P:
    return P(p.x + by)
async def later(p: P) -> int:
    return (await tools.fs.read_file("x")) and p.x
@tool(name="renamed")
def original() -> int:
    return 9
"""

    def test_arguments_are_decoded_by_the_hints(self) -> None:
        self.assertEqual(self.value(self.SOURCE, entry="add", args='{"p": {"x": 1}}'), {"x": 2})
        self.assertEqual(self.value(self.SOURCE, entry="later", args='{"p": {"x": 1}}'), 1)
        self.assertEqual(self.value(self.SOURCE, entry="renamed"), 9)

    def test_what_does_not_fit_is_invalid(self) -> None:
        failed = self.failure(self.SOURCE, entry="add", args='{"p": {"x": "1"}}')
        self.assertEqual(failed.message, "arguments of 'add': 'p.x' must be an integer, not '1'; it takes {p, by?}")
        self.assertIsInstance(failed.cause, shapes.Error_Invalid)
        failed = self.failure(self.SOURCE, entry="sub")
        self.assertEqual(failed.message, "the program has no function 'sub'; it has add, later, original")

    def test_it_is_not_the_main_module(self) -> None:
        self.assertEqual(self.value("x = __name__\ndef f(): return x", entry="f"), "__program__")
        self.assertEqual(self.value("__name__"), "__main__")

    def test_modules_are_imported_by_dotted_names(self) -> None:
        modules = {
            "skills.count": "from . import base\nfrom .deep.er import two\ndef n(): return base.one + two",
            "skills.base": "one = 1",
            "skills.deep.er": "two = 2",
        }
        self.assertEqual(
            self.value("from skills.count import n\nimport skills.base as b\n[n(), b.one]", modules=modules), [3, 1]
        )
        self.assertEqual(self.failure("import skills.count").kind, "ModuleNotFoundError")

    def test_modules_may_await(self) -> None:
        self.assertEqual(
            self.value(
                "import m\nawait m.f()",
                modules={"m": "from animus import tools\nasync def f():\n    return await tools.fs.read_file('x')"},
            ),
            "text of x",
        )


class Values(Running):
    def test_python_values_have_json_forms(self) -> None:
        for source, expected in [
            ("import decimal\ndecimal.Decimal('1.10')", "1.10"),
            ("import datetime\ndatetime.date(2025, 1, 2)", "2025-01-02"),
            ("import pathlib\npathlib.PurePosixPath('a/b')", "a/b"),
            ("{'b', 'a'}", ["a", "b"]),
            ("(1, 2.5, True, None)", [1, 2.5, True, None]),
            ("b'hi'", "aGk="),
            ("{1: 'a', None: 'b'}", {"1": "a", "null": "b"}),
            ("import enum\nclass E(enum.Enum):\n    A = 1\nE.A", 1),
            ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n[P(1)]", [{"x": 1}]),
            ("range(3)", [0, 1, 2]),
            ("10**30", 10**30),
        ]:
            self.assertEqual(self.value(source), expected, source)

    def test_what_has_none_is_text_alone(self) -> None:
        for source, text in [
            ("float('nan')", "nan"),
            ("object", "<class 'object'>"),
            ("[float('inf')]", "[inf]"),
            ("b'hi'", "b'hi'"),
        ]:
            found = self.outcome(source)
            self.assertEqual(found.text, text)
            if source != "b'hi'":
                self.assertIsNone(found.value)

    def test_a_value_in_itself_or_too_deep_is_text(self) -> None:
        for source in ("x = []\nx.append(x)\nx", "x = []\nfor i in range(100_000): x = [x]\nx"):
            found = self.outcome(source)
            self.assertIsNone(found.failure)
            self.assertIsNone(found.value)
            self.assertRegex(found.text, "list")

    def test_text_is_as_it_is_and_data_is_json(self) -> None:
        self.assertEqual(self.outcome("'a\\nb'").text, "a\nb")
        self.assertEqual(self.outcome("{'a': [1]}").text, '{"a": [1]}')
        self.assertIn("\n  ", self.outcome("list(range(100))").text)

    def test_a_value_that_is_too_large_is_a_failure(self) -> None:
        for source in (
            "'x' * 3_000_000",
            "['x'] * 1_000_000",
            "class C:\n    def __repr__(self): return 'x' * 3_000_000\nC()",
        ):
            failed = self.failure(source)
            self.assertIn("the value is too large", failed.message)
        self.assertEqual(len(self.outcome(f"'x' * ({value.LIMIT} - 2)").text), value.LIMIT - 2)

    def test_lone_surrogates_do_not_leave(self) -> None:
        found = self.outcome("print('\\ud800')\n'\\ud800'")
        (found.text + found.stdout + (found.value or "")).encode()

    def test_a_value_that_raises_is_a_failure(self) -> None:
        self.assertEqual(self.failure("class C:\n    def __repr__(self): raise KeyError('r')\nC()").kind, "KeyError")


class Outputs(Running):
    def test_it_is_kept_apart_from_the_value(self) -> None:
        found = self.outcome(
            "import sys\nprint('out', end='')\nprint('err', file=sys.stderr)\nsys.stdout.buffer.write(b'!')\n5"
        )
        self.assertEqual((found.stdout, found.stderr, found.text), ("out!", "err\n", "5"))

    def test_it_is_cut_in_its_middle(self) -> None:
        found = self.outcome("print('a' + 'x' * 10_000_000 + 'z')\nfor i in range(20_000): print('é', i)")
        self.assertLessEqual(len(found.stdout.encode()), 64 * 1024)
        self.assertRegex(found.stdout, r"(?s)^axxx.*\[… \d+ bytes cut …\].*é 19999\n$")

    def test_what_was_printed_before_a_failure_is_there(self) -> None:
        found = self.outcome("print('before')\n1/0")
        self.assertEqual((found.stdout, found.failure.kind), ("before\n", "ZeroDivisionError"))

    def test_a_program_may_close_or_replace_its_streams(self) -> None:
        found = self.outcome("import sys\nprint('a')\nsys.stdout.close()\nsys.stdout = None\n3")
        self.assertEqual((found.text, found.failure), ("3", None))


class Failures(Running):
    def test_tracebacks_have_the_programs_own_lines(self) -> None:
        failed = self.failure("def f(x):\n    return tools.fs.nothing(x=x)\n\nf(1)")
        self.assertEqual(failed.kind, "NotFound")
        self.assertIn('File "<agent>", line 2, in f\n    return tools.fs.nothing(x=x)', failed.traceback)
        self.assertIn('File "<agent>", line 4, in <module>', failed.traceback)
        self.assertNotIn("toolbox", failed.traceback)
        self.assertEqual(failed.traceback.count("File "), 2)

    def test_modules_have_theirs(self) -> None:
        failed = self.failure(
            "import a.b\ntry:\n    a.b.f()\nexcept ValueError as e:\n    raise KeyError('k') from e",
            modules={"a.b": "def f():\n    raise ValueError('v')"},
        )
        self.assertIn("File \"a/b.py\", line 2, in f\n    raise ValueError('v')", failed.traceback)
        self.assertIn("direct cause", failed.traceback)

    def test_syntax_errors_have_line_and_caret(self) -> None:
        failed = self.failure("x = 1\ny = (2,\n")
        self.assertEqual((failed.kind, failed.message), ("SyntaxError", "'(' was never closed (<agent>, line 2)"))
        self.assertIn("y = (2,\n", failed.traceback)
        self.assertIn("^", failed.traceback)
        for source in (
            "yield 1",
            "x = [(yield)]",
            "a\0b",
            "break",
            "nonlocal q",
            "(" * 5000,
            "return " + "[" * 90 + "]" * 90,
        ):
            self.assertEqual(self.failure(source).kind, "SyntaxError", source[:20])
        self.assertEqual(self.value(f"len({'(' * 500!r})"), 500)

    def test_the_hosts_error_is_the_cause(self) -> None:
        self.host.deny("tool:fs.glob")
        cause = self.failure("tools.fs.glob(pattern='*')").cause
        self.assertEqual(
            (cause.value.capability, cause.value.gate, cause.value.unlock),
            ("tool:fs.glob", shapes.Gate.GRANT, shapes.Unlock.ASK_OPERATOR),
        )
        self.host.add_tool("sh.make", lambda: ToolOutput("bad", is_error=True))
        failed = self.failure("tools.sh.make()")
        self.assertEqual(
            (failed.kind, failed.message, failed.cause), ("ToolFailed", "tool 'sh.make' failed: bad", None)
        )

    def test_a_failed_call_can_be_caught(self) -> None:
        self.assertEqual(
            self.value(
                "from animus.errors import NotFound\ntry:\n    tools.no.no()\nexcept NotFound as e:\n    return e.tool"
            ),
            "no.no",
        )

    def test_hints_lead_on(self) -> None:
        for source, hint in [
            ("ToolFailed", "did you forget `from animus.errors import ToolFailed`?"),
            ("Record", "did you forget `from animus import Record`?"),
            ("import numpie_", "the standard library and no other packages"),
            ("import tools", "did you mean `from animus import tools`?"),
            ("from animus import fs", "a tool is an attribute of tools"),
            ("import animus.fs", "`from animus import tools`"),
            ("tools.fs.read_file(path='x').text", "a tool without structured data returns a str"),
        ]:
            self.assertIn(hint, self.failure(source).message, source)

    def test_an_exit_is_an_end(self) -> None:
        self.assertEqual(self.value("import sys\nsys.exit(0)\n1/0"), None)
        self.assertEqual(self.failure("import sys\nsys.exit('no')").kind, "SystemExit")
        self.assertEqual(self.failure("raise KeyboardInterrupt").kind, "KeyboardInterrupt")

    def test_data_of_a_tool_that_cannot_be_read_is_its_failure(self) -> None:
        self.host.add_tool("x.deep", lambda: ToolOutput("t"))
        for structured in ("[" * 9000, "{"):
            answer = shapes.ToolResult("t", structured, [], False)
            with unittest.mock.patch("animus.plugin.result", return_value=answer):
                self.assertIn("tool 'x.deep' failed: its data cannot be read", self.failure("tools.x.deep()").message)

    def test_hostile_programs_fail_like_others(self) -> None:
        for source, kind in [
            ("def f(): return f()\nf()", "RecursionError"),
            ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "E"),
            ("raise Exception('x' * 10_000_000)", "Exception"),
            ("raise type('K' * 10, (BaseException,), {})", "K" * 10),
            (
                "class M(type):\n    __name__ = property(lambda s: 1/0)\nclass E(Exception, metaclass=M): pass\nraise E",
                None,
            ),
            ("e = Exception('a')\ne.__context__ = e\nraise e", "Exception"),
            ("raise ExceptionGroup('g', [ValueError(i) for i in range(1000)])", "ExceptionGroup"),
            ("e = ValueError()\nfor i in range(3000):\n    n = ValueError(i); n.__cause__ = e; e = n\nraise e", None),
            ("import sys\nsys.setrecursionlimit(50)\n" + "def f(): return f()\nf()", None),
            ("import linecache\nlinecache.getlines = None\n1/0", None),
            ("del __builtins__\nprint", None),
            ("import builtins\ndel builtins.print\nprint(1)", "NameError"),
            ("x = '''" + "(" * 3000 + "'''\n1/0", "ZeroDivisionError"),
        ]:
            with self.subTest(source[:60]):
                limit, prints, lines = sys.getrecursionlimit(), print, __import__("linecache").getlines
                try:
                    found = self.outcome(source)
                finally:
                    sys.setrecursionlimit(limit)
                    __import__("builtins").print = prints
                    __import__("linecache").getlines = lines
                if kind:
                    self.assertEqual(found.failure.kind, kind)
                if found.failure:
                    self.assertLessEqual(len(found.failure.message), 4_100)
                    self.assertLessEqual(len(found.failure.traceback), 16_100)


if __name__ == "__main__":
    unittest.main()
