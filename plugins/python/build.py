"""Builds the interpreter: `python3 plugins/python/build.py --target DIR --out FILE.wasm`.

As `sdk-python/build`, but it exports the interpreter's interface, and imports every capability: the host checks each
call against the grant of the principal whose program runs.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent.parent / "sdk-python" / "build"))

import builder  # noqa: E402
import component  # noqa: E402

# CPython has no time zones of its own where the machine has none.
TZDATA = "tzdata==2025.2"


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the Python interpreter of Animus.")
    parser.add_argument("--target", type=Path, required=True, help="where the build's tools are kept between builds")
    parser.add_argument("--out", type=Path, required=True, help="the component to write")
    options = parser.parse_args()
    try:
        builder.build(
            HERE,
            options.target,
            options.out,
            capabilities=sorted(builder.INTERFACES),
            export="animus:interpreter/interpreter",
            app="app",
            packages=(TZDATA,),
            immortal=True,
        )
    except (builder.Failed, component.Malformed, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
