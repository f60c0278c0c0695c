"""The package's own definitions, as a lesson shows them."""

import ast
import importlib
import inspect
import re
import textwrap

LINE_LENGTH = 100
DOCSTRING = re.compile(r'(\s*)(\w*""")(.*)"""', re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`(])")


def public_definitions(module_name: str) -> list[str]:
    """Full names of the public classes and functions that a module defines."""
    module = importlib.import_module(module_name)
    return [
        f"{module_name}.{name}"
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module_name
        and not name.startswith("_")
    ]


def definition(full_name: str) -> str:
    """The source of a class or function, each docstring in it cut to its first sentence."""
    module_name, _, name = full_name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"there is no {full_name} to mirror") from error
    return cut_docstrings(inspect.getsource(found))


def cut_docstrings(source: str) -> str:
    """The same code, each docstring cut to its first sentence."""
    lines = source.rstrip().splitlines()
    docstrings = [
        node.body[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
    ]
    for docstring in sorted(docstrings, key=lambda node: node.lineno, reverse=True):
        place = slice(docstring.lineno - 1, docstring.end_lineno)
        if match := DOCSTRING.fullmatch("\n".join(lines[place])):
            indent, opening, text = match.groups()
            room = LINE_LENGTH - len(indent + opening) - 3
            short = textwrap.fill(_first_sentence(text), room, break_on_hyphens=False)
            lines[place] = textwrap.indent(f'{opening}{short}"""', indent).splitlines()
    return "\n".join(lines)


def _first_sentence(text: str) -> str:
    paragraph = inspect.cleandoc(text).partition("\n\n")[0]
    return SENTENCE_END.split(" ".join(paragraph.split()), maxsplit=1)[0]
