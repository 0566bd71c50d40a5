"""Says clearly what a sandbox has not: sockets, processes, threads, files that were not granted.

Nothing here keeps a program in: the component has no import through which any of it could be done. It turns the obscure
failures of CPython on WebAssembly into exceptions that tell a model what to do instead.
"""

import _socket
import builtins
import concurrent.futures
import errno
import functools
import http.client
import io
import json
import multiprocessing
import multiprocessing.pool
import os
import socket
import subprocess
import threading
import urllib.error
import urllib.request

from animus import jsonable

SOCKETS = "no sockets in the sandbox; use a tool such as web.fetch"
PROCESSES = "no processes in the sandbox; do it in Python, or use a tool"
THREADS = "no threads in the sandbox; call the function itself, or use asyncio"
FILES = "no files here but those of granted folders; tools such as fs.read_file and fs.write_file reach the workspace"


def no_sockets(*args, **kwargs):
    """Refuses."""
    raise ConnectionRefusedError(errno.ECONNREFUSED, SOCKETS)


def no_processes(*args, **kwargs):
    """Refuses."""
    raise OSError(errno.ENOSYS, PROCESSES)


def no_threads(*args, **kwargs):
    """Refuses."""
    raise RuntimeError(THREADS)


def no_input(*args, **kwargs):
    """Refuses."""
    raise EOFError("nobody is there to answer; arguments are in `args`, everything else comes from tools")


def install() -> None:
    """Put the refusals in place."""
    for name in (
        "create_connection",
        "create_server",
        "socketpair",
        "fromfd",
        "getaddrinfo",
        "gethostbyname",
        "gethostbyname_ex",
        "gethostbyaddr",
        "getnameinfo",
        "getfqdn",
    ):
        # The private module, too: what the component lacks ends the instance when C reaches for it.
        for module in (socket, _socket):
            if module is socket or hasattr(module, name):
                setattr(module, name, no_sockets)
    _socket.socket = _socket.SocketType = no_sockets
    socket.socket.__init__ = no_sockets
    socket.socket.__del__ = lambda self: None
    if not hasattr(http.client, "HTTPSConnection"):
        # CPython leaves it out where it has no ssl; the refusal says more than an AttributeError.
        http.client.HTTPSConnection = type("HTTPSConnection", (http.client.HTTPConnection,), {"default_port": 443})
        urllib.request.HTTPSHandler = type("HTTPSHandler", (urllib.request.HTTPHandler,), {})
    _urls()
    subprocess.Popen.__init__ = no_processes
    subprocess.Popen.__del__ = lambda self, *args, **kwargs: None
    for name in dir(os):
        if name in ("system", "popen", "fork", "forkpty") or name.startswith(("exec", "spawn", "posix_spawn")):
            setattr(os, name, no_processes)
    for name in ("system", "popen", "fork"):
        setattr(os, name, no_processes)
    multiprocessing.Process.start = no_processes
    multiprocessing.process.BaseProcess.start = no_processes
    multiprocessing.Pool = multiprocessing.pool.Pool.__init__ = no_processes
    concurrent.futures.ProcessPoolExecutor.__init__ = no_processes
    threading.Thread.start = no_threads
    threading.Timer.start = no_threads
    concurrent.futures.ThreadPoolExecutor.submit = _at_once
    multiprocessing.pool.ThreadPool.__init__ = no_threads
    builtins.input = no_input
    _files()
    _json()


def _at_once(self, fn, /, *args, **kwargs):
    """What a pool of threads does here: it runs the function before it returns."""
    if self._shutdown:
        raise RuntimeError("cannot schedule new futures after shutdown")
    future = concurrent.futures.Future()
    try:
        future.set_result(fn(*args, **kwargs))
    except Exception as error:
        future.set_exception(error)
    return future


def _urls() -> None:
    opened = urllib.request.OpenerDirector.open

    @functools.wraps(opened)
    def open_(self, fullurl, *args, **kwargs):
        url = fullurl if isinstance(fullurl, str) else fullurl.full_url
        if url.partition(":")[0].lower() in ("http", "https", "ftp"):
            raise urllib.error.URLError(SOCKETS)
        return opened(self, fullurl, *args, **kwargs)

    urllib.request.OpenerDirector.open = open_


def _files() -> None:
    for module, names in (
        (io, ("open",)),
        (os, ("open", "listdir", "scandir", "mkdir", "remove", "rename", "rmdir", "stat")),
    ):
        for name in names:
            setattr(module, name, _explained(getattr(module, name)))
    builtins.open = io.open


def _explained(function):
    @functools.wraps(function)
    def explained(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            refused = error
        except OSError as error:
            if error.errno not in (
                errno.EBADF,
                errno.ENOTCAPABLE if hasattr(errno, "ENOTCAPABLE") else 76,
                errno.EROFS,
            ):
                raise
            refused = PermissionError(
                errno.EACCES, os.strerror(errno.EACCES), *(a for a in args[:1] if isinstance(a, str))
            )
        refused.strerror = f"{refused.strerror} ({FILES})"
        refused.args = (refused.errno, refused.strerror)
        raise refused.with_traceback(None)

    return explained


def _json() -> None:
    # The scanner recurses in C, where only the end of the instance would stop it.
    decode = json.JSONDecoder.decode

    @functools.wraps(decode)
    def decode_(self, s, *args, **kwargs):
        if isinstance(s, str) and jsonable.too_deep(s):
            raise RecursionError(f"the JSON is nested more than {jsonable.NESTING} deep")
        return decode(self, s, *args, **kwargs)

    json.JSONDecoder.decode = decode_
