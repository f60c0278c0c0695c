"""How many small defects of the model, the loss and the metrics do the tests notice?

    python -m tools.mutants [--processes N] [MODULE…]     # all modules, or those named: layers loss

mutmut makes the defects, one at a time (a number plus one, < for <=, an argument left out, …), and
runs the tests that reach the changed function; [tool.mutmut] in pyproject.toml says where. A mutant
that no test notices must be listed in mutants.toml, with the reason why it computes the same. One
that is not is printed, as is a listed line that no survivor needs; the exit status is then 1.

Everything happens in a copy. There, decorators become assignments, because mutmut skips functions
that have one. Needs os.fork: Linux or macOS.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".toml")
MUTMUT = Path(sys.executable).with_name("mutmut")
NOTICED = {"killed", "timeout", "segfault"}


class Undecorated(ast.NodeTransformer):
    """Writes `@property def f` as `def f` and `f = property(f)`; leaves what mutmut can do."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef | list[ast.stmt]:
        if {ast.unparse(x) for x in node.decorator_list} <= {"classmethod", "staticmethod"}:
            return node
        value: ast.expr = ast.Name(node.name)
        for decorator in reversed(node.decorator_list):
            value = ast.Call(decorator, [value], [])
        node.decorator_list = []
        return [node, ast.Assign([ast.Name(node.name)], value)]


def undecorated(source: str) -> str:
    """The same module without decorated functions, and with every statement on one line."""
    return ast.unparse(ast.fix_missing_locations(Undecorated().visit(ast.parse(source)))) + "\n"


def place(mutant: str) -> tuple[str, str]:
    """Where a mutant is, from mutmut's name for it: ("decoder", "FoldedDecoder.classify")."""
    module, _, name = mutant.removeprefix("segformer_edu.").rpartition(".")
    name = re.sub(r"__mutmut_\d+$", "", name)
    return module, name.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")


def is_wording(before: str, after: str) -> bool:
    """Whether two lines differ only in the letters of an error message."""
    same = before.casefold() == after.replace("XX", "").casefold()
    return same and before.startswith("raise ValueError(")


def listed() -> dict[tuple[str, str, str], str]:
    """Why a mutant computes the same, by its module, its function and its changed line."""
    return {
        (module, function, line): reason["because"]
        for reason in tomllib.loads(LIST.read_text(encoding="utf-8"))["same"]
        for module, functions in reason["mutants"].items()
        for function, lines in functions.items()
        for line in lines
    }


def mutmut(folder: Path, *arguments: str) -> list[str]:
    """The lines that a command of mutmut prints in a folder."""
    run = subprocess.run(
        [MUTMUT, *arguments], cwd=folder, check=True, encoding="utf-8", stdout=subprocess.PIPE
    )
    return run.stdout.splitlines()


def changed_line(folder: Path, mutant: str) -> tuple[str, str]:
    """The line that a mutant changes, before and after."""
    lines = mutmut(folder, "show", mutant)[3:]  # below its name and those of the two files
    before, after = (next(x[1:].strip() for x in lines if x[0] == sign) for sign in "-+")
    return before, after


def report(folder: Path, modules: Iterable[str]) -> list[str]:
    """Print a table, a row for each module; return what is wrong."""
    same = {mutant: why for mutant, why in listed().items() if mutant[0] in modules}
    counts: dict[str, Counter[str]] = {module: Counter() for module in modules}
    amiss, needed = [], set()
    for line in mutmut(folder, "results", "--all", "true"):
        mutant, _, outcome = line.strip().partition(": ")
        module, function = place(mutant)
        if module not in modules:
            continue
        kind = "killed" if outcome in NOTICED else "survived"
        if kind == "survived":
            before, after = changed_line(folder, mutant)
            if (module, function, after) in same:
                needed.add((module, function, after))
                kind = "the same"
            elif is_wording(before, after):
                kind = "wording"
            else:
                amiss.append(f"{mutant} {outcome}:\n    - {before}\n    + {after}")
        counts[module][kind] += 1
    counts["all"] = sum(counts.values(), Counter())
    print(f"{'module':20} mutants  killed  the same  wording  survived   score")
    for module, n in counts.items():
        score = n["killed"] / (n["killed"] + n["survived"])
        print(
            f"{module:20} {n.total():7} {n['killed']:7} {n['the same']:9} {n['wording']:8} "
            f"{n['survived']:9} {score:7.1%}"
        )
    return amiss + [f"no survivor, but listed: {' '.join(x)}" for x in sorted(same.keys() - needed)]


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    files = project["tool"]["mutmut"]["only_mutate"]
    modules = [Path(x).relative_to("segformer_edu").with_suffix("").as_posix() for x in files]
    modules = [module.replace("/", ".") for module in modules]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", default="1")
    parser.add_argument("modules", nargs="*", metavar="MODULE", choices=[[], *modules])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("segformer_edu", "tests"):
            shutil.copytree(ROOT / part, folder / part)
        shutil.copy(ROOT / "pyproject.toml", folder)
        for file in files:
            path = folder / file
            path.write_text(undecorated(path.read_text(encoding="utf-8")), encoding="utf-8")
        command = [MUTMUT, "run", "--max-children", arguments.processes]
        command += [f"segformer_edu.{module}.*" for module in arguments.modules]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=folder, env=environment, check=True)
        amiss = report(folder, arguments.modules or modules)
    print(*amiss, sep="\n")
    sys.exit(bool(amiss))


if __name__ == "__main__":
    main()
