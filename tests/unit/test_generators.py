"""No asynchronous generator is left open: what it holds would end at some later time, after the database is closed."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src/ebaysync"
HOLD_NOTHING = {"ops/prune.py", "ops/forget.py"}  # between two steps: each is a transaction of its own
ITERATORS = {"response.aiter_raw()", "retrying"}
"""of httpx, whose response is closed by its own block, and tenacity's, which is no generator"""


class _Loops(ast.NodeVisitor):
    """Collects what `async for` reads, where no `async with aclosing(…)` around it closes that."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.left_open: list[str] = []

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        own: list[str] = []
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "aclosing":
                own.append(ast.unparse(item.optional_vars or call.args[0]))
        self.closed += own
        self.generic_visit(node)
        del self.closed[len(self.closed) - len(own) :]

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        read = ast.unparse(node.iter)
        if read not in self.closed and read not in ITERATORS and not read.startswith("AsyncRetrying("):
            self.left_open.append(f"line {node.lineno}: {read}")
        self.generic_visit(node)


def test_every_generator_is_closed_where_it_is_read() -> None:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = str(path.relative_to(SOURCE))
        if name not in HOLD_NOTHING and not name.startswith("sim/"):
            loops = _Loops()
            loops.visit(ast.parse(path.read_text()))
            found[name] = loops.left_open
    assert len(found) > 100
    assert {name: lines for name, lines in found.items() if lines} == {}
