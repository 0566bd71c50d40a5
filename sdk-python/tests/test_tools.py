import inspect
import io
import pathlib
import pydoc
import sys
import typing
import unittest
from contextlib import redirect_stdout

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from animus import children, errors, ledger, llm, memory, tools  # noqa: E402
from animus.plugin import ToolOutput  # noqa: E402
from animus.testing import FakeHost  # noqa: E402


def read_file(path: str, limit: int | None = None) -> str:
    """Reads a file of the workspace.

    Args:
        path: Which file.
        limit: At most so many lines.
    """
    return f"{path}: {limit}"


def stat(path: str) -> dict:
    """Tells about a file."""
    return {"size": 3, "owner": {"name": path}}


def glob(pattern: str) -> list[str]:
    """Finds files."""
    return [pattern, pattern]


class Host(unittest.TestCase):
    def setUp(self) -> None:
        self.host = self.enterContext(FakeHost())
        self.host.add_tool("fs.read_file", read_file)
        self.host.add_tool("fs.stat", stat)
        self.host.add_tool("fs.glob", glob)
        self.host.add_tool("my-plugin.run", lambda: "ran")


class Calls(Host):
    def test_by_name_it_asks_the_host_for_nothing_else(self) -> None:
        self.assertEqual(tools.fs.read_file(path="a"), "a: None")
        self.assertEqual(self.host.asked, ["tool.call"])

    def test_by_position_the_schema_says_which(self) -> None:
        self.assertEqual(tools.fs.read_file("a", 2), "a: 2")
        self.assertEqual(self.host.calls, [("fs.read_file", {"path": "a", "limit": 2})])
        with self.assertRaisesRegex(errors.Invalid, "it takes 2 arguments"):
            tools.fs.read_file("a", 2, 3)
        with self.assertRaisesRegex(errors.Invalid, "'path' is given twice"):
            tools.fs.read_file("a", path="b")

    def test_by_a_name_in_text(self) -> None:
        self.assertEqual(tools.call("fs.read_file", {"path": "a"}), "a: None")
        self.assertEqual(tools["fs.read_file"](path="a"), "a: None")

    def test_a_hyphen_is_an_underscore(self) -> None:
        self.assertEqual(tools.my_plugin.run(), "ran")
        self.assertEqual(dir(tools.my_plugin), ["run"])

    def test_data_is_data(self) -> None:
        found = tools.fs.stat(path="a")
        self.assertEqual((found.size, found["size"], found.owner.name), (3, 3, "a"))
        with self.assertRaisesRegex(AttributeError, "no 'length'; it has size, owner"):
            self.fail(found.length)
        self.assertEqual(tools.fs.glob(pattern="x"), ["x", "x"])

    def test_values_of_python_become_json(self) -> None:
        self.host.add_tool("x.y", lambda **args: "ok")
        tools.x.y(path=pathlib.PurePosixPath("a/b"), names={"b", "a"})
        self.assertEqual(self.host.calls[-1][1], {"path": "a/b", "names": ["a", "b"]})
        with self.assertRaisesRegex(
            errors.Invalid, r"tool 'x.y' failed: arguments\['f'\] is of type builtin_function_or_method"
        ):
            tools.x.y(f=print)


class Failures(Host):
    def test_wrong_arguments_list_the_right_ones(self) -> None:
        with self.assertRaises(errors.Invalid) as caught:
            tools.fs.read_file(pth="a")
        self.assertRegex(
            str(caught.exception), r"^tool 'fs.read_file' failed: .*path.*its parameters: \(path: str, limit: "
        )
        self.assertEqual(caught.exception.tool, "fs.read_file")

    def test_a_tool_that_reports_failure_raises(self) -> None:
        self.host.add_tool("sh.make", lambda: ToolOutput("2 errors", is_error=True))
        with self.assertRaises(errors.ToolFailed) as caught:
            tools.sh.make()
        self.assertEqual(
            (str(caught.exception), caught.exception.text), ("tool 'sh.make' failed: 2 errors", "2 errors")
        )

    def test_a_refusal_names_tool_gate_and_unlock(self) -> None:
        self.host.deny("tool:fs.stat")
        with self.assertRaises(errors.Denied) as caught:
            tools.fs.stat(path="a")
        denied = caught.exception
        self.assertEqual((denied.capability, denied.gate, denied.unlock), ("tool:fs.stat", "grant", "ask-operator"))
        self.assertIn("tool 'fs.stat' failed: not allowed", str(denied))

    def test_an_unknown_tool_has_neighbours(self) -> None:
        with self.assertRaisesRegex(errors.NotFound, "did you mean fs.read_file"):
            tools.fs.readfile(path="a")
        with self.assertRaisesRegex(TypeError, "'fs' is a plugin, not a tool; it has glob, read_file, stat"):
            tools.fs(path="a")

    def test_errors_of_the_host_are_exceptions_and_back(self) -> None:
        for kind in (
            errors.Timeout,
            errors.Conflict,
            errors.Unavailable,
            errors.BudgetExhausted,
            errors.Cancelled,
            errors.Internal,
        ):

            def fail(kind: type[errors.Error] = kind) -> None:
                raise kind("so")

            self.host.add_tool("x.fail", lambda fail=fail: fail())
            with self.assertRaises(kind) as caught:
                tools.x.fail()
            self.assertIs(type(caught.exception), kind)

    def test_without_a_host_it_says_how_to_test(self) -> None:
        self.host.__exit__()
        try:
            with self.assertRaisesRegex(errors.Unavailable, "FakeHost"):
                tools.fs.read_file(path="a")
        finally:
            self.host.__enter__()


class Looks(Host):
    def test_a_tool_is_a_function_to_inspect_and_help(self) -> None:
        tool = tools.fs.read_file
        self.assertEqual(list(inspect.signature(tool).parameters), ["path", "limit"])
        self.assertTrue(inspect.isfunction(tool))
        self.assertEqual(typing.get_type_hints(tool)["path"], str)
        self.assertEqual(typing.get_type_hints(tools.fs.glob)["return"], list[str])
        text = pydoc.plain(pydoc.render_doc(tool))
        self.assertIn("read_file(path: str, limit: ", text)
        self.assertIn("path: Which file.", text)
        with redirect_stdout(io.StringIO()) as out:
            help(tool)
        self.assertIn("Reads a file of the workspace.", out.getvalue())

    def test_search_describe_list_and_dir(self) -> None:
        self.assertEqual(tools.list(), ["fs.glob", "fs.read_file", "fs.stat", "my-plugin.run"])
        self.assertTrue(tools.search("read file")[0].startswith("tools.fs.read_file(path: str"))
        self.assertEqual(tools.search("zebra"), [])
        self.assertIn("limit: At most so many lines.", tools.describe("fs.read_file"))
        self.assertEqual(tools.describe(tools.fs.read_file), tools.describe("fs.read_file"))
        self.assertTrue({"fs", "my_plugin", "search"} <= set(dir(tools)))
        self.assertEqual(dir(tools.fs), ["glob", "read_file", "stat"])

    def test_schemas_of_strangers_do_no_harm(self) -> None:
        for given in (
            "[]",
            "no json",
            '{"properties": 3}',
            '{"properties": {"a b": {}, "x": true, "class": {"type": 7}}, "required": "x"}',
        ):
            definition = self.host._tools["fs.stat"][0]
            definition.input_schema, definition.output_schema = given, given
            tools._forget()
            self.assertIn("tools.fs.stat(", tools.describe("fs.stat"))


class Others(Host):
    def test_children(self) -> None:
        def work(faculty: str, description: str, params: dict[str, typing.Any]) -> typing.Any:
            if description == "fail":
                raise errors.Invalid("no")
            return {"faculty": faculty, **params} if params else description.upper()

        self.host.add_worker(work)
        ids = [children.spawn("assistant", "a"), children.spawn("assistant", "fail"), children.spawn("x", "b", {"n": 1})]
        first, failed, last = children.await_(ids)
        self.assertEqual((first.state, first.success, first.summary), ("completed", True, "A"))
        self.assertEqual((failed.state, failed.success, failed.error), ("failed", False, "no"))
        self.assertEqual(last.data, {"faculty": "x", "n": 1})
        self.assertEqual(children.check(ids[0])[0], first)
        children.cancel(ids[0])
        with self.assertRaises(errors.NotFound):
            children.await_(["c9"])
        self.host.deny("spawn-child:x")
        with self.assertRaises(errors.Denied):
            children.spawn("x", "c")

    def test_the_ledger(self) -> None:
        self.assertEqual(ledger.append("finding", "it rains"), 1)
        ledger.append("step", "went home")
        self.assertEqual([e.content for e in ledger.read("finding")], ["it rains"])
        self.assertEqual([e.entry_type for e in ledger.read(last_n=1)], ["step"])
        self.assertIn("it rains", ledger.formatted())
        with self.assertRaisesRegex(errors.Invalid, "no type 'fact'; it is one of plan"):
            ledger.append("fact", "x")
        self.host.deny("ledger:append")
        with self.assertRaises(errors.Denied):
            ledger.append("note", "x")

    def test_memory(self) -> None:
        id = memory.store("tea with milk", "preference", ["drink"])
        memory.store("coffee")
        memory.tag(id, "warm")
        found = memory.recall("tea", tags=["warm"])
        self.assertEqual([(i.id, i.kind, i.score) for i in found], [(id, "preference", 1.0)])
        self.assertEqual(memory.recall(source="nobody"), [])
        self.assertEqual(memory.recall(until_ms=1), [])
        self.assertEqual(memory.update(id, "tea without milk", 1), 2)
        self.assertEqual(memory.update(id, "tea without milk", 1), 2)
        with self.assertRaises(errors.Conflict):
            memory.update(id, "coffee", 1)
        self.assertEqual([(v.version, v.content) for v in memory.versions(id)], [(2, "tea without milk"), (1, "tea with milk")])
        self.assertEqual(memory.get(id).version, 2)
        memory.forget(id)
        with self.assertRaises(errors.NotFound):
            memory.get(id)

    def test_models(self) -> None:
        self.host.add_answer("blue")
        near = llm.embed(["tea", "eat", "milk"])
        self.assertEqual(near.vectors[0], near.vectors[1])
        self.assertNotEqual(near.vectors[0], near.vectors[2])
        with self.assertRaises(errors.Invalid):
            llm.embed([" "])
        with self.assertRaises(errors.Invalid):
            llm.embed("one text")
        answer = llm.complete("Name a colour.", model="fast", max_tokens=5)
        self.assertEqual((str(answer), answer.stop), ("blue", "end-turn"))
        self.assertEqual((self.host.requests[0].model, self.host.requests[0].max_tokens), ("fast", 5))
        with self.assertRaises(errors.Unavailable):
            llm.complete([{"role": "user", "content": "more"}])
        with self.assertRaises(errors.Invalid):
            llm.complete([{"role": "system", "content": "x"}])


if __name__ == "__main__":
    unittest.main()
