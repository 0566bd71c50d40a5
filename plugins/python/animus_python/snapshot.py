"""Lays out the heap before the snapshot is taken, so that a run changes few pages of it.

Each page of the snapshot that a run changes is copied for it. Three things change pages that a run has no need to
change: counting references to what is never freed, new objects in the holes between old ones, and the counters in the
code that runs.
"""

import array
import gc
import hashlib
import sys
import types
from collections.abc import Callable, Iterator

MARK = (b"animus:", b"lasting:")
"""What the build looks for: behind it stand the number of bytes that follow, and the addresses of all that lasts. In
two parts, so that it stands nowhere else."""
HOLE = 8 << 20
"""No hole has so many bytes."""
POOLED = 512
"""CPython keeps objects of up to so many bytes in pools, by their size; larger ones come from the C library."""

_kept: list[object] = []


def settle(rehearse: Callable[[], object]) -> None:
    """Call it last, with what runs the code that every run runs."""
    for _ in range(4):
        rehearse()
    gc.collect()
    _fill()
    _gather(rehearse)
    # CPython rewrites code for what it meets, and this is a good part of it.
    for _ in range(60):
        rehearse()
    _leave_lasting()
    gc.collect()
    _fill()
    gc.freeze()


def _gather(rehearse: Callable[[], object]) -> None:
    """Copy the code that changes whenever it runs, because it counts, to one place."""
    functions = [f for f in gc.get_objects() if type(f) is types.FunctionType]
    before = [hash(f.__code__._co_code_adaptive) for f in functions]
    rehearse()
    for f, was in zip(functions, before, strict=True):
        if hash(f.__code__._co_code_adaptive) != was:
            f.__code__ = f.__code__.replace()


def _leave_lasting() -> None:
    """Leave the addresses of what is alive for the build, which makes it immortal: references to that are not counted.

    All of it is kept, so that none of the addresses can become another object's.
    """
    every = list(_alive())
    addresses = array.array("I", map(id, every)).tobytes()
    _kept.append((every, b"".join([*MARK, len(addresses).to_bytes(4, "little"), addresses])))


def _alive() -> Iterator[object]:
    """The objects that are alive, but those of calls that have not returned."""
    passing = (types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
    seen: set[int] = set()
    todo: list[object] = [sys.modules, *gc.get_objects()]
    while todo:
        one = todo.pop()
        if id(one) in seen or one is todo or one is seen or one is _kept or isinstance(one, passing):
            continue
        seen.add(id(one))
        todo += gc.get_referents(one)
        kind = type(one)
        # What the collector is not told, because it cannot be part of a cycle.
        if kind is dict:
            todo += one
        elif kind is types.CodeType:
            todo += (one.co_consts, one.co_names, one.co_filename, one.co_name, one.co_qualname)
            todo += (one.co_linetable, one.co_exceptiontable)
        elif isinstance(one, type):
            todo += vars(one)
            todo += vars(one).values()
        yield one


def _fill() -> None:
    """Fill the holes with zeros, which cost the component nothing, so that new objects lie together behind them."""
    top = id(bytes(HOLE))
    empty = sys.getsizeof(b"")
    size = HOLE // 2
    while size > POOLED:
        while id(filler := bytes(size - empty)) < top:
            _kept.append(filler)
        # Large ones first and by halves; then every size that the C library tells apart.
        size = size // 2 if size > 4096 else size - 16
    # The C library's own small ones, of whose places nobody tells.
    _kept.extend(hashlib.md5() for _ in range(10_000))
    for size in range((empty + 7) // 8 * 8, POOLED + 1, 8):
        beyond = tries = 0
        while beyond < 64 and tries < 1_000_000:
            filler = bytes(size - empty)
            beyond = beyond + 1 if id(filler) > top else 0
            tries += 1
            _kept.append(filler)
