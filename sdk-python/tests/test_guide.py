"""The examples of the plugin author's guide are run."""

import importlib
import pathlib
import re
import sys
import tempfile
import types
import unittest

SDK = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(SDK))

from animus import plugin  # noqa: E402
from animus.testing import FakeHost, call  # noqa: E402

GUIDE = (SDK.parent / "docs" / "plugin-authors-guide.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


class Guide(unittest.TestCase):
    def load(self, name: str, source: str) -> types.ModuleType:
        """The module of an example, from a folder of its own."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / f"{name}.py").write_text(source)
        sys.path.insert(0, str(folder))
        self.addCleanup(sys.path.remove, str(folder))
        self.addCleanup(sys.modules.pop, name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def test_the_examples_are_those_that_are_run_here(self) -> None:
        self.assertEqual(len(EXAMPLES), 3)

    def test_the_tool_counts_and_is_described(self) -> None:
        app = self.load("app", EXAMPLES[0])
        definition = plugin.export(app)().list_tools()[0]
        self.assertEqual(definition.description, "Counts how often a word occurs in a text.")
        for text in ("The text to look through.", "The word to look for.", "Default: any."):
            self.assertIn(text, definition.input_schema)
        self.assertIn("How often the word occurs.", definition.output_schema)
        with FakeHost():
            self.assertEqual(call(app, "count", {"text": "a b A", "word": "a"}), {"count": 2, "case": "any"})
            with self.assertRaisesRegex(Exception, "arguments of 'count': unknown 'txt'"):
                call(app, "count", {"txt": "a b A", "word": "a"})

    def test_the_tests_of_the_example_pass(self) -> None:
        self.load("app", EXAMPLES[1])
        tests = unittest.defaultTestLoader.loadTestsFromModule(self.load("test_digest", EXAMPLES[2]))
        result = unittest.TestResult()
        tests.run(result)
        self.assertEqual((result.testsRun, result.errors, result.failures), (2, [], []))


if __name__ == "__main__":
    unittest.main()
