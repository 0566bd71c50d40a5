"""From a program's text to code.

A program without an entry is the body of a function: it may return and await, and its last expression is its value. The
names that it assigns are globals all the same, so that its functions see each other. `await` takes any value
everywhere, because tools answer at once and models write both forms.
"""

import ast
import io
import re
import tokenize
import types

AWAIT = "__animus_await__"
STAR = "__animus_star__"
BODY = "<module>"
"""What tracebacks call the body."""
NESTING = 60
"""The deepest nesting of brackets."""


def parse(source: str, name: str) -> ast.Module:
    """The syntax tree of a source. SyntaxError where it has none."""
    if "\0" in source:
        raise SyntaxError(
            "source code cannot contain null characters", (name, source[: source.index("\0")].count("\n") + 1, 1, None)
        )
    _shallow(source, name)
    return ast.parse(source, name)


def _shallow(source: str, name: str) -> None:
    """Refuse brackets nested so deep that CPython's parser would use up the stack, which ends the instance."""
    depth = deepest = 0
    for c in re.findall(r"[()\[\]{}]", source):
        depth = max(depth + (1 if c in "([{" else -1), 0)
        deepest = max(deepest, depth)
    if deepest <= NESTING:
        return
    # They may stand in texts: now count with care.
    depth = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.OP and token.string in "()[]{}":
                depth += 1 if token.string in "([{" else -1
                if depth > NESTING:
                    raise SyntaxError(
                        f"brackets are nested more than {NESTING} deep",
                        (name, token.start[0], token.start[1] + 1, token.line[:200]),
                    )
    except tokenize.TokenError:
        pass  # The parser says it better.


def module(source: str, name: str) -> types.CodeType:
    """The code of a module, with lenient awaits."""
    tree = parse(source, name)
    return compile(lenient(tree) if "await" in source else tree, name, "exec", dont_inherit=True)


def lenient(tree: ast.Module) -> ast.Module:
    """The same program, whose awaits take any value: the name `AWAIT` in it stands for `loop.wait`."""
    return ast.fix_missing_locations(_Awaits().visit(tree))


def body(source: str, name: str) -> types.CodeType:
    """Code that defines the body as the function `BODY`.

    Walking a tree in Python costs more than compiling it twice, so each walk is made only for a source that may need it.
    """
    tree = parse(source, name)
    if "yield" in source:
        stray = _Yields()
        stray.visit(tree)
        if stray.found:
            raise SyntaxError("'yield' outside function", (name, stray.found.lineno, stray.found.col_offset + 1, None))
    futures = [s for s in tree.body if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    statements = [s for s in tree.body if s not in futures] if futures else tree.body
    if _UNEVEN.search(source):
        statements = [_Flat().visit(s) for s in statements]
    if statements and isinstance(statements[-1], ast.Expr):
        statements[-1] = ast.copy_location(ast.Return(statements[-1].value), statements[-1])
    waits = _Waits()
    asynchronous = "async" in source or "await" in source
    if asynchronous:
        for statement in statements:
            waits.visit(statement)
    kind = ast.AsyncFunctionDef if waits.found else ast.FunctionDef
    none = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    function = kind(
        name=BODY, args=none, body=statements or [_at_first(ast.Pass())], decorator_list=[], returns=None,
        type_comment=None, type_params=[],
    )
    tree.body = [*futures, _at_first(function)]
    if asynchronous:
        tree = lenient(tree)
    names = _bound(compile(tree, name, "exec", dont_inherit=True))
    if names:
        function.body = [_at_first(ast.Global(names)), *function.body]
    return compile(tree, name, "exec", dont_inherit=True)


_UNEVEN = re.compile(r"\bglobal\b|\bimport\s*\*|^\s*[^\W\d]\w*\s*:", re.MULTILINE)
"""What a module may hold at its top and a function with global names may not: `global`, `import *`, annotations."""


def _at_first(node: ast.stmt) -> ast.stmt:
    """The node, at the beginning of the source."""
    node.lineno, node.col_offset, node.end_lineno, node.end_col_offset = 1, 0, 1, 0
    return node


def _bound(code: types.CodeType) -> list[str]:
    """The names that the body binds, as the compiler found them."""
    function = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == BODY)
    return sorted({n for n in (*function.co_varnames, *function.co_cellvars) if n.isidentifier()})


class _Awaits(ast.NodeTransformer):
    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        call = ast.Call(ast.copy_location(ast.Name(AWAIT, ast.Load()), node.value), [node.value], [])
        node.value = ast.copy_location(call, node.value)
        return node


class _Body(ast.NodeVisitor):
    """Visits the statements of a body, and not those of the functions and classes in it."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        pass


class _Yields(_Body):
    found: ast.expr | None = None

    def visit_Yield(self, node: ast.Yield | ast.YieldFrom) -> None:
        self.found = self.found or node

    visit_YieldFrom = visit_Yield


class _Waits(_Body):
    found = False

    def visit_Await(self, node: ast.AST) -> None:
        self.found = True

    visit_AsyncFor = visit_AsyncWith = visit_Await

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.found = self.found or bool(node.is_async)
        self.generic_visit(node)


class _Flat(ast.NodeTransformer):
    """Makes of a module's statements what a function with global names may hold."""

    def visit_FunctionDef(self, node: ast.AST) -> ast.AST:
        return node

    visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_FunctionDef

    def visit_Global(self, node: ast.Global) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if not isinstance(node.target, ast.Name):
            return node
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.names[0].name != "*":
            return node
        call = ast.Call(ast.Name(STAR, ast.Load()), [ast.Constant(node.module or "")], [])
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), node))


class _Names(_Body):
    """The names that a body binds."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.found.add(node.id)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        # Its target is its own; only `:=` inside it binds outside.
        self.visit(node.iter)
        for test in node.ifs:
            self.visit(test)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.found.add(node.name)
        super().visit_FunctionDef(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.found.add(node.name)
        super().visit_ClassDef(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.found.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.found.add(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.found.add(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.found.add(node.rest)
        self.generic_visit(node)
