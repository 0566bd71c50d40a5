"""How a rival speaks with the bench: `ready VERSION`, then for each line of input, a number, the times of so many runs.

The times are taken here, in nanoseconds, so that the pipe to the bench does not count against the rival.
"""

import sys
from collections.abc import Callable
from time import perf_counter_ns


def serve(version: str, run: Callable[[], object], expected: object) -> None:
    print("ready", version, flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            begun = perf_counter_ns()
            answer = run()
            times.append(perf_counter_ns() - begun)
            if answer != expected:
                raise SystemExit(f"answered {answer!r} instead of {expected!r}")
        print(*times, flush=True)
