"""What this package asks for, what is installed of it, and the command that brings the rest."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "segformer_edu"
CORE = ""  # the name, among the extras, of what every use needs
LISTED = re.compile(r"""([\w.-]+)\s*([^;\s]*)\s*(?:;\s*extra\s*==\s*["'](.+)["'])?""")
CLAUSE = re.compile(r"(>=|<)(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Requirement:
    """A package that this one asks for, and the version that is installed, if any."""

    name: str
    specifier: str
    extra: str
    installed: str | None

    @property
    def met(self) -> bool:
        return self.installed is not None and satisfies(self.installed, self.specifier)


def requirements() -> list[Requirement]:
    """All that pyproject.toml lists: the core first, then every extra."""
    found = []
    for line in _listed():
        match = LISTED.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{line!r} is no requirement of the form 'name>=1.0,<2'.")
        name, specifier, extra = match.groups()
        found.append(Requirement(name, specifier, extra or CORE, installed_version(name)))
    return found


def _listed() -> list[str]:
    """Requirements as pyproject.toml has them, read from it or from what pip made of it."""
    path = Path(__file__).parent.parent / "pyproject.toml"
    if not path.exists():
        return importlib.metadata.requires(PACKAGE) or []
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = [f'{line}; extra == "{extra}"' for extra in extras for line in extras[extra]]
    return [*project["dependencies"], *optional]


def installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version lies within bounds such as ">=2.6,<3"; those two operators are all we use.

    >>> satisfies("2.13.0+cpu", ">=2.6,<3")
    True
    """
    for clause in filter(None, specifier.split(",")):
        match = CLAUSE.fullmatch(clause.strip())
        if match is None:
            raise ValueError(f"{clause!r} is no bound of the form >=1.0 or <2.")
        reached = _release(version) >= _release(match[2])
        if reached != (match[1] == ">="):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version, without zeros at its end: 2.0 and 2.0.0 are the same."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else [0]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def install_command(extra: str) -> str:
    """What to type, in the folder of the course, to get an extra."""
    return f'python -m pip install --editable ".{f"[{extra}]" if extra else ""}"'
