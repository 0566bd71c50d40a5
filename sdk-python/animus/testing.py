"""A fake host, to test plugins and programs without a component.

from animus.testing import FakeHost, call
import app

with FakeHost() as host:
    host.add_tool("fs.read_file", lambda path: "three words here")
    assert call(app, "count", {"path": "a.txt"}) == 3
    assert host.calls == [("fs.read_file", {"path": "a.txt"})]
"""

from __future__ import annotations

import fnmatch
import json
import string
import time
from collections.abc import Callable, Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

from . import errors, plugin, schema, shapes, toolbox
from . import host as seam


class FakeHost:
    """What `animus` reaches while it is entered: tools that you add, a ledger and a memory that begin empty, canned
    models.

    Everything is allowed but what `deny` names. One host is for one test.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Each call of a tool: its name and arguments."""
        self.requests: list[Any] = []
        """Each request to a model, as in `animus:llm`."""
        self.entries: list[Any] = []
        """The ledger."""
        self.items: dict[str, Any] = {}
        """The memory, by id."""
        self.children: list[Any] = []
        """Each child that was spawned, as in `animus:spawn-child`; they have ended at once."""
        self._earlier: dict[str, list[Any]] = {}
        self.asked: list[str] = []
        """The functions of the host that were called, such as `tool.describe`."""
        self._tools: dict[str, tuple[Any, Callable[..., Any]]] = {}
        self._answers: list[str] = []
        self._worker: Callable[[str, str, dict[str, Any]], Any] | None = None
        self._denied: list[str] = []
        self._before: list[Any] = []

    def __enter__(self) -> FakeHost:
        self._before.append(seam.use(self))
        toolbox.tools._forget()
        return self

    def __exit__(self, *exception: object) -> None:
        seam.use(self._before.pop())
        toolbox.tools._forget()

    def add_tool(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        description: str | None = None,
        input_schema: dict[str, Any] | None = None,
        output_schema: dict[str, Any] | None = None,
    ) -> None:
        """Have a tool of this full name, which calls `function` with the arguments by name.

        Its schemas are those of the function's hints, unless given; a function without hints takes anything. What it
        raises of `animus.errors` is what the caller gets; `ToolOutput(is_error=True, …)` is the answer of a tool that
        failed.
        """
        try:
            given, returned = schema.of_parameters(function), schema.of_return(function)[0]
        except (schema.Unsuitable, ValueError):
            given, returned = {"type": "object"}, None
        marks = getattr(function, plugin.MARK, plugin.Marks())
        output = output_schema or returned
        definition = shapes.Definition(
            name,
            description or schema.docstring(function.__doc__ or "")[0] or f"The tool {name}.",
            json.dumps(input_schema or given),
            None if output is None else json.dumps(output),
            shapes.Annotations(marks.read_only, marks.idempotent, marks.destructive, marks.open_world),
        )
        self._tools[name] = (definition, function)

    def add_answer(self, *texts: str) -> None:
        """Answer the next requests to a model with these texts, in their order."""
        self._answers += texts

    def add_worker(self, work: Callable[[str, str, dict[str, Any]], Any]) -> None:
        """Have children done by `work(faculty, description, params)`. What it returns is the child's summary, of a dict
        its data; what it raises of `animus.errors` makes it a child that failed."""
        self._worker = work

    def deny(self, *capabilities: str) -> None:
        """Refuse these: `tool:fs.write_file`, `tool:fs.*`, `ledger:append`, `memory:write`, `llm:fast`,
        `spawn-child:assistant`."""
        self._denied += capabilities

    def interface(self, name: str) -> Any:
        """What stands for an interface of the contracts."""
        return getattr(self, f"_{name}")()

    def _check(self, function: str, capability: str) -> None:
        self.asked.append(function)
        if any(fnmatch.fnmatchcase(capability, pattern) for pattern in self._denied):
            raise _err("Denied", shapes.Denial(capability, shapes.Gate.GRANT, shapes.Unlock.ASK_OPERATOR))

    def _tool(self) -> Any:
        return SimpleNamespace(list=self._list, describe=self._describe, call=self._call)

    def _list(self) -> list[Any]:
        self.asked.append("tool.list")
        allowed = (d for d, _ in self._tools.values())
        return [d for d in allowed if not any(fnmatch.fnmatchcase(f"tool:{d.name}", p) for p in self._denied)]

    def _describe(self, name: str) -> Any:
        self._check("tool.describe", f"tool:{name}")
        return self._found(name)[0]

    def _call(self, name: str, args: str) -> Any:
        self._check("tool.call", f"tool:{name}")
        definition, function = self._found(name)
        given = json.loads(args)
        self.calls.append((name, given))
        try:
            if json.loads(definition.input_schema) != {"type": "object"}:
                _fits(given, json.loads(definition.input_schema), f"arguments of '{name}'")
                value = function(**schema.arguments(function, given, name))
            else:
                value = function(**given)
            output, wrapped = schema.of_return(function)
            if definition.output_schema is not None and output is None:
                output, wrapped = json.loads(definition.output_schema), not isinstance(value, dict)
            return plugin.result(value, output, wrapped, name)
        except errors.ToolFailed as error:
            return shapes.ToolResult(error.text, None, [], True)
        except errors.Error as error:
            raise shapes.Err(errors.to_wit(error)) from None

    def _found(self, name: str) -> tuple[Any, Callable[..., Any]]:
        if name not in self._tools:
            raise _err("NotFound", f"no tool '{name}'")
        return self._tools[name]

    def _ledger(self) -> Any:
        return SimpleNamespace(
            EntryType=shapes.EntryType,
            Filter=shapes.Filter,
            append=self._append,
            read=self._read,
            formatted=self._formatted,
        )

    def _append(self, entry_type: Any, content: str) -> int:
        self._check("ledger.append", "ledger:append")
        if len(content.encode()) > 64 * 1024:
            raise _err("Invalid", "a ledger entry has at most 64 KiB")
        self.entries.append(shapes.Entry(len(self.entries) + 1, entry_type, content, _now()))
        return len(self.entries)

    def _read(self, which: Any) -> list[Any]:
        self._check("ledger.read", "ledger:read")
        found = [e for e in self.entries if which.entry_type in (None, e.entry_type)]
        return found[-min(which.last_n if which.last_n is not None else 1000, 1000) :] if which.last_n != 0 else []

    def _formatted(self) -> str:
        self._check("ledger.formatted", "ledger:read")
        return "\n".join(f"{e.seq}. {e.entry_type.name.lower()}: {e.content}" for e in self.entries)

    def _memory(self) -> Any:
        return SimpleNamespace(
            RecallOptions=shapes.RecallOptions,
            store=self._store,
            recall=self._recall,
            get=self._get,
            update=self._update,
            versions=self._versions,
            forget=self._forget,
            tag=self._tag,
        )

    def _store(self, content: str, kind: str, tags: Iterable[str]) -> str:
        self._check("memory.store", "memory:write")
        id = f"m{len(self.items) + 1}"
        now = _now()
        self.items[id] = shapes.Item(id, content, kind, list(tags), "test", now, 1, now)
        return id

    def _recall(self, query: str, options: Any) -> list[Any]:
        self._check("memory.recall", "memory:read")
        words, hits = query.lower().split(), []
        for item in self.items.values():
            score = sum(word in item.content.lower() for word in words)
            fits = (
                options.kind in (None, item.kind)
                and set(options.tags) <= set(item.tags)
                and options.source in (None, item.source)
                and (options.since_ms is None or item.updated_ms >= options.since_ms)
                and (options.until_ms is None or item.updated_ms < options.until_ms)
            )
            if fits and (score or not words):
                hits.append(shapes.Hit(item, float(score)))
        hits.reverse()
        return sorted(hits, key=lambda hit: -hit.score)[: options.limit or 10]

    def _get(self, id: str) -> Any:
        self._check("memory.get", "memory:read")
        return self._item(id)

    def _update(self, id: str, content: str, from_version: int | None) -> int:
        self._check("memory.update", "memory:write")
        item = self._item(id)
        if item.content != content:
            if from_version not in (None, item.version):
                raise _err("Conflict", f"memory '{id}' is at version {item.version}")
            earlier = self._earlier.setdefault(id, [])
            earlier.insert(0, shapes.Version(item.version, item.content, item.updated_ms))
            del earlier[10:]
            item.content, item.version, item.updated_ms = content, item.version + 1, _now()
        version: int = item.version
        return version

    def _versions(self, id: str) -> list[Any]:
        self._check("memory.versions", "memory:read")
        item = self._item(id)
        return [shapes.Version(item.version, item.content, item.updated_ms), *self._earlier.get(id, [])]

    def _forget(self, id: str) -> None:
        self._check("memory.forget", "memory:write")
        self._earlier.pop(id, None)
        del self.items[self._item(id).id]

    def _tag(self, id: str, tag: str) -> None:
        self._check("memory.tag", "memory:write")
        self._item(id).tags.append(tag)

    def _item(self, id: str) -> Any:
        if id not in self.items:
            raise _err("NotFound", f"no memory '{id}'")
        return self.items[id]

    def _spawn_child(self) -> Any:
        return SimpleNamespace(
            NewChild=shapes.NewChild,
            spawn=self._spawn,
            await_=lambda ids, timeout_ms: self._children("await", ids),
            check=lambda ids: self._children("check", ids),
            cancel=lambda id: self._children("cancel", [id]) and None,
        )

    def _spawn(self, new: Any) -> str:
        self._check("spawn_child.spawn", f"spawn-child:{new.faculty}")
        child = shapes.Child(f"c{len(self.children) + 1}", new.faculty, shapes.ChildState.COMPLETED, True, "")
        try:
            if self._worker is None:
                raise errors.Unavailable("the fake host has nobody who does it; give it one with add_worker")
            answer = self._worker(new.faculty, new.description, json.loads(new.params))
            if isinstance(answer, dict):
                child.data = json.dumps(answer)
            else:
                child.summary = str(answer)
        except errors.Error as error:
            child.state, child.success, child.error = shapes.ChildState.FAILED, False, str(error)
        self.children.append(child)
        return child.id

    def _children(self, function: str, ids: list[str]) -> list[Any]:
        self._check(f"spawn_child.{function}", "spawn-child")
        known = {child.id: child for child in self.children}
        for id in ids:
            if id not in known:
                raise _err("NotFound", f"this work has no child '{id}'")
        return [known[id] for id in ids]

    def _llm(self) -> Any:
        names = ("Request", "Message", "Role", "Content_Text")
        return SimpleNamespace(
            complete=self._complete, embed=self._embed, list_models=self._models, **{n: getattr(shapes, n) for n in names}
        )

    def _complete(self, request: Any) -> Any:
        self._check("llm.complete", f"llm:{request.model or 'default'}")
        self.requests.append(request)
        if not self._answers:
            raise _err("Unavailable", "the fake host has no answer left; give it one with add_answer")
        message = shapes.Message(shapes.Role.ASSISTANT, [shapes.Content_Text(self._answers.pop(0))])
        return shapes.Response(message, shapes.StopReason_EndTurn(), shapes.Usage(), "fake:model")

    def _embed(self, texts: list[str]) -> Any:
        """Vectors of the letters that a text has: good for texts of the same letters only."""
        self._check("llm.embed", "llm:embed")
        if not 1 <= len(texts) <= 256 or any(not t.strip() or len(t.encode()) > 64 * 1024 for t in texts):
            raise _err("Invalid", "1 to 256 texts are embedded, none of them blank or longer than 64 KiB")
        vectors = [[float(t.lower().count(letter)) for letter in string.ascii_lowercase] for t in texts]
        return shapes.Embeddings("fake:letters", vectors, shapes.Usage())

    def _models(self) -> list[str]:
        self.asked.append("llm.list_models")
        return ["default"]


def call(module: ModuleType, name: str, args: dict[str, Any] | None = None) -> Any:
    """Call a tool of a plugin's module as the host would: arguments and answer go through JSON and are checked.

    The value is what a program gets that calls the tool. Raises `animus.errors`; `ToolFailed` where it reports failure.
    """
    tools = plugin.export(module)()
    definitions = {d.name: d for d in tools.list_tools()}
    try:
        answer = tools.call_tool(name, json.dumps(args or {}))
    except Exception as error:
        value = getattr(error, "value", None)
        if type(error).__name__ != "Err" or value is None:
            raise
        raise errors.from_wit(value) from None
    if answer.is_error:
        raise errors.ToolFailed(name, answer.text)
    expected = definitions[name].output_schema
    if expected is not None:
        _fits(json.loads(answer.structured), json.loads(expected), f"the answer of '{name}'")
    return toolbox._value(answer)


def _err(case: str, value: Any) -> shapes.Err:
    return shapes.Err(getattr(shapes, f"Error_{case}")(value))


def _now() -> int:
    return time.time_ns() // 1_000_000


_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def _fits(value: Any, schema_: Any, where: str) -> None:
    """Raises `Invalid` where a value does not fit a JSON Schema, by the keywords that `animus.schema` writes."""
    if not isinstance(schema_, dict):
        return
    if options := schema_.get("anyOf"):
        if not any(_is_fit(value, option, where) for option in options):
            raise errors.Invalid(f"{where}: {json.dumps(value)[:60]} fits none of what is allowed")
        return
    kinds = schema_.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(
        isinstance(value, _KINDS[k]) and (k == "boolean" or not isinstance(value, bool)) for k in kinds
    ):
        raise errors.Invalid(f"{where}: must be {' or '.join(kinds)}, not {json.dumps(value)[:60]}")
    if "enum" in schema_ and value not in schema_["enum"]:
        raise errors.Invalid(f"{where}: must be one of {json.dumps(schema_['enum'])}")
    if isinstance(value, list):
        for i, item in enumerate(value):
            _fits(item, schema_.get("items"), f"{where}[{i}]")
    if isinstance(value, dict):
        properties, others = schema_.get("properties", {}), schema_.get("additionalProperties")
        for name in schema_.get("required", ()):
            if name not in value:
                raise errors.Invalid(f"{where}: missing '{name}'")
        for name, item in value.items():
            if name not in properties and others is False:
                raise errors.Invalid(f"{where}: unknown '{name}'; there are {', '.join(properties)}")
            _fits(item, properties.get(name, others), f"{where}.{name}")


def _is_fit(value: Any, option: Any, where: str) -> bool:
    try:
        _fits(value, option, where)
    except errors.Invalid:
        return False
    return True
