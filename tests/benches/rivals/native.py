"""CPython itself: a loop of a million iterations."""

import platform

from lines import serve

SCRIPT = compile("sum(i * i for i in range(1_000_000))", "<code>", "eval")

serve(f"CPython {platform.python_version()}", lambda: eval(SCRIPT, {}), 333332833333500000)
