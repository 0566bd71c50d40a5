"""Which capabilities a program names, found in its syntax tree."""

import ast
import sys

from . import preload
from .transform import _Names

SOCKETS = "no sockets in the sandbox; use a tool such as web.fetch"
PROCESSES = "no processes in the sandbox"
_CANNOT = {
    **dict.fromkeys(
        (
            "socket",
            "socketserver",
            "ftplib",
            "smtplib",
            "imaplib",
            "poplib",
            "ssl",
            "http.client",
            "http.server",
            "urllib.request",
            "xmlrpc.client",
            "xmlrpc.server",
            "wsgiref.simple_server",
        ),
        SOCKETS,
    ),
    **dict.fromkeys(("subprocess", "multiprocessing", "pty"), PROCESSES),
}
"""Modules that are there, or would be, and cannot work."""

_LEDGER = {"append": "ledger:append", "read": "ledger:read", "formatted": "ledger:read"}
_MEMORY = {
    "store": "memory:write",
    "forget": "memory:write",
    "tag": "memory:write",
    "recall": "memory:read",
    "get": "memory:read",
    "update": "memory:write",
    "versions": "memory:read",
}
_PARTS = ("tools", "ledger", "memory", "llm")
"""What a program has without an import."""
_MODULES = (*_PARTS, "children")
_LOCAL = "name it literally, as in tools.fs.read_file(…), so that what the program may call is known before it runs"

Problem = tuple[int, str]


def of(tree: ast.Module, own: set[str]) -> tuple[set[str], list[Problem]]:
    """The capabilities that a program names, and what cannot work in it. `own` are the modules that it brings."""
    finder = _Finder(tree, own)
    finder.visit(tree)
    return finder.uses, finder.problems


class _Finder(ast.NodeVisitor):
    def __init__(self, tree: ast.Module, own: set[str]) -> None:
        self.uses: set[str] = set()
        self.problems: list[Problem] = []
        self._own = own | {name.partition(".")[0] for name in own}
        self._paths = {name: f"animus.{name}" for name in _PARTS}
        self._guarded = 0
        self._texts = _constants(tree)
        names = _Names()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "animus" and node.names[0].name == "*":
                continue
            names.visit(node)
        for name in names.found & self._paths.keys():
            del self._paths[name]
        for node in ast.walk(tree):
            self._import(node)
        # `t = tools` is another name of it.
        for node in tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                path = self._path(node.value)
                if path is not None:
                    self._paths[node.targets[0].id] = path

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._importable(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0 and node.module:
            self._importable(node.module, node.lineno)
            for alias in node.names:
                if f"{node.module}.{alias.name}" in _CANNOT:
                    self._importable(f"{node.module}.{alias.name}", node.lineno)

    def visit_Try(self, node: ast.Try) -> None:
        caught = {n.id for h in node.handlers if h.type for n in ast.walk(h.type) if isinstance(n, ast.Name)}
        guards = bool(caught & {"ImportError", "ModuleNotFoundError", "Exception"}) or any(
            h.type is None for h in node.handlers
        )
        self._guarded += guards
        for statement in node.body:
            self.visit(statement)
        self._guarded -= guards
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        # Its own names hide those of the module.
        given = node.args
        hidden = {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if a}
        if not isinstance(node, ast.Lambda):
            names = _Names()
            shared = set()
            for statement in node.body:
                names.visit(statement)
                shared |= {n for s in ast.walk(statement) if isinstance(s, ast.Global) for n in s.names}
                # What it imports itself is known by `_import`.
                shared |= {
                    a.asname or a.name for s in ast.walk(statement) if isinstance(s, ast.ImportFrom) for a in s.names
                }
                shared |= {
                    a.asname or a.name for s in ast.walk(statement) if isinstance(s, ast.Import) for a in s.names
                }
            hidden |= names.found - shared
        before = self._paths
        self._paths = {name: path for name, path in before.items() if name not in hidden}
        self.generic_visit(node)
        self._paths = before

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(target, ast.Name) and self._path(node.value) is not None and target.id in self._paths:
            return  # Another name, of which each use counts.
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        path = self._path(node.func)
        if path == "animus.tools.call":
            self._literal_tool(node.args[0] if node.args else None, node)
        elif path == "animus.llm.complete":
            self._model(node)
        elif path == "animus.children.spawn":
            self._child(node)
        elif path == "animus.llm.embed":
            self.uses.add("llm:embed")
        elif path in ("animus.tools.describe", "animus.tools.search", "animus.tools.list"):
            pass
        elif (
            isinstance(node.func, ast.Name) and node.func.id in ("help", "dir", "print", "repr") and len(node.args) == 1
        ):
            if self._path(node.args[0]) is None:
                self.generic_visit(node)
            return
        else:
            self.visit(node.func)
        for part in (*node.args, *node.keywords):
            self.visit(part)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._path(node.value) == "animus.tools":
            self._literal_tool(node.slice, node)
        else:
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = self._path(node)
        if path is None:
            self.generic_visit(node)
        else:
            self._named(path, node)

    def visit_Name(self, node: ast.Name) -> None:
        path = self._path(node) if isinstance(node.ctx, ast.Load) else None
        if path is not None:
            self._named(path, node)

    def _named(self, path: str, node: ast.expr) -> None:
        _, part, *rest = (*path.split("."), "")
        rest = [r for r in rest if r]
        if part == "tools":
            if not rest:
                self._dynamic("tools", node)
            elif rest[0] == "call":
                self._dynamic("tools.call", node)
            elif rest[0] not in ("search", "describe", "list") and not rest[0].startswith("_"):
                self.uses.add(f"tool:{rest[0]}.{rest[1] if len(rest) > 1 else '*'}")
        elif part in ("ledger", "memory"):
            known = _LEDGER if part == "ledger" else _MEMORY
            if not rest:
                self._dynamic(part, node)
            elif rest[0] in known:
                self.uses.add(known[rest[0]])
        elif part == "llm":
            if rest and rest[0] == "embed":
                self.uses.add("llm:embed")
            elif not rest or rest[0] == "complete":
                self._dynamic("llm.complete", node)
        elif part == "children":
            # What is awaited, checked or cancelled was spawned.
            if not rest or rest[0] == "spawn":
                self._dynamic("children.spawn", node)
        elif not part:
            self._dynamic("animus", node)

    def _literal_tool(self, name: ast.expr | None, node: ast.expr) -> None:
        text = self._text(name)
        if text is None:
            self._dynamic("the tool", node)
        else:
            self.uses.add(f"tool:{text}")

    def _model(self, node: ast.Call) -> None:
        given = [k.value for k in node.keywords if k.arg == "model"] or node.args[1:2]
        text = self._text(given[0]) if given else ""
        if text is None or any(k.arg is None for k in node.keywords):
            self.problems.append((node.lineno, 'the model is not named literally; write llm.complete(…, model="fast")'))
        else:
            self.uses.add(f"llm:{text or 'default'}")

    def _child(self, node: ast.Call) -> None:
        given = [k.value for k in node.keywords if k.arg == "faculty"] or node.args[:1]
        text = self._text(given[0]) if given else None
        if text is None:
            self.problems.append(
                (node.lineno, 'the faculty is not named literally; write children.spawn("assistant", …)')
            )
        else:
            self.uses.add(f"spawn-child:{text}")

    def _dynamic(self, what: str, node: ast.expr) -> None:
        self.problems.append(
            (
                node.lineno,
                f"{what} is used as a value; {_LOCAL}"
                if what != "the tool"
                else f"the tool's name is computed; {_LOCAL}",
            )
        )

    def _text(self, node: ast.expr | None) -> str | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return self._texts.get(node.id) if isinstance(node, ast.Name) else None

    def _path(self, node: ast.expr) -> str | None:
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._paths:
            return None
        path = ".".join([self._paths[node.id], *reversed(names)])
        return path.replace("animus.toolbox.", "animus.", 1)

    def _import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "animus":
                    self._paths[alias.asname or "animus"] = alias.name if alias.asname else "animus"
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] == "animus":
            for alias in node.names:
                name = f"{node.module}.{alias.name}".replace("animus.toolbox.", "animus.", 1)
                if alias.name == "*":
                    self._paths |= {n: f"animus.{n}" for n in _MODULES}
                elif name.split(".")[1] in _MODULES:
                    self._paths[alias.asname or alias.name] = name

    def _importable(self, name: str, line: int) -> None:
        top = name.partition(".")[0]
        why = _CANNOT.get(name) or _CANNOT.get(top)
        if top in self._own or top in ("animus", "__future__") or self._guarded:
            return
        if why:
            self.problems.append((line, f"'{name}' cannot work: {why}"))
        elif top in preload.ABSENT or top in preload.LEFT_OUT or top not in sys.stdlib_module_names:
            there = "the sandbox has the standard library and the program's own modules"
            self.problems.append((line, f"there is no module '{name}': {there}"))


def _constants(tree: ast.Module) -> dict[str, str]:
    """The names that a module gives to texts, once each."""
    texts: dict[str, str] = {}
    bound: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound[node.id] = bound.get(node.id, 0) + 1
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts |= {t.id: node.value.value for t in node.targets if isinstance(t, ast.Name) and bound[t.id] == 1}
    return texts
