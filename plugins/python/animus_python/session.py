"""What one run of a session leaves for the next: its data, and the text of its imports, functions and classes.

Data is pickled; functions and classes are made again from their text. What can be kept in neither way is named on
stderr.
"""

import ast
import importlib
import io
import pickle
import types

from . import failure, transform

LIMIT = 4 * 1024 * 1024
"""The largest state, in bytes."""
EARLIER = "<earlier>"
"""What tracebacks call the text that an earlier run left."""
GIVEN = "__animus_given__"
"""Where a module keeps the globals that it began with."""

# A definition whose making calls one of these would do it again in every run.
_EFFECTS = {"tools", "ledger", "memory", "llm", "children", "print", "input", "open", "exec", "eval"}


class TooLarge(ValueError):
    """The state is larger than `LIMIT`."""


class Session:
    """The state of a session during one run."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._definitions: dict[str, str] = {}

    def restore(self, state: bytes, main: types.ModuleType, note) -> None:
        """Put into `main` what `state` holds."""
        if not state:
            return
        try:
            saved = pickle.loads(state)
            definitions, modules, data = saved["definitions"], saved["modules"], saved["data"]
        except Exception as error:
            raise ValueError(
                f"the session's state cannot be read ({type(error).__name__}); begin a new session"
            ) from None
        for name, module in modules.items():
            main.__dict__[name] = importlib.import_module(module)
        failure.remember(EARLIER, "\n".join(definitions.values()))
        lines, line = {}, 0
        for name, text in definitions.items():
            lines[name], line = line, line + text.count("\n") + 1
        # A default or a decorator may need the data, and the data a class: what fails is tried again after it.
        waiting = [name for name in definitions if not self._define(definitions[name], lines[name], main)]
        try:
            main.__dict__.update(pickle.loads(data))
        except Exception as error:
            note(f"session: the data of earlier runs is lost: {type(error).__name__}: {error}")
        for name in waiting:
            if not self._define(definitions[name], lines[name], main):
                note(f"session: '{name}' of an earlier run is lost, for what it needs is not there")
                del definitions[name]
        self._definitions = definitions

    def learn(self, source: str) -> None:
        """Take note of the imports, functions and classes of a run."""
        tree = transform.parse(source, self._name)
        for node in tree.body:
            names = []
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                if not (
                    isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.names[0].name == "*")
                ):
                    names = [a.asname or a.name.partition(".")[0] for a in node.names]
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names = [node.name]
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                names = [t.id for t in node.targets if isinstance(t, ast.Name)]
            if names and not _has_effects(node):
                for name in names:
                    # The last definition of a name counts, and stands where it was made.
                    self._definitions.pop(name, None)
                    self._definitions[name] = ast.unparse(node)

    def save(self, main: types.ModuleType, note) -> bytes:
        """The state for the next run. `TooLarge` where it does not fit."""
        given = main.__dict__[GIVEN]
        values = {
            name: item
            for name, item in main.__dict__.items()
            if not (name.startswith("__") and name.endswith("__"))
            and name != transform.BODY
            and name != "args"
            and given.get(name, _NOTHING) is not item
        }
        modules = {n: v.__name__ for n, v in values.items() if isinstance(v, types.ModuleType)}
        made = {n for n, v in values.items() if n in self._definitions and _is_made(v)}
        definitions = {n: t for n, t in self._definitions.items() if n in made or _is_import(t) and n in values}
        data, lost, sizes = {}, [], {}
        for name, item in values.items():
            if name in modules or name in made:
                continue
            try:
                sizes[name] = len(_dumps(item, main, made))
                data[name] = item
            except TooLarge:
                raise
            except Exception:
                lost.append(f"{name} ({type(item).__name__})")
        packed = _dumps(data, main, made)
        state = pickle.dumps({"definitions": definitions, "modules": modules, "data": packed}, protocol=5)
        if len(state) > LIMIT:
            raise _too_large(len(state), sizes)
        if lost:
            note(f"session: not kept for the next run: {failure.cut(', '.join(lost), 500)}")
        return state

    @staticmethod
    def _define(text: str, line: int, main: types.ModuleType) -> bool:
        """Makes a definition that stands after so many lines; whether it could be made."""
        try:
            tree = ast.increment_lineno(transform.lenient(ast.parse(text, EARLIER)), line)
            exec(compile(tree, EARLIER, "exec", dont_inherit=True), main.__dict__)
        except Exception:
            return False
        return True


_NOTHING = object()


class _Pickler(pickle.Pickler):
    def __init__(self, file, main: types.ModuleType, made: set[str]) -> None:
        super().__init__(file, protocol=5)
        self._main, self._made = main, made

    def reducer_override(self, item):
        if isinstance(item, types.ModuleType):
            return importlib.import_module, (item.__name__,)
        if isinstance(item, (types.FunctionType, type)) and getattr(item, "__module__", None) == self._main.__name__:
            # Only what the next run makes again can be referred to.
            if item.__qualname__ not in self._made and item.__name__ not in self._made:
                raise pickle.PicklingError(f"{item.__qualname__} is not a function or class of the program's own")
        return NotImplemented


class _Bounded(io.BytesIO):
    def write(self, data) -> int:
        if self.tell() + len(data) > 4 * LIMIT:
            raise TooLarge(f"the session's data is larger than {LIMIT:,} bytes; delete names that are no longer needed")
        return super().write(data)


def _dumps(item, main: types.ModuleType, made: set[str]) -> bytes:
    file = _Bounded()
    _Pickler(file, main, made).dump(item)
    return file.getvalue()


def _too_large(size: int, sizes: dict[str, int]) -> TooLarge:
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    names = ", ".join(f"{name} ({n:,})" for name, n in largest)
    return TooLarge(
        f"the session's data is too large to keep: {size:,} bytes, and {LIMIT:,} are allowed; largest: {names}; "
        f"the session stays as it was before this run"
    )


def _is_made(item) -> bool:
    return (
        isinstance(item, (types.FunctionType, type))
        and getattr(item, "__module__", None) == "__main__"
        or (hasattr(item, "__wrapped__") and getattr(item, "__module__", None) == "__main__")
    )


def _is_import(text: str) -> bool:
    return text.startswith(("import ", "from "))


def _has_effects(node: ast.AST) -> bool:
    """Whether making a definition, not calling it, may do something."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign)):
        return False
    parts: list[ast.AST | None] = list(node.decorator_list)
    if isinstance(node, ast.ClassDef):
        parts += [*node.bases, *node.keywords]
        for statement in node.body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                if _has_effects(statement):
                    return True
            else:
                parts.append(statement)
    else:
        parts += [*node.args.defaults, *node.args.kw_defaults]
    return any(
        isinstance(inner, ast.Await) or isinstance(inner, ast.Name) and inner.id in _EFFECTS
        for part in parts
        if part is not None
        for inner in ast.walk(part)
    )
