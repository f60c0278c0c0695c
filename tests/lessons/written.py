"""What a lesson's source writes out, to be tested without running the lesson."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import jupytext


def code_cells(source: Path) -> list[str]:
    """The code of a lesson, cell by cell."""
    cells = jupytext.read(source, fmt="py:percent").cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def written_out(source: Path, imports: bool = False, **names: Any) -> dict[str, Any]:
    """The functions and classes that a lesson writes out, by name; nothing else of it is run.

    Args:
        source: the lesson's py:percent file.
        imports: run its imports, too.
        names: what they need that the lesson imports or computes.
    """
    written: tuple[type[ast.stmt], ...] = (ast.FunctionDef, ast.ClassDef)
    if imports:
        written += (ast.Import, ast.ImportFrom)
    body = [
        n for cell in code_cells(source) for n in ast.parse(cell).body if isinstance(n, written)
    ]
    exec(compile(ast.Module(body, type_ignores=[]), source, "exec"), names)
    return names
