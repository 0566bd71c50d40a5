"""Imports the standard library before the snapshot is taken: afterwards there are no files to import from."""

import gc
import importlib
import pkgutil
import sys

LEFT_OUT = {
    # Programs rather than libraries, or only of use with a screen, a test run of CPython, or a package index.
    "antigravity",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "test",
    "this",
    "tkinter",
    "turtle",
    "turtledemo",
    "venv",
}
"""Modules that are there in CPython and not here."""

ABSENT = {
    "_bz2",
    "_ctypes",
    "_curses",
    "_lzma",
    "_ssl",
    "bz2",
    "ctypes",
    "curses",
    "fcntl",
    "grp",
    "lzma",
    "mmap",
    "msvcrt",
    "nt",
    "pty",
    "pwd",
    "readline",
    "resource",
    "ssl",
    "syslog",
    "termios",
    "tty",
    "winreg",
    "winsound",
}
"""Modules that CPython lacks on WebAssembly."""

# Packages of which not every module is worth its place in the snapshot: these are.
CHOSEN = {
    "_pyrepl": "pager",
    "multiprocessing": "connection context pool process queues shared_memory synchronize",
    "encodings": """aliases ascii base64_codec big5 charmap cp1250 cp1251 cp1252 cp437 cp850 euc_jp euc_kr gb18030 gbk
    hex_codec
        idna iso2022_jp iso8859_1 iso8859_15 iso8859_2 koi8_r latin_1 mac_roman punycode quopri_codec raw_unicode_escape
        rot_13 shift_jis undefined unicode_escape utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le utf_7 utf_8
        utf_8_sig uu_codec zlib_codec""",
}


def standard_library() -> list[str]:
    """Import everything; returns the public modules that could not be, for the build to compare with `ABSENT`."""
    missing = []
    # Private modules too: the library imports some of them only when they are first needed.
    for name in sorted(sys.stdlib_module_names):
        if name in LEFT_OUT or name.startswith(("__", "_test", "_xx")):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:
            if not name.startswith("_"):
                missing.append(name)
        else:
            _submodules(name, getattr(module, "__path__", ()))
    return missing


def _submodules(package: str, path) -> None:
    chosen = CHOSEN.get(package)
    names = chosen.split() if chosen else [info.name for info in pkgutil.iter_modules(path)]
    for name in names:
        if name in ("__main__", "test", "tests", "idle_test"):
            continue
        try:
            module = importlib.import_module(f"{package}.{name}")
        except (ImportError, AttributeError, OSError):
            continue  # For another platform.
        _submodules(module.__name__, getattr(module, "__path__", ()))


def touch() -> None:
    """Have the library make what it makes when it is first used."""
    import datetime
    import re

    datetime.datetime.strptime("2000-01-01", "%Y-%m-%d")
    re.compile(r"\s+(\w+)")
    # Programs are short: collect a little less often than CPython does.
    gc.set_threshold(20_000, 10, 10)
