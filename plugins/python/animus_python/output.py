"""What a program writes: kept, bounded, and apart from its value."""

import io
import sys

LIMIT = 64 * 1024
"""Bytes of each stream."""
_HALF = LIMIT // 2 - 32


class Sink(io.BufferedIOBase):
    """Keeps the beginning and the end of what is written."""

    def __init__(self) -> None:
        self._head, self._tail, self._cut = bytearray(), bytearray(), 0

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        data = bytes(data)
        room = _HALF - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[room:] if room > 0 else data
        # Trimmed only when twice as long as needed, so that many small writes stay cheap.
        if len(self._tail) > 2 * _HALF:
            self._trim()
        return len(data)

    def text(self) -> str:
        """All of it, or its two ends around a mark."""
        if not self._cut and len(self._tail) <= _HALF:
            return (self._head + self._tail).decode("utf-8", "replace")
        self._trim()
        ends = [bytes(part).decode("utf-8", "ignore") for part in (self._head, self._tail)]
        return f"{ends[0]}\n[… {self._cut} bytes cut …]\n{ends[1]}"

    def _trim(self) -> None:
        extra = len(self._tail) - _HALF
        if extra > 0:
            self._cut += extra
            del self._tail[:extra]


class Output:
    """Stands in for stdout and stderr while a program runs."""

    def __enter__(self) -> "Output":
        self._out, self._err = Sink(), Sink()
        self._before = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
        sys.stdout, sys.stderr = self._stream(self._out), self._stream(self._err)
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
        self._streams = sys.stdout, sys.stderr
        return self

    def __exit__(self, *exception: object) -> None:
        # The program may have put others in their place; what it wrote to these is kept all the same.
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = self._before
        for stream in self._streams:
            try:
                stream.flush()
            except ValueError:
                pass  # It closed the stream.

    def note(self, line: str) -> None:
        """Write a line of the interpreter's own to stderr."""
        self._err.write(f"{line}\n".encode("utf-8", "replace"))

    def texts(self) -> tuple[str, str]:
        """What was written to stdout and to stderr."""
        return self._out.text(), self._err.text()

    @staticmethod
    def _stream(sink: Sink) -> io.TextIOWrapper:
        return io.TextIOWrapper(sink, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
