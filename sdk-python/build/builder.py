"""Builds a Python plugin into a component: `python3 sdk-python/build PLUGIN --target DIR --out FILE.wasm`.

Needs Python 3.11 or later with `venv`, and once the package index, for componentize-py. Says on stderr what it does,
prints nothing else, and leaves FILE alone when nothing changed. The manifest is read for what the plugin asks for: of
the contracts it imports only those.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import component
import snapshot

COMPONENTIZE = "componentize-py==0.25.1"
SDK = Path(__file__).resolve().parent.parent
INTERFACES = {
    "llm": "animus:llm/llm",
    "ledger": "animus:ledger/ledger",
    "memory": "animus:memory/memory",
    "tool": "animus:tool/tool",
    "spawn-child": "animus:spawn-child/spawn-child",
}
"""What a capability of the manifest imports. Others have no Python form yet."""
VERSION = "@0.1.0"
ENTRY = """\
import gc

import app
from animus import host, plugin

host.preload()
Tools = plugin.export(app)
gc.collect()
gc.freeze()
"""
"""The module that exports the tools of a plugin's `app`."""


BESIDE = (
    *("__pycache__", "node_modules", "target", "venv"),
    *("tests", "template", "plugin.toml", "README.md", "pyproject.toml"),
)
"""What in a plugin's folder is not built into it; nor is what is hidden, or a component."""
STALE = 3600
"""After how many seconds what a killed build left is removed."""
_quiet = False


class Failed(Exception):
    """The build failed; the text is one line, or what the tool said."""


def build(
    plugin: Path,
    target: Path,
    out: Path,
    *,
    capabilities: list[str] | None = None,
    export: str = "animus:tool/tools",
    app: str | None = None,
    packages: tuple[str, ...] = (),
    wit: Path | None = None,
    immortal: bool = False,
) -> bool:
    """Build the folder `plugin` to the file `out`; False when it was there already, of the same inputs.

    `capabilities` are those of the plugin's manifest unless given, `app` is the module to export (the tools of the
    plugin's `app` unless given), `packages` are pinned pure-Python packages that the app imports. With `immortal`, the
    app leaves the addresses of what `snapshot.immortal` takes.
    """
    plugin, target, out = plugin.resolve(), target.resolve(), out.resolve()
    wit = wit or SDK.parent / "wit"
    if not (plugin / "app.py").is_file():
        raise Failed(f"build {plugin}: no app.py in it")
    if capabilities is None:
        capabilities = _requested(plugin)
    key = _digest(plugin, wit, repr((capabilities, export, app, packages, immortal, COMPONENTIZE)))
    stamp = out.with_name(out.name + ".key")
    if out.is_file() and stamp.is_file() and stamp.read_text() == f"{key} {_sha(out.read_bytes())}\n":
        return False
    tool = environment(_made(target) / "venv", COMPONENTIZE)
    _tidy(target)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target) as scratch:
        folder = Path(scratch)
        _world(folder / "wit", wit, capabilities, export)
        # Copies, because componentize-py leaves compiled files beside the sources.
        paths = [_copied(plugin, folder / "plugin"), _copied(SDK / "animus", folder / "sdk" / "animus").parent]
        if app is None:
            app = "animus_entry"
            (folder / "entry").mkdir()
            (folder / "entry" / f"{app}.py").write_text(ENTRY)
            paths.append(folder / "entry")
        if packages:
            paths.append(_packages(target, tool, packages))
        _say(f"componentize {plugin.name}: some 20 seconds")
        made = folder / "out.wasm"
        command = [
            str(tool.with_name("componentize-py")),
            "-q",
            "-d",
            str(folder / "wit"),
            "-w",
            "built",
            "componentize",
            app,
        ]
        command += [*(a for p in paths for a in ("-p", str(p))), "-o", str(made)]
        try:
            _run(command, f"componentize {plugin.name}", _environ(os.environ), folder)
        except Failed as error:
            raise Failed(_of_app(str(error), [plugin, SDK])) from None
        data = made.read_bytes()
        if immortal:
            data = snapshot.immortal(data)
        data = component.without(data, lambda name: name.startswith("wasi:sockets/"))
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, data)
    _write(stamp, f"{key} {_sha(data)}\n".encode())
    contracts = ", ".join(name for name in component.imports(data) if name.startswith("animus:"))
    _say(f"{out.name}: {len(data) / 1e6:.1f} MB; imports {contracts}")
    return True


def _environ(outer: Mapping[str, str]) -> dict[str, str]:
    """What componentize-py hears of the environment.

    The wheels of the machine's own Python are not the plugin's, and a backtrace of componentize-py itself would hide
    what the author did wrong.
    """
    kept = {k: v for k, v in outer.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return {**kept, "RUST_BACKTRACE": "0", "RUST_LIB_BACKTRACE": "0"}


def _copied(source: Path, copy: Path) -> Path:
    shutil.copytree(source, copy, ignore=lambda _, names: {name for name in names if _is_beside(name)})
    return copy


def _is_beside(name: str) -> bool:
    return name in BESIDE or name.startswith(".") or name.endswith(".wasm")


def _tidy(target: Path) -> None:
    for left in target.glob("build-*"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - STALE:
                shutil.rmtree(left)


def _of_app(said: str, roots: list[Path]) -> str:
    """Of what componentize-py says when the app cannot be imported, what the app's author can use.

    That is the traceback inside the component, which calls the first of the given paths `/0`, the next one `/1`.
    """
    raised = re.search(r"AssertionError: (Traceback .*?)(?:\n\s*\nCaused by:|\n\s*\nStack backtrace:|$)", said, re.DOTALL)
    if raised is None:
        return said
    lines = raised[1].strip().splitlines()
    entry = next((i for i, line in enumerate(lines) if re.match(r'  File "/\d+/animus_entry.py", line ', line)), None)
    if entry is not None:
        # The module above the app is no matter of its author; its frame is two lines.
        del lines[entry : entry + 2]
    text = "\n".join(lines)
    for i, root in enumerate(roots):
        text = text.replace(f'File "/{i}/', f'File "{root}/')
    return text


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other build makes what this file stands for."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def environment(folder: Path, *packages: str) -> Path:
    """The Python of a virtual environment with these packages, made unless a stamp says that it is there."""
    python, stamp = folder / "bin" / "python", folder / "animus-stamp"
    wanted = "\n".join(packages)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if not (stamp.is_file() and stamp.read_text() == wanted and python.exists()):
            _make_environment(folder, python, packages)
            _write(stamp, wanted.encode())
    return python


def _make_environment(folder: Path, python: Path, packages: tuple[str, ...]) -> None:
    _say(f"making {folder} with {', '.join(packages)}")
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise Failed(
            "this Python has no venv: install it (on Debian: apt install python3-venv), then build again"
        ) from None
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], "make the virtual environment")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    _run(command, f"install {', '.join(packages)} (needs the Python package index)")


def _packages(target: Path, python: Path, packages: tuple[str, ...]) -> Path:
    folder = target / "packages"
    stamp, wanted = folder / "animus-stamp", "\n".join(packages)
    if not stamp.is_file() or stamp.read_text() != wanted:
        command = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--upgrade",
            "--no-deps",
        ]
        _run(
            [*command, "--target", str(folder), *packages],
            f"install {', '.join(packages)} (needs the Python package index)",
        )
        _write(stamp, wanted.encode())
    return folder


def _requested(plugin: Path) -> list[str]:
    manifest = plugin / "plugin.toml"
    try:
        asked = tomllib.loads(manifest.read_text()).get("capabilities", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Failed(f"build {plugin}: read {manifest.name}: {error}") from None
    other = sorted(set(asked) - INTERFACES.keys())
    if other:
        raise Failed(
            f"build {plugin}: the capability '{other[0]}' has no Python form; there are {', '.join(INTERFACES)}"
        )
    return sorted(asked)


def _world(folder: Path, wit: Path, capabilities: list[str], export: str) -> None:
    """A world that imports what is asked for, beside the contracts."""
    deps = folder / "deps"
    for source in sorted(wit.glob("deps/*/*.wit")):
        copy = deps / source.parent.name / source.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    imports = ["animus:types/types", *(INTERFACES[c] for c in capabilities)]
    lines = [*(f"    import {name}{VERSION};" for name in imports), f"    export {export}{VERSION};"]
    (folder / "built.wit").write_text("package animus:built@0.1.0;\n\nworld built {\n" + "\n".join(lines) + "\n}\n")


def _digest(plugin: Path, wit: Path, options: str) -> str:
    digest = hashlib.sha256(options.encode())
    roots = [(plugin, "**/*"), (SDK / "animus", "**/*.py"), (SDK / "build", "*.py"), (wit, "**/*.wit")]
    for root, pattern in roots:
        for path in sorted(root.glob(pattern)):
            parts = path.relative_to(root).parts
            if path.is_file() and not any(map(_is_beside, parts)):
                digest.update(f"{'/'.join(parts)}\0{_sha(path.read_bytes())}\n".encode())
    return digest.hexdigest()


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _run(command: list[str], what: str, environ: dict[str, str] | None = None, folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, env=environ, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError as error:
        raise Failed(f"{what}: {error}; the command was: {' '.join(command)}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-4000:]
        raise Failed(f"{what}: failed; the command was: {' '.join(command)}\n{said}")


def _write(path: Path, data: bytes) -> None:
    """Write by a temporary file, so that no half of it is ever there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _say(line: str) -> None:
    if not _quiet:
        print(f"build: {line}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build a Python plugin of Animus into a component.")
    parser.add_argument("plugin", type=Path, help="the plugin's folder, with plugin.toml and app.py")
    parser.add_argument("--target", type=Path, required=True, help="where the build's tools are kept between builds")
    parser.add_argument("--out", type=Path, required=True, help="the component to write")
    parser.add_argument("--quiet", action="store_true", help="say nothing but why it failed")
    options = parser.parse_args()
    global _quiet
    _quiet = options.quiet
    try:
        build(options.plugin, options.target, options.out)
    except (Failed, component.Malformed, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
