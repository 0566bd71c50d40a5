import pathlib
import sys
import types
import unittest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent.parent / "sdk-python")]

from animus_python import snapshot  # noqa: E402


def counted(n: int) -> int:
    return n + 1


class Alive(unittest.TestCase):
    def test_all_is_found_that_python_reaches_and_no_frame(self) -> None:
        found = list(snapshot._alive())
        ids = set(map(id, found))
        self.assertEqual(len(ids), len(found))
        code = counted.__code__
        for one in (types, counted, code, code.co_consts, code.co_qualname, "counted", str.join, Alive, vars(types)):
            self.assertIn(id(one), ids, one)
        self.assertFalse([one for one in found if isinstance(one, types.FrameType)])


class Gathered(unittest.TestCase):
    def test_code_that_counts_is_copied_and_does_the_same(self) -> None:
        idle, counting = snapshot._fill.__code__, counted.__code__
        # CPython counts the calls of a new function, and rewrites it then for what it meets.
        snapshot._gather(lambda: [counted(n) for n in range(50)])
        self.assertIs(snapshot._fill.__code__, idle)
        self.assertIsNot(counted.__code__, counting)
        self.assertEqual(counted.__code__, counting)
        self.assertEqual(counted(2), 3)
