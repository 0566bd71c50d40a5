"""What Python code in Animus is written against: tools, models, the ledger, memory, children, and how to offer tools.

Everything that it reaches, it reaches by the host, under a grant. What is refused raises `animus.errors.Denied`.
"""

from . import children as children
from . import errors as errors
from . import ledger as ledger
from . import llm as llm
from . import memory as memory
from .errors import Error as Error
from .plugin import ToolOutput as ToolOutput
from .plugin import tool as tool
from .toolbox import Record as Record
from .toolbox import tools as tools

__all__ = ["Error", "Record", "ToolOutput", "children", "errors", "ledger", "llm", "memory", "tool", "tools"]
