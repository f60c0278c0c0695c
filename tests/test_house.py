"""The package is a house with floors, and every import goes to a lower floor."""

import ast
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import segformer_edu

PACKAGE = Path(segformer_edu.__file__).parent
FLOORS = [  # from the ground up; a name is a module or a folder
    {"checks", "extras", "files", "layers", "memory", "strips"},
    {"attention", "data", "loss", "mix_ffn", "patch_embedding", "stochastic_depth"},
    {"config"},
    {"checkpoints", "decoder", "encoder"},
    {"segformer"},
    {"analysis", "doctor", "tiles"},
    {"plots"},
    {"training"},
    {"exercises", "page", "widgets"},
    {"commands"},
    {"__init__", "__main__"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
MODEL = {  # what the lessons build
    *("attention", "checks", "config", "decoder", "encoder", "layers", "loss", "mix_ffn"),
    *("patch_embedding", "segformer", "stochastic_depth", "strips"),
}


def imports(path):
    """Full names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(name):
    """The module or folder of the package that a full name lies in, or None outside of it."""
    package, *rest = name.split(".")
    return rest[0] if package == PACKAGE.name and rest and rest[0] in FLOOR_OF else None


FILES = {
    path: path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")
}


def test_every_part_has_its_floor():
    assert set(FILES.values()) == set(FLOOR_OF)


@pytest.mark.parametrize("name", sorted(set(FILES.values())))
def test_a_part_imports_only_what_lies_below_it(name):
    found = {
        (str(path.relative_to(PACKAGE)), below)
        for path, own in FILES.items()
        if own == name
        for below in filter(None, map(part, imports(path)))
        if below != name and FLOOR_OF[below] >= FLOOR_OF[name]
    }
    assert not found


def test_imports_run_in_no_circle():
    modules = {
        ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in FILES
    }
    graph = defaultdict(set)
    for name, path in modules.items():
        graph[name] = {other for other in imports(path) if other in modules}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))
    assert set(order) == set(modules)


@pytest.mark.parametrize("name", sorted(MODEL))
def test_the_model_needs_torch_and_nothing_else(name):
    roots = {each.partition(".")[0] for each in imports(PACKAGE / f"{name}.py")}
    assert roots - set(sys.stdlib_module_names) <= {"torch", "numpy", PACKAGE.name}
