"""What this package requires, what of it is installed, and the command that installs the rest."""

from __future__ import annotations

import importlib.metadata
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PACKAGE = "segformer_edu"
CORE = ""  # the name, among the extras, of what is always required
PROJECT = Path(__file__).parent.parent / "pyproject.toml"


@dataclass(frozen=True)
class Dependency:
    """A package that this one requires, and the version that is installed, if any."""

    name: str
    specifier: SpecifierSet
    extra: str
    installed: str | None

    @property
    def met(self) -> bool:
        """Whether the installed version lies within the bounds; a nightly build may, too."""
        if self.installed is None:
            return False
        return self.specifier.contains(self.installed, prereleases=True)


def dependencies() -> list[Dependency]:
    """All that pyproject.toml lists: the core first, then every extra."""
    return [
        Dependency(each.name, each.specifier, extra, installed_version(each.name))
        for extra, requirements in _listed().items()
        for each in requirements
    ]


def _listed() -> dict[str, list[Requirement]]:
    """The requirements of each extra, from pyproject.toml or from what pip made of it."""
    if PROJECT.exists():
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
        listed = {CORE: project["dependencies"], **project["optional-dependencies"]}
        return {extra: list(map(Requirement, lines)) for extra, lines in listed.items()}
    every = list(map(Requirement, importlib.metadata.requires(PACKAGE) or []))
    extras = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    core = [each for each in every if each.marker is None]
    return {CORE: core} | {
        extra: [each for each in every if each.marker and each.marker.evaluate({"extra": extra})]
        for extra in extras
    }


def installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def install_command(extra: str) -> str:
    """What to type, in any folder, to install an extra: into a clone, or beside what pip has."""
    wanted = f"[{extra}]" if extra else ""
    if PROJECT.exists():
        return f'python -m pip install --editable "{PROJECT.parent}{wanted}"'
    return f'python -m pip install "{PACKAGE}{wanted}"'
