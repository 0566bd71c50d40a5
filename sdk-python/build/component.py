"""Takes imports out of a component.

CPython's C library imports `wasi:sockets` whether a program opens a socket or not, and no Animus host links it. Here
each such import becomes an instance of a small component that has the same functions, every one of which traps, so that
what is left to import is only what a host may grant. (The Python side refuses sockets with an exception long before the
trap.)

The replacement keeps every index space but that of components as it was: an import of an instance makes one instance,
and so does an instantiation.
"""

from collections.abc import Callable, Iterator

HEADER = b"\0asm\x0d\0\x01\0"
CORE_HEADER = b"\0asm\x01\0\0\0"
# Section numbers of the component model's binary format.
CORE_MODULE, CORE_INSTANCE, COMPONENT, INSTANCE, ALIAS, TYPE, CANON, IMPORT, EXPORT = 1, 2, 4, 5, 6, 7, 8, 10, 11
# Sorts of a component's items.
FUNC, SORT_TYPE, SORT_COMPONENT, SORT_INSTANCE = 1, 3, 4, 5
# Core value types, and a component's type that is passed as one.
FLAT = {0x7F: 0x79, 0x7E: 0x77, 0x7D: 0x76, 0x7C: 0x75}

Signature = tuple[bytes, bytes]


class Malformed(Exception):
    """The bytes are not a component of the shape that componentize-py makes."""


class Reader:
    """Reads the binary format from `data`, from `at` to `end`."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def byte(self) -> int:
        if self.at >= self.end:
            raise Malformed("it ends early")
        self.at += 1
        return self.data[self.at - 1]

    def u32(self) -> int:
        return self._leb()[0]

    def s32(self) -> int:
        """A signed number, as the unsigned one of the same 32 bits."""
        value, bits = self._leb()
        return (value - (1 << bits) if value >> (bits - 1) else value) & 0xFFFFFFFF

    def _leb(self) -> tuple[int, int]:
        """A number, and of how many bits it is."""
        value = bits = 0
        while True:
            b = self.byte()
            value |= (b & 0x7F) << bits
            bits += 7
            if not b & 0x80:
                return value, bits

    def take(self, n: int) -> bytes:
        if self.at + n > self.end:
            raise Malformed("it ends early")
        self.at += n
        return self.data[self.at - n : self.at]

    def name(self) -> str:
        return self.take(self.u32()).decode()

    def sections(self, header: bytes) -> Iterator[tuple[int, int, "Reader"]]:
        """Number, offset of the whole section, and a reader of its content."""
        if self.take(8) != header:
            raise Malformed("its header is another")
        while self.at < self.end:
            start, number, size = self.at, self.byte(), self.u32()
            content = self.at
            self.take(size)
            yield number, start, Reader(self.data, content, self.at)


def u32(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def text(value: str) -> bytes:
    data = value.encode()
    return u32(len(data)) + data


def vec(items: list[bytes]) -> bytes:
    return u32(len(items)) + b"".join(items)


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + u32(len(content)) + content


def imports(component: bytes) -> list[str]:
    """The names of a component's imports, in its order."""
    return [name for number, _, r in Reader(component).sections(HEADER) if number == IMPORT for name, *_ in _imports(r)]


def exports(component: bytes) -> list[str]:
    """The names of a component's exports, in its order."""
    names = []
    for number, _, r in Reader(component).sections(HEADER):
        for _ in range(r.u32() if number == EXPORT else 0):
            r.byte()
            names.append(r.name())
            _sort(r)
            r.u32()
            if r.byte():
                _extern(r)
    return names


def without(component: bytes, drop: Callable[[str], bool]) -> bytes:
    """The component without the imported instances whose names `drop` picks."""
    names = [name for name in imports(component) if drop(name)]
    if not names:
        return component
    core = _core_imports(component)
    wanted = _aliases(component, set(names))
    out, added, instances, dropped = [HEADER], 0, 0, {}
    for number, start, r in Reader(component).sections(HEADER):
        whole = component[start : r.end]
        if number == IMPORT:
            for name, raw, sort in _imports(r):
                if name in wanted:
                    funcs, types = wanted[name]
                    signatures = [core[(_unversioned(name), f)] for f in funcs]
                    out += [section(COMPONENT, _trapping(signatures, types))]
                    out += [section(INSTANCE, vec([b"\0" + u32(added) + u32(0)]))]
                    dropped[instances] = name
                    added += 1
                else:
                    out.append(section(IMPORT, vec([raw])))
                instances += sort == SORT_INSTANCE
        elif number == INSTANCE:
            entries = []
            for _ in range(r.u32()):
                entries.append(_instance(r, added))
            instances += len(entries)
            out.append(section(INSTANCE, vec(entries)))
        elif number == ALIAS:
            entries = []
            for sort, instance, name, raw in _alias(r):
                if instance in dropped:
                    funcs, types = wanted[dropped[instance]]
                    short = f"f{funcs.index(name)}" if sort == FUNC else f"t{types.index(name)}"
                    raw = bytes([sort, 0]) + u32(instance) + text(short)
                instances += sort == SORT_INSTANCE
                entries.append(raw)
            out.append(section(ALIAS, vec(entries)))
        else:
            # An export makes an index of its sort too; those of instances come last and nothing refers to them.
            out.append(whole)
    return b"".join(out)


def _unversioned(name: str) -> str:
    return name.partition("@")[0]


def _sort(r: Reader) -> int:
    sort = r.byte()
    if sort == 0:
        r.byte()
    return sort


def _extern(r: Reader) -> int:
    """Skips an externdesc and returns its sort."""
    sort = r.byte()
    if sort == 0 or sort in (SORT_TYPE, 2):
        form = r.byte()
        if sort == 0 or form == 0:
            r.u32()
        elif sort == 2:
            raise Malformed("it imports a value")
    else:
        r.u32()
    return sort


def _imports(r: Reader) -> Iterator[tuple[str, bytes, int]]:
    for _ in range(r.u32()):
        start = r.at
        if r.byte() > 1:
            raise Malformed("an import has a name of an unknown form")
        name = r.name()
        sort = _extern(r)
        yield name, r.data[start : r.at], sort


def _instance(r: Reader, added: int) -> bytes:
    """An entry of an instance section, its component's index moved by `added`."""
    form = r.byte()
    if form == 1:
        start = r.at
        for _ in range(r.u32()):
            if r.byte() > 1:
                raise Malformed("an export has a name of an unknown form")
            r.name()
            if _sort(r) == SORT_COMPONENT:
                raise Malformed("it exports a component")
            r.u32()
        return b"\x01" + r.data[start : r.at]
    component = r.u32()
    start = r.at
    for _ in range(r.u32()):
        r.name()
        if _sort(r) == SORT_COMPONENT:
            raise Malformed("it passes a component")
        r.u32()
    return b"\0" + u32(component + added) + r.data[start : r.at]


def _alias(r: Reader) -> Iterator[tuple[int, int | None, str, bytes]]:
    """Sort, component instance (none for others), name, and the entry itself."""
    for _ in range(r.u32()):
        start = r.at
        sort, form, index = _sort(r), r.byte(), r.u32()
        if form == 2:
            r.u32()
            if sort == SORT_COMPONENT:
                raise Malformed("it refers to an outer component")
            yield sort, None, "", r.data[start : r.at]
        else:
            name = r.name()
            yield sort, index if form == 0 else None, name, r.data[start : r.at]


def _aliases(component: bytes, names: set[str]) -> dict[str, tuple[list[str], list[str]]]:
    """What is taken of the instances `names`: their functions and types."""
    wanted: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in names}
    by_index, instances = {}, 0
    for number, _, r in Reader(component).sections(HEADER):
        if number == IMPORT:
            for name, _, sort in _imports(r):
                if sort == SORT_INSTANCE:
                    by_index[instances] = name
                    instances += 1
        elif number == INSTANCE:
            for _ in range(r.u32()):
                _instance(r, 0)
                instances += 1
        elif number == ALIAS:
            for sort, instance, name, _ in _alias(r):
                instances += sort == SORT_INSTANCE
                interface = by_index.get(instance) if instance is not None else None
                if interface in wanted:
                    if sort not in (FUNC, SORT_TYPE):
                        raise Malformed(f"it takes more than functions and types of {interface}")
                    items = wanted[interface][0 if sort == FUNC else 1]
                    if name not in items:
                        items.append(name)
    return wanted


def _core_imports(component: bytes) -> dict[tuple[str, str], Signature]:
    """How the core modules call the functions that they import."""
    found: dict[tuple[str, str], Signature] = {}
    for number, _, module in Reader(component).sections(HEADER):
        if number != CORE_MODULE:
            continue
        types: list[Signature | None] = []
        for core_number, _, r in Reader(module.data, module.at, module.end).sections(CORE_HEADER):
            if core_number == 1:
                for _ in range(r.u32()):
                    if r.byte() != 0x60:
                        raise Malformed("a core module has a type that is not a function's")
                    types.append((r.take(r.u32()), r.take(r.u32())))
            elif core_number == 2:
                _functions(r, types, found)
    return found


def _functions(r: Reader, types: list[Signature | None], found: dict[tuple[str, str], Signature]) -> None:
    for _ in range(r.u32()):
        module, name, kind = r.name(), r.name(), r.byte()
        if kind == 0:
            found[(_unversioned(module), name)] = types[r.u32()]
        elif kind == 3:
            r.take(2)
        elif kind == 4:
            r.byte()
            r.u32()
        else:
            if kind == 1:
                r.byte()
            flags = r.byte()
            r.u32()
            if flags & 1:
                r.u32()


# The resources of wasi:sockets; its other types are plain values.
RESOURCES = {
    "network",
    "tcp-socket",
    "udp-socket",
    "incoming-datagram-stream",
    "outgoing-datagram-stream",
    "resolve-address-stream",
}


def _trapping(signatures: list[Signature], types: list[str]) -> bytes:
    """A component that exports functions `f0`… which trap, and types `t0`…."""
    count = len(signatures)
    module = CORE_HEADER
    module += section(
        1, vec([b"\x60" + vec([bytes([t]) for t in p]) + vec([bytes([t]) for t in q]) for p, q in signatures])
    )
    module += section(3, vec([u32(i) for i in range(count)]))
    module += section(7, vec([text(f"f{i}") + b"\0" + u32(i) for i in range(count)]))
    module += section(10, vec([b"\x03\0\0\x0b"] * count))
    funcs = []
    for params, results in signatures:
        flat = vec([text(f"p{i}") + bytes([FLAT[t]]) for i, t in enumerate(params)])
        funcs.append(b"\x40" + flat + (b"\0" + bytes([FLAT[results[0]]]) if results else b"\x01\0"))
    values = [b"\x3f\x7f\0" if name in RESOURCES else b"\x7d" for name in types]
    out = HEADER
    if count:
        out += section(CORE_MODULE, module) + section(CORE_INSTANCE, vec([b"\0\0\0"]))
        out += section(ALIAS, vec([b"\0\0\x01\0" + text(f"f{i}") for i in range(count)]))
    if funcs or values:
        out += section(TYPE, vec(funcs + values))
    if count:
        out += section(CANON, vec([b"\0\0" + u32(i) + b"\0" + u32(i) for i in range(count)]))
    items = [b"\0" + text(f"f{i}") + bytes([FUNC]) + u32(i) + b"\0" for i in range(count)]
    # Each export of a type makes a further type, so these indices stay those of the definitions.
    items += [b"\0" + text(f"t{i}") + bytes([SORT_TYPE]) + u32(count + i) + b"\0" for i in range(len(types))]
    return out + section(EXPORT, vec(items))
