"""The Python interpreter of Animus: runs programs in a fresh CPython, and reads them as the source of tools."""
