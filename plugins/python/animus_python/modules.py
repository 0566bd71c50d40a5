"""The program's own modules, importable by their dotted names."""

import importlib.abc
import importlib.machinery
import sys

from . import failure, loop, transform


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules among sources, before the standard library; a name that only others begin with is a package."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources
        self._packages = {name.rpartition(".")[0] for name in sources}
        for name in list(self._packages):
            while name := name.rpartition(".")[0]:
                self._packages.add(name)
        self._packages.discard("")

    def __enter__(self) -> "Finder":
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *exception: object) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in (*self._sources, *self._packages):
            sys.modules.pop(name, None)

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self._sources and fullname not in self._packages:
            return None
        package = fullname in self._packages
        return importlib.machinery.ModuleSpec(fullname, self, origin=filename(fullname), is_package=package)

    def create_module(self, spec):
        return None

    def exec_module(self, module) -> None:
        name = module.__name__
        module.__file__ = filename(name)
        source = self._sources.get(name)
        if source is not None:
            failure.remember(filename(name), source)
            setattr(module, transform.AWAIT, loop.wait)
            exec(transform.module(source, filename(name)), module.__dict__)

    def get_source(self, fullname: str) -> str | None:
        return self._sources.get(fullname)


def filename(name: str) -> str:
    """What tracebacks call a module."""
    return f"{name.replace('.', '/')}.py"
