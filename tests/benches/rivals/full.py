"""pyeryx: a full CPython as WebAssembly, with its default settings. A fresh instance for each run, one callback."""

from importlib.metadata import version

import eryx
from lines import serve

SCRIPT = """\
words = ["alpha", "beta", "gamma"]
answer = await echo(text=" ".join(words))
print(f"{answer['text']} {len(words)}", end="")
"""


async def echo(text: str) -> dict[str, str]:
    return {"text": text}


sandbox = eryx.Sandbox(callbacks=[{"name": "echo", "fn": echo, "description": "Answers with what it was given"}])
serve(f"pyeryx {version('pyeryx')}", lambda: sandbox.execute(SCRIPT).stdout, b"alpha beta gamma 3")
