import json
import pickle
import unittest
from unittest import mock

from test_run import Running  # It says where the packages are.

from animus_python import session


class Sessions(Running):
    def runs(self, *sources: str) -> list:
        """The outcomes of the runs of one session."""
        state, found = b"", []
        for source in sources:
            found.append(self.outcome(source, state=state))
            state = found[-1].state
            self.assertIsInstance(state, bytes)
        return found

    def last(self, *sources: str) -> object:
        found = self.runs(*sources)[-1]
        self.assertIsNone(found.failure, found.failure)
        return json.loads(found.value)

    def test_without_a_session_nothing_is_kept(self) -> None:
        self.assertIsNone(self.outcome("x = 1").state)

    def test_data_is_kept_with_its_identities(self) -> None:
        self.assertEqual(self.last("a = [1]\nb = {'a': a}\nn = 5", "a.append(2)\nreturn [b, n]"), [{"a": [1, 2]}, 5])

    def test_imports_functions_and_classes_are_kept(self) -> None:
        first = """
import math as m, collections.abc
from decimal import Decimal
from dataclasses import dataclass
from animus import tools as t
LIMIT = 3
@dataclass
class Point:
    x: int
    def double(self): return Point(2 * self.x)
def area(n=LIMIT): return m.floor(n) * helper(n)
def helper(n): return n + 1
async def read(): return await t.fs.read_file("x")
square = lambda v: v * v
here = [Point(1)]
"""
        second = "return [area(), here[0].double(), isinstance(here[0], Point), square(3), str(Decimal('1.0')), await read(), t.fs.glob('*')[0]]"
        expected = [12, {"x": 2}, True, 9, "1.0", "text of x", "a.md"]
        self.assertEqual(self.last(first, second), expected)
        self.assertEqual(
            self.last(first, "pass", "area = 1", "LIMIT += 1", second.replace("area()", "area")), [1, *expected[1:]]
        )

    def test_tools_under_other_names_and_their_data_are_kept(self) -> None:
        self.host.add_tool("fs.stat", lambda path: {"size": 3}, output_schema={"type": "object"})
        first = "t = tools\nfs = tools.fs\nread = tools.fs.read_file\nfound = [tools.fs.stat(path='x')]"
        second = "return [t is tools, fs.glob('*')[0], read('x'), found[0].size]"
        self.assertEqual(self.last(first, "1", second), [True, "a.md", "text of x", 3])

    def test_what_cannot_be_kept_is_named_in_one_line(self) -> None:
        found = self.runs("g = (i for i in [1])\nimport sqlite3\ndb = sqlite3.connect(':memory:')\nx = 1", "x")
        self.assertEqual(found[0].stderr, "session: not kept for the next run: g (generator), db (Connection)\n")
        self.assertEqual(found[1].value, "1")

    def test_a_failure_keeps_what_was_done(self) -> None:
        found = self.runs("x = 1\n1/0", "y = (", "x")
        self.assertEqual(
            [f.failure.kind if f.failure else None for f in found], ["ZeroDivisionError", "SyntaxError", None]
        )
        self.assertEqual(found[2].value, "1")

    def test_making_a_definition_again_has_no_effects(self) -> None:
        first = "def f(x=tools.fs.read_file('a')): return x\nclass C:\n    print('made')\n    y = 1\nz = 2"
        found = self.runs(first, "z")
        self.assertEqual((found[1].value, found[1].stdout), ("2", ""))
        self.assertIn("f (function), C (type)", found[0].stderr)
        self.assertEqual(len(self.host.calls), 1)

    def test_a_deleted_name_is_gone(self) -> None:
        self.assertEqual(self.runs("x = 1\ndef f(): pass", "del x, f", "x")[-1].failure.kind, "NameError")

    def test_a_state_that_is_too_large_leaves_the_session_as_it_was(self) -> None:
        found = self.runs("x = 1", "big = 'y' * 5_000_000", "y = b'z' * 50_000_000", "x")
        self.assertIn("largest: big (5,0", found[1].failure.message)
        self.assertEqual(found[1].failure.kind, "TooLarge")
        self.assertEqual(found[1].state, found[0].state)
        self.assertEqual(found[2].failure.kind, "TooLarge")
        self.assertEqual(found[3].value, "1")

    def test_a_state_that_cannot_be_read_is_a_failure(self) -> None:
        for state in (b"rubbish", pickle.dumps([1]), pickle.dumps({"definitions": {}})):
            found = self.outcome("1", state=state)
            self.assertIn("begin a new session", found.failure.message)

    def test_tracebacks_show_lines_of_earlier_runs(self) -> None:
        found = self.runs("def f(x):\n    return 1 / x", "f(0)")
        self.assertIn('File "<earlier>", line 2, in f\n    return 1 / x', found[1].failure.traceback)

    def test_only_the_session_is_unpickled(self) -> None:
        with mock.patch.object(session.pickle, "loads", side_effect=AssertionError):
            self.assertEqual(self.outcome("1", state=b"").value, "1")


if __name__ == "__main__":
    unittest.main()
