"""Makes objects in a component's snapshot immortal.

Python counts the references to an object in the object itself, so that a call that only looks at one changes the page
that it lies on, and each page of a snapshot that a call changes is copied for it. Objects whose count is large enough
are immortal: nobody counts references to them (PEP 683). Python has no way to make one so, but in the snapshot their
counts are bytes like any others.
"""

from bisect import bisect

from component import CORE_HEADER, CORE_MODULE, HEADER, Malformed, Reader

MARK = b"animus:lasting:"
"""What the app leaves: behind it stand the number of bytes that follow, and the addresses of objects that it keeps
alive, all little-endian and of 32 bits."""
DATA = 11
I32_CONST, END = 0x41, 0x0B
# As CPython has it since 3.12 where a pointer has 32 bits (refcount.h).
IMMORTAL, IMMORTAL_FROM = 5 << 28, 1 << 30
MOST = 1 << 24
"""No object of a snapshot that is not immortal has so many references."""

Segment = tuple[int, int, int]
"""Address, offset in the component, and size."""


def immortal(component: bytes) -> bytes:
    """The component, with the objects immortal whose addresses stand in it."""
    out, changed, known = bytearray(component), 0, 0
    for number, _, module in Reader(component).sections(HEADER):
        for segments in _data(module) if number == CORE_MODULE else ():
            starts = [address for address, _, _ in segments]
            for address in _addresses(component, segments):
                start, at, size = segments[bisect(starts, address) - 1]
                at += address - start
                if not 0 <= address - start <= size - 4:
                    continue  # Its count is partly of zeros that no segment holds: one or two of all.
                count = int.from_bytes(out[at : at + 4], "little")
                if 0 < count < MOST:
                    out[at : at + 4] = IMMORTAL.to_bytes(4, "little")
                    changed += 1
                elif count >= IMMORTAL_FROM:
                    known += 1
                else:
                    raise Malformed(f"there is no object at {address:#x} of its snapshot")
    if not changed or not known:
        # CPython makes some objects immortal itself: without them, its counts are not as we know them.
        raise Malformed(f"of the objects of its snapshot {changed} are mortal and {known} immortal")
    return bytes(out)


def _data(module: Reader) -> list[list[Segment]]:
    """The data of a core module, by address: one list of segments at most."""
    found = []
    for number, _, r in Reader(module.data, module.at, module.end).sections(CORE_HEADER):
        if number != DATA:
            continue
        segments = []
        for _ in range(r.u32()):
            if r.byte() != 0 or r.byte() != I32_CONST:
                return []  # Not a snapshot's.
            address = r.s32()
            if r.byte() != END:
                return []
            size = r.u32()
            segments.append((address, r.at, size))
            r.take(size)
        found.append(sorted(segments))
    return found


def _addresses(component: bytes, segments: list[Segment]) -> list[int]:
    """What stands behind the mark in one of the segments."""
    for _, at, size in segments:
        found = component.find(MARK, at, at + size)
        if found >= 0:
            r = Reader(component, found + len(MARK), at + size)
            count = int.from_bytes(r.take(4), "little")
            raw = r.take(count)
            return [int.from_bytes(raw[i : i + 4], "little") for i in range(0, count, 4)]
    return []
