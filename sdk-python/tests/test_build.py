import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SDK = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(SDK / "build")]

import builder
import component
import snapshot
from component import section, text, u32, vec

SOCKETS = "wasi:sockets/tcp@0.2.9"


def instance(name: str, type_: int) -> bytes:
    return b"\0" + text(name) + b"\x05" + u32(type_)


def sample() -> bytes:
    """A component that imports two instances, takes a function and a type of each, and instantiates a component."""
    core = component.CORE_HEADER
    core += section(1, vec([b"\x60" + vec([b"\x7f", b"\x7e"]) + vec([b"\x7f"])]))
    core += section(2, vec([text("wasi:sockets/tcp@0.2.0") + text("[method]tcp-socket.bind") + b"\0\0"]))
    aliases = [
        b"\x01\0" + u32(0) + text("now"),
        b"\x01\0" + u32(1) + text("[method]tcp-socket.bind"),
        b"\x03\0" + u32(1) + text("tcp-socket"),
    ]
    out = component.HEADER + section(0, text("note") + b"kept")
    out += section(component.IMPORT, vec([instance("wasi:clocks/wall-clock@0.2.9", 0), instance(SOCKETS, 1)]))
    out += section(component.CORE_MODULE, core) + section(component.ALIAS, vec(aliases))
    out += section(component.COMPONENT, component.HEADER) + section(component.INSTANCE, vec([b"\0" + u32(0) + vec([])]))
    return out + section(component.EXPORT, vec([b"\0" + text("animus:tool/tools@0.1.0") + b"\x05\x02\0"]))


class Without(unittest.TestCase):
    def test_a_dropped_import_becomes_an_instance_that_traps(self) -> None:
        before = sample()
        after = component.without(before, lambda name: name.startswith("wasi:sockets/"))
        self.assertEqual(component.imports(before), ["wasi:clocks/wall-clock@0.2.9", SOCKETS])
        self.assertEqual(component.imports(after), ["wasi:clocks/wall-clock@0.2.9"])
        self.assertEqual(component.exports(after), ["animus:tool/tools@0.1.0"])
        sections = [(n, r.data[r.at : r.end]) for n, _, r in component.Reader(after).sections(component.HEADER)]
        # The clock, the stand-in and its instance, then all as it was; the component that was the first is the second.
        self.assertEqual([n for n, _ in sections], [0, 10, 4, 5, 1, 6, 4, 5, 11])
        self.assertEqual(sections[3][1], vec([b"\0" + u32(0) + u32(0)]))
        self.assertEqual(sections[7][1], vec([b"\0" + u32(1) + u32(0)]))
        aliases = sections[5][1]
        self.assertIn(text("now"), aliases)
        self.assertIn(u32(1) + text("f0"), aliases)
        self.assertIn(u32(1) + text("t0"), aliases)
        self.assertEqual(component.exports(sections[2][1]), ["f0", "t0"])

    def test_nothing_to_drop_changes_nothing(self) -> None:
        self.assertEqual(component.without(sample(), lambda name: False), sample())

    def test_what_is_no_component_is_malformed(self) -> None:
        for data in (b"", b"\0asm\x01\0\0\0", sample()[:-3], component.HEADER + b"\x0a\x7f"):
            with self.assertRaises(component.Malformed):
                component.without(data, lambda name: True)


def heap(*segments: tuple[int, bytes]) -> bytes:
    """A component whose core module has this data."""
    data = [b"\0\x41" + s32(at) + b"\x0b" + u32(len(held)) + held for at, held in segments]
    return component.HEADER + section(component.CORE_MODULE, component.CORE_HEADER + section(11, vec(data)))


def s32(value: int) -> bytes:
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value & 0x7F]))


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


class Immortal(unittest.TestCase):
    NONE = 7 << 28

    def left(self, *addresses: int) -> tuple[int, bytes]:
        return 4096, snapshot.MARK + words(4 * len(addresses), *addresses)

    def test_the_counts_of_what_was_left_become_those_of_immortal_objects(self) -> None:
        objects = words(3, 9, 1, 9, self.NONE, 9)
        before = heap(self.left(64, 80), (64, objects), (60, words(5)))
        after = snapshot.immortal(before)
        self.assertEqual(after, before.replace(objects, words(5 << 28, 9, 1, 9, self.NONE, 9)))

    def test_a_count_that_is_partly_in_no_segment_stays(self) -> None:
        before = heap(self.left(64, 72, 80), (64, words(3, 9, self.NONE, 9)), (80, b"\x01\0"))
        self.assertIn(b"\x02\x01\0", snapshot.immortal(before))

    def test_what_is_no_object_is_malformed(self) -> None:
        for addresses, held in [
            ((64, 68), words(0, self.NONE)),  # Nothing has no references.
            ((64, 68), words(1 << 25, self.NONE)),
            ((64,), words(3)),  # No object that CPython made immortal.
            ((64,), words(self.NONE)),
            ((), words(3)),
        ]:
            with self.assertRaises(component.Malformed, msg=f"{addresses} {held!r}"):
                snapshot.immortal(heap(self.left(*addresses), (64, held)))
        with self.assertRaises(component.Malformed):
            snapshot.immortal(heap((4096, snapshot.MARK + words(8, 64)), (64, words(3))))
        with self.assertRaises(component.Malformed):
            snapshot.immortal(sample())


class Building(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "app.py").write_text("")
        (self.folder / "plugin.toml").write_text('[capabilities]\ntool = ["fs.*"]\n')

    def build(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-B", str(SDK / "build"), str(self.folder), "--target", str(self.folder / "target")]
        command += ["--out", str(self.folder / "out.wasm")]
        return subprocess.run(command, capture_output=True, text=True)

    def test_a_command_that_fails_is_told_with_what_it_said(self) -> None:
        with self.assertRaisesRegex(builder.Failed, r"(?s)install x: failed; the command was: .*-c .*\nno index$"):
            builder._run([sys.executable, "-c", "raise SystemExit('no index')"], "install x")
        with self.assertRaisesRegex(builder.Failed, "install x: .*No such file.*; the command was: /no/python -m pip"):
            builder._run(["/no/python", "-m", "pip"], "install x")

    def test_what_it_cannot_build_is_told_first(self) -> None:
        (self.folder / "plugin.toml").write_text('[capabilities]\nhttp = { methods = ["GET"] }\n')
        self.assertIn("the capability 'http' has no Python form", self.build().stderr)
        (self.folder / "plugin.toml").write_text("[")
        self.assertIn("read plugin.toml", self.build().stderr)
        (self.folder / "app.py").unlink()
        self.assertIn("no app.py in it", self.build().stderr)

    def test_its_world_imports_what_is_asked_for(self) -> None:
        builder._world(self.folder / "wit", SDK.parent / "wit", ["tool"], "animus:tool/tools")
        world = (self.folder / "wit" / "built.wit").read_text()
        self.assertIn("import animus:tool/tool@0.1.0;", world)
        self.assertNotIn("memory", world)

    def test_the_key_is_of_the_inputs(self) -> None:
        wit = SDK.parent / "wit"
        before = builder._digest(self.folder, wit, "")
        (self.folder / "target").mkdir()
        (self.folder / "target" / "x").write_text("built")
        self.assertEqual(builder._digest(self.folder, wit, ""), before)
        (self.folder / "README.md").write_text("x")
        (self.folder / "plugin.toml").write_text("[limits]\nwall_ms = 1\n")
        self.assertEqual(builder._digest(self.folder, wit, ""), before)
        (self.folder / "app.py").write_text("x = 1")
        self.assertNotEqual(builder._digest(self.folder, wit, ""), before)

    def test_an_app_that_cannot_be_imported_is_told_by_its_own_lines(self) -> None:
        said = """componentize x: failed; the command was: …
Traceback (most recent call last):
  File "/venv/bin/componentize-py", line 8, in <module>
AssertionError: Traceback (most recent call last):
  File "/2/animus_entry.py", line 1, in <module>
    import app
  File "/0/app.py", line 17
    def broken(:
               ^
SyntaxError: invalid syntax


Caused by:
    SyntaxError: invalid syntax (app.py, line 17)

Stack backtrace:
   0: <anyhow::Error>::msg"""
        told = builder._of_app(said, [pathlib.Path("/home/x"), SDK])
        self.assertEqual(
            told.splitlines(),
            [
                "Traceback (most recent call last):",
                '  File "/home/x/app.py", line 17',
                "    def broken(:",
                "               ^",
                "SyntaxError: invalid syntax",
            ],
        )
        self.assertEqual(builder._of_app("no index", [self.folder]), "no index")

    def test_no_backtrace_of_the_compiler_hides_what_the_author_did(self) -> None:
        heard = builder._environ({"RUST_BACKTRACE": "full", "PYTHONPATH": "/x", "HOME": "/home/x"})
        self.assertEqual(heard, {"HOME": "/home/x", "RUST_BACKTRACE": "0", "RUST_LIB_BACKTRACE": "0"})

    def test_what_cannot_be_a_tool_is_told_by_the_file_that_the_author_has(self) -> None:
        said = """AssertionError: Traceback (most recent call last):
  File "/2/animus_entry.py", line 7, in <module>
    Tools = plugin.export(app)
  File "/1/animus/plugin.py", line 190, in export
    definitions = []
animus.schema.Unsuitable: 'f' has no docstring (File "/0/app.py", line 3)"""
        told = builder._of_app(said, [pathlib.Path("/home/x"), SDK])
        last = told.splitlines()[-1]
        self.assertEqual(last, """animus.schema.Unsuitable: 'f' has no docstring (File "/home/x/app.py", line 3)""")

    def test_what_killed_builds_left_goes_after_an_hour(self) -> None:
        old, new = self.folder / "build-old", self.folder / "build-new"
        for left in (old, new):
            left.mkdir()
            (left / "x").write_text("")
        os.utime(old, (0, 0))
        builder._tidy(self.folder)
        self.assertFalse(old.exists())
        self.assertTrue(new.exists())


if __name__ == "__main__":
    unittest.main()
