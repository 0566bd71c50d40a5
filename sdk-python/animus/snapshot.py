"""Makes a component's memory ready for its snapshot, from which every call begins."""

import gc
import sys

_filling: list[bytes] = []


def settle() -> None:
    """Collect what is left over, fill the holes, and take all that is alive out of the collector's sight. Call it last.

    The imports leave holes among the small objects. What a call makes would be strewn over all of them, and each page
    of the snapshot that a call touches has to be copied for it. Filled with zeros, the holes cost the component
    nothing, and what a call makes lies together behind them.
    """
    gc.collect()
    top = max(map(id, gc.get_objects()))
    empty = sys.getsizeof(b"")
    # CPython keeps objects of up to 512 bytes in pools, by their size.
    for size in range((empty + 7) // 8 * 8, 513, 8):
        beyond = tries = 0
        while beyond < 64 and tries < 1_000_000:
            filler = bytes(size - empty)
            beyond = beyond + 1 if id(filler) > top else 0
            tries += 1
            _filling.append(filler)
    gc.freeze()
