"""Imports the standard library before the snapshot is taken: afterwards there are no files to import from."""

import gc
import importlib
import sys

LEFT_OUT = {
    # Programs rather than libraries, or only of use with a screen, a test run of CPython, or a package index.
    "antigravity", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "this", "tkinter", "turtle", "turtledemo", "venv",
}
"""Modules that are there in CPython and not here."""

ABSENT = {
    "_bz2", "_ctypes", "_curses", "_lzma", "_ssl", "bz2", "ctypes", "curses", "fcntl", "grp", "lzma", "mmap", "msvcrt", "nt",
    "pty", "pwd", "readline", "resource", "ssl", "syslog", "termios", "tty", "winreg", "winsound",
}
"""Modules that CPython lacks on WebAssembly."""

# Submodules that `import package` alone does not load, and those that the library imports only when first needed.
SUBMODULES = """
asyncio.base_events collections.abc concurrent.futures.thread concurrent.futures.process email.mime.application
email.mime.audio email.mime.base email.mime.image email.mime.message email.mime.multipart email.mime.text email.parser
email.policy email.utils email.generator encodings.aliases encodings.ascii encodings.base64_codec encodings.cp1250
encodings.cp1251 encodings.cp1252 encodings.cp437 encodings.cp850 encodings.hex_codec encodings.idna encodings.iso8859_1
encodings.iso8859_15 encodings.iso8859_2 encodings.latin_1 encodings.mac_roman encodings.punycode encodings.quopri_codec
encodings.raw_unicode_escape encodings.rot_13 encodings.unicode_escape encodings.utf_16 encodings.utf_16_be
encodings.utf_16_le encodings.utf_32 encodings.utf_7 encodings.utf_8 encodings.utf_8_sig encodings.gbk encodings.big5
encodings.shift_jis encodings.euc_jp encodings.euc_kr encodings.koi8_r html.entities html.parser http.client http.cookiejar
http.cookies http.server importlib.abc importlib.machinery importlib.metadata importlib.resources importlib.util
json.decoder json.encoder json.scanner json.tool logging.config logging.handlers multiprocessing.pool os.path
sqlite3.dbapi2 string.templatelib unittest.async_case unittest.mock unittest.runner urllib.error urllib.parse
urllib.request urllib.response urllib.robotparser wsgiref.simple_server xml.dom.minidom xml.dom.pulldom
xml.etree.ElementTree xml.etree.ElementPath xml.parsers.expat xml.sax.expatreader xml.sax.handler xml.sax.saxutils
xmlrpc.client zipfile._path _pydecimal _strptime _pydatetime _colorize _pyrepl.pager pyexpat compression.zlib compression.gzip
""".split()


def standard_library() -> list[str]:
    """Import everything; returns what could not be, for the build to compare with `ABSENT`."""
    missing = []
    public = (name for name in sys.stdlib_module_names if not name.startswith("_"))
    for name in [*sorted(public), *SUBMODULES]:
        if name.partition(".")[0] in LEFT_OUT:
            continue
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


def freeze() -> None:
    """Touch what the library makes when first used, then take all that is alive out of the collector's sight."""
    import datetime
    import re
    import zoneinfo

    datetime.datetime.strptime("2000-01-01", "%Y-%m-%d")
    re.compile(r"\s+(\w+)")
    zoneinfo.ZoneInfo.clear_cache()
    gc.collect()
    gc.freeze()
    # Programs are short: collect a little less often than CPython's default of 2,000 new objects.
    gc.set_threshold(20_000, 10, 10)
