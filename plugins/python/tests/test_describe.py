import json
import unittest

from test_run import Running  # It says where the packages are.

from animus import shapes
from animus_python import describe


class Describing(Running):
    def described(self, source: str, **modules: str) -> shapes.Description:
        given = [shapes.Module(n.replace("__", "."), s) for n, s in modules.items()]
        self.host.asked.clear()
        found = describe.describe(shapes.Program("skill.py", source, given))
        self.assertEqual(self.host.asked, [], "it asked the host")
        return found

    def uses(self, body: str) -> list[str]:
        found = self.described("import animus\nfrom animus import tools, memory, ledger, llm\n" + body)
        self.assertEqual([p for p in found.problems if "literally" in p.message], [])
        return found.uses

    def problems(self, source: str, **modules: str) -> list[tuple[int, str]]:
        return [(p.line, p.message) for p in self.described(source, **modules).problems]

    GOOD = 'def f(x: int) -> int:\n    """Does."""\n    return x\n'

    def test_public_functions_are_tools(self) -> None:
        found = self.described('''
"""A skill."""
from dataclasses import dataclass
from animus import tool, tools

@dataclass
class Count:
    words: int

def count(path: str, deep: bool = False) -> Count:
    """Counts words.

    Args:
        path: Which file.
    """
    return Count(len(tools.fs.read_file(path=path).split()))

@tool(read_only=True, name="twice")
async def double(values: list[int]) -> list[int]:
    """Doubles."""
    return _helper(values)

def _helper(values): return values
def test_count(): assert True
class Inner:
    def method(self): ...
''')
        self.assertEqual(found.problems, [])
        self.assertEqual([t.name for t in found.tools], ["count", "twice"])
        self.assertEqual(json.loads(found.tools[0].input_schema)["properties"]["path"]["description"], "Which file.")
        self.assertEqual(json.loads(found.tools[0].output_schema)["properties"], {"words": {"type": "integer"}})
        self.assertTrue(found.tools[1].annotations.read_only)
        self.assertEqual(found.uses, ["tool:fs.read_file"])

    def test_uses_are_found_by_name(self) -> None:
        for body, expected in [
            ("tools.fs.read_file(path='x')", ["tool:fs.read_file"]),
            ("def f(): return [tools.fs.glob, tools.web.fetch('x')]", ["tool:fs.glob", "tool:web.fetch"]),
            ("map(tools.fs.stat, [])", ["tool:fs.stat"]),
            ("tools.call('my-plugin.run', {})", ["tool:my-plugin.run"]),
            ("NAME = 'fs.grep'\ntools.call(NAME)\ntools['fs.stat'](path='a')", ["tool:fs.grep", "tool:fs.stat"]),
            ("def g():\n    f = tools.fs\n    return f", ["tool:fs.*"]),
            (
                "f = tools.fs\nread = f.read_file\ndef g(): return f.glob('x'), read('y')",
                ["tool:fs.glob", "tool:fs.read_file"],
            ),
            ("t = tools\nt.a.b()", ["tool:a.b"]),
            ("from animus import tools as t\nt.a.b()", ["tool:a.b"]),
            ("import animus as an\nan.tools.a.b(); an.memory.get('x')", ["memory:read", "tool:a.b"]),
            ("animus.ledger.append('note', 'x'); ledger.read(); ledger.formatted()", ["ledger:append", "ledger:read"]),
            ("from animus import children\nchildren.await_(children.spawn('assistant', 'x'))", ["spawn-child:assistant"]),
            ("import animus\nanimus.children.spawn(faculty='a.b', description='x')", ["spawn-child:a.b"]),
            ("children = [1]\nfor child in children: print(child)", []),
            ("from animus.ledger import append as note\nnote('note', 'x')", ["ledger:append"]),
            ("from animus.memory import recall\ndef f():\n    return recall('x')", ["memory:read"]),
            ("import animus.llm as m\nm.complete('x', 'fast')", ["llm:fast"]),
            ("memory.store('x'); memory.tag('a', 'b'); memory.forget('a')", ["memory:write"]),
            ("memory.update('a', 'b')", ["memory:write"]),
            ("memory.versions('a')", ["memory:read"]),
            ("llm.embed(['a'])", ["llm:embed"]),
            ("near = llm.embed\nnear(['a'])", ["llm:embed"]),
            (
                "llm.complete('x', model='fast'); llm.complete('y'); llm.complete('z', model='')",
                ["llm:default", "llm:fast"],
            ),
            ("def f():\n    from animus import tools as q\n    return q.x.y()", ["tool:x.y"]),
            ("await_ = 1\nasync def f():\n    return await tools.x.y(tools.z.w())", ["tool:x.y", "tool:z.w"]),
            ("tools.search('x'); tools.describe('a.b'); help(tools.a.b); tools.list()", []),
            ("", []),
            ("def f(tools, memory=[]):\n    memory.get('x')\n    return tools.a.b()", []),
            ("def f():\n    ledger = {}\n    return ledger.append('x')", []),
        ]:
            self.assertEqual(self.uses(body), expected, body)

    def test_modules_are_looked_at_too(self) -> None:
        found = self.described(
            self.GOOD + "from lib.a import g\n", lib__a="from animus import tools\ndef g(): tools.x.y()\nimport socket"
        )
        self.assertEqual(found.uses, ["tool:x.y"])
        self.assertEqual([(p.line, p.message) for p in found.problems][0][1].partition(":")[0], "lib/a.py, line 3")

    def test_what_is_computed_is_a_problem(self) -> None:
        for body, why in [
            ("tools.call(x)", "the tool's name is computed"),
            ("tools[x](1)", "the tool's name is computed"),
            ("getattr(tools, x)", "tools is used as a value"),
            ("f = tools.call", "tools.call is used as a value"),
            ("print(f(tools))", "tools is used as a value"),
            ("llm.complete('x', model=x)", "the model is not named literally"),
            ("llm.complete('x', **x)", "the model is not named literally"),
            ("f = llm.complete", "llm.complete is used as a value"),
            ("f(memory)", "memory is used as a value"),
        ]:
            found = self.problems(
                f"from animus import *\n{self.GOOD}def g(x: int, f: int) -> None:\n    '''Does.'''\n    {body}\n"
            )
            self.assertEqual(len(found), 1, (body, found))
            self.assertEqual(found[0][0], 7)
            self.assertIn(why, found[0][1])

    def test_what_keeps_it_from_being_tools_has_its_line(self) -> None:
        for source, line, why in [
            ("x = (", 1, "SyntaxError"),
            ("return 1", 1, "'return' outside function"),
            (self.GOOD + "import socket", 4, "'socket' cannot work: no sockets"),
            (self.GOOD + "import urllib.request", 4, "cannot work"),
            (self.GOOD + "import subprocess as s", 4, "'subprocess' cannot work: no processes"),
            (self.GOOD + "import numpie_", 4, "there is no module 'numpie_'"),
            ("def f(x: int, y):\n    '''Does.'''", 1, "'f': the parameter 'y' has no type hint"),
            ("def f(x: int): return x", 1, "'f' has no docstring"),
            ("def f(x: complex):\n    '''Does.'''", 1, "complex has no JSON Schema"),
            ("def f(*x: int):\n    '''Does.'''", 1, "name each argument"),
            ("def f(x: Missing):\n    '''Does.'''", 1, "Missing"),
            ("def F():\n    '''Does.'''", 1, "no name of a tool"),
            ("x = 1\n" + self.GOOD + "raise ValueError('no')", 5, "importing it raises ValueError: no"),
            (self.GOOD + "from animus import tools\ntools.fs.glob('x')", 5, "importing it raises Denied"),
            ("x = 1", 0, "it has no public function"),
        ]:
            found = self.problems(source)
            self.assertTrue(any(at == line and why in text for at, text in found), (source, found))

    def test_a_guarded_or_harmless_import_is_fine(self) -> None:
        self.assertEqual(
            self.problems(
                self.GOOD
                + "try:\n    import numpie_\nexcept ImportError:\n    numpie_ = None\nimport urllib.parse, json"
            ),
            [],
        )

    def test_it_neither_runs_functions_nor_reaches_the_host(self) -> None:
        found = self.described(
            "import animus\nfor f in (lambda: animus.ledger.append('note', 'x'), lambda: animus.tools.a.b(), lambda: animus.memory.store('x')):\n    try:\n        f()\n    except animus.errors.Denied:\n        pass\n"
            + self.GOOD
        )
        self.assertEqual((found.problems, self.host.entries, self.host.items), ([], [], {}))

    def test_many_problems_are_bounded(self) -> None:
        found = self.described("\n".join(f"def f{i}(x): pass" for i in range(1000)))
        self.assertEqual(len(found.problems), 100)


if __name__ == "__main__":
    unittest.main()
