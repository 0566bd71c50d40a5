import json
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock
from dataclasses import dataclass

SDK = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(SDK))

from animus import errors, tool, tools  # noqa: E402
from animus.plugin import ToolOutput, export  # noqa: E402
from animus.schema import Unsuitable  # noqa: E402
from animus.testing import FakeHost, call  # noqa: E402


@dataclass
class Count:
    words: int


@tool(read_only=True, name="count")
def count_words(path: str) -> Count:
    """Counts words.

    Args:
        path: Where.

    Returns:
        How many.
    """
    return Count(len(tools.fs.read_file(path=path).split()))


@tool
async def double(values: list[int]) -> list[int]:
    """Doubles."""
    return [2 * v for v in values]


@tool(idempotent=True, destructive=False, open_world=True)
def check(name: str) -> ToolOutput:
    """Checks."""
    return ToolOutput(f"{name} is bad", is_error=True)


@tool
def crash() -> None:
    """Crashes."""
    raise KeyError("lost")


@tool
def lie() -> int:
    """Promises a number."""
    return "none"  # type: ignore[return-value]


def module(**functions: object) -> types.ModuleType:
    found = types.ModuleType("app")
    vars(found).update(functions)
    return found


APP = module(count_words=count_words, double=double, check=check, crash=crash, lie=lie, helper=len)


class Definitions(unittest.TestCase):
    def test_marked_functions_are_tools(self) -> None:
        found = {d.name: d for d in export(APP)().list_tools()}
        self.assertEqual(list(found), ["count", "double", "check", "crash", "lie"])
        self.assertEqual(found["count"].description, "Counts words.")
        self.assertEqual(json.loads(found["count"].input_schema)["properties"]["path"]["description"], "Where.")
        self.assertEqual(json.loads(found["count"].output_schema)["required"], ["words"])
        self.assertEqual(json.loads(found["double"].output_schema)["required"], ["result"])
        self.assertIsNone(found["check"].output_schema)

    def test_annotations_are_as_marked_and_cautious_without(self) -> None:
        found = {d.name: d.annotations for d in export(APP)().list_tools()}
        shown = {n: (a.read_only, a.idempotent, a.destructive, a.open_world) for n, a in found.items()}
        self.assertEqual(shown["count"], (True, False, False, False))
        self.assertEqual(shown["double"], (False, False, True, False))
        self.assertEqual(shown["check"], (False, True, False, True))

    def test_what_cannot_be_a_tool_is_refused_when_built(self) -> None:
        @tool
        def silent(a: int) -> int:
            return a

        @tool
        def Loud() -> None:
            """Shouts."""

        @tool
        def untyped(a) -> None:  # noqa: ANN001
            """Takes."""

        for function, why in ((silent, "no docstring"), (Loud, "no name of a tool"), (untyped, "'a' has no type hint")):
            with self.assertRaisesRegex(Unsuitable, why) as refused:
                export(module(f=function))
            line = function.__code__.co_firstlineno
            self.assertIn(f' (File "{__file__}", line {line})', str(refused.exception))
        with self.assertRaisesRegex(Unsuitable, "no tools"):
            export(module())


class Calls(unittest.TestCase):
    def setUp(self) -> None:
        self.host = self.enterContext(FakeHost())
        self.host.add_tool("fs.read_file", lambda path: "three words here")

    def test_values_go_through_json(self) -> None:
        self.assertEqual(call(APP, "count", {"path": "a"}), {"words": 3})
        self.assertEqual(call(APP, "double", {"values": [1, 2]}), [2, 4])

    def test_errors_reach_the_caller_as_they_are(self) -> None:
        with self.assertRaisesRegex(errors.Invalid, r"arguments of 'count': missing 'path'; it takes \{path\}"):
            call(APP, "count", {})
        with self.assertRaisesRegex(errors.NotFound, "no tool 'count_words'; there are count, "):
            call(APP, "count_words", {})
        self.host.deny("tool:fs.*")
        with self.assertRaises(errors.Denied):
            call(APP, "count", {"path": "a"})

    def test_a_reported_failure_and_a_crash(self) -> None:
        with self.assertRaisesRegex(errors.ToolFailed, "x is bad"):
            call(APP, "check", {"name": "x"})
        with unittest.mock.patch("sys.stderr"), self.assertRaisesRegex(errors.Internal, "crash: KeyError: 'lost'"):
            call(APP, "crash")

    def test_an_answer_that_breaks_its_promise_is_found(self) -> None:
        with self.assertRaisesRegex(errors.Invalid, "must be integer"):
            call(APP, "lie")


class Template(unittest.TestCase):
    def test_its_own_tests_pass(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for source in (SDK / "template").rglob("*.*"):
                copy = pathlib.Path(folder) / source.relative_to(SDK / "template")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(source.read_text().replace("{{name}}", "hello").replace("{{sdk}}", str(SDK)))
            command = [sys.executable, "-B", "-m", "unittest", "discover", "-s", "tests"]
            done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(SDK)}, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("Ran 2 tests", done.stderr)


if __name__ == "__main__":
    unittest.main()
