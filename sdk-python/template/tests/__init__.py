"""Tests without a component. They find the SDK where `animus plugin new` unpacked it, unless there is another."""

import importlib.util
import sys

if importlib.util.find_spec("animus") is None:
    sys.path.append("{{sdk}}")
