"""The interpreter plugin: what componentize-py imports before it takes the snapshot."""

import sys

from animus import errors, host
from animus.testing import FakeHost
from animus_python import describe as describing
from animus_python import loop, preload, sandbox, snapshot, testing, timezones
from animus_python import run as running

MISSING = sorted(set(preload.standard_library()) - preload.ABSENT)
ZONES = timezones.preload()
if sys.platform == "wasi" and (MISSING or not ZONES):
    raise ImportError(f"the snapshot would lack {', '.join(MISSING) or 'the time zones (package tzdata)'}")
host.preload()
sandbox.install()
loop.install()


class Interpreter:
    """`animus:interpreter/interpreter`."""

    def run(self, program):
        try:
            return running.run(program)
        except Exception as error:
            raise host.failure(errors.Internal(f"run {program.name}: {type(error).__name__}: {error}")) from None

    def describe(self, program):
        try:
            return describing.describe(program)
        except Exception as error:
            raise host.failure(errors.Internal(f"describe {program.name}: {type(error).__name__}: {error}")) from None

    def test(self, program):
        try:
            return testing.test(program)
        except errors.Error as error:
            raise host.failure(error) from None
        except Exception as error:
            raise host.failure(errors.Internal(f"test {program.name}: {type(error).__name__}: {error}")) from None

    def warm(self) -> None:
        _run(WARM)


def rehearse() -> None:
    """Run what every run runs, before the snapshot and with a host that is none."""
    with FakeHost() as fake:
        fake.add_tool("rehearsal.echo", lambda text: text)
        for source in (WARM, *REHEARSED):
            _run(source)


def _run(source: str) -> None:
    types = host.interpreter_types()
    running.run(types.Program("<warm>", source, [], None, "{}", None))


WARM = """words = ["a", "b"]
print(len(words))
return f"{words[0]} {len(words)}"
"""
REHEARSED = (
    '''
import json
def twice(n: int) -> int:
    return 2 * n
try:
    raise ValueError("warm")
except ValueError as error:
    print(error)
return json.loads(json.dumps({"value": [twice(i) for i in range(3)], "text": f"{1.5:.2f}"}))
''',
    'words = ["a", "b"]\nreturn f"{tools.rehearsal.echo(text=words[0])} {len(words)}"',
    '[tools.rehearsal.echo(text=str(n)) for n in range(2)]',
    'import asyncio\nasync def one(n):\n    return await tools.rehearsal.echo(text=str(n))\n'
    'return await asyncio.gather(one(1), one(2))',
    '1 / 0',
)

preload.touch()
snapshot.settle(rehearse)
