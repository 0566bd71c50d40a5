"""pydantic-monty: a subset of Python in pooled worker processes, as its documentation uses it. One external call."""

from importlib.metadata import version

from lines import serve
from pydantic_monty import Monty

SCRIPT = """\
words = ["alpha", "beta", "gamma"]
answer = echo(" ".join(words))
f"{answer} {len(words)}"
"""


def echo(text: str) -> str:
    return text


with Monty() as pool:

    def run() -> object:
        with pool.checkout() as session:
            return session.feed_run(SCRIPT, external_lookup={"echo": echo})

    serve(f"pydantic-monty {version('pydantic-monty')}", run, "alpha beta gamma 3")
