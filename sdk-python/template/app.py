"""Greets people."""

from animus import tool
from animus.errors import Invalid


@tool(read_only=True)
def greet(name: str) -> str:
    """Greets somebody by name.

    Args:
        name: Who is greeted.
    """
    if not name.strip():
        raise Invalid("name is empty; say who is greeted")
    return f"Hello, {name.strip()}!"
