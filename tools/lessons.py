"""Build the lessons from their sources, and check that nothing has drifted.

    python -m tools.lessons build [NAME…]     # all lessons, or those that start with NAME: 03
    python -m tools.lessons check

A source is notebooks/source/NN_name.py, in jupytext's py:percent; CONTRIBUTING.md says how.
"""

import argparse
import hashlib
import io
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from segformer_edu.exercises import all_exercises
from tools.mirror import definition, public_definitions
from tools.pace import pace, pace_problems
from tools.prose import CLAIM, Claims, bare_numbers, claims_of, fill, load_claims

ROOT = Path(__file__).resolve().parent.parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}
TAGS = {"mirror", "stage", "nbval-ignore-output", "raises-exception"}
# The lesson by which every public definition of a module has been shown.
OWNERS = {
    "patch_embedding": "01",
    "attention": "03",
    "mix_ffn": "04",
    "stochastic_depth": "05",
    "encoder": "06",
    "decoder": "07",
    "segformer": "07",
}
MAX_BYTES, MAX_LINES, MAX_IGNORED = 1_000_000, 30, 3
MAX_MIRRORED = 60  # lines of a definition of the package, which cannot be cut in two
NBVAL_COMMENT = re.compile(r"#\s*(NBVAL|PYTEST_VALIDATE)_", re.IGNORECASE)
NO_ALT = re.compile(r'!\[\s*\]\(|<img(?![^>]*\balt="[^"])')
MACHINE_PATH = re.compile(
    r"(?<![\w.~/])/(?:home|root|Users|tmp|usr|opt|mnt|var|private)/\S+|\b[A-Z]:\\\S+"
    rf"|{re.escape(str(ROOT))}\S*|/site-packages/\S+"
)


class LessonError(Exception):
    """A lesson that cannot be made; the message names its file and cell."""


def sources(notebooks: Path) -> list[Path]:
    return sorted((notebooks / "source").glob("[0-9][0-9]_*.py"))


def assemble(source: Path, claims: Claims) -> NotebookNode:
    """The notebook of a source: mirrors and claims filled in, ids fixed, not yet run."""
    notebook = nbformat.v4.new_notebook(metadata=METADATA)
    seen: Counter[str] = Counter()
    for index, cell in enumerate(jupytext.read(source, fmt="py:percent").cells, start=1):
        digest = hashlib.sha256(f"{cell.cell_type} {cell.source}".encode()).hexdigest()[:8]
        seen[digest] += 1
        cell.id = f"{source.name[:2]}-{digest}-{seen[digest]}"
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note of blank lines
        cell.source = cell.source.strip("\n")  # a formatter keeps those above a class
        if "mirror" in cell.metadata.get("tags", []):
            with _named(source, index):
                cell.source = definition(mirrored(cell.source))
        notebook.cells.append(cell)
    claims = claims | _minutes(source.name[:2], notebook.cells)
    for index, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown":
            with _named(source, index):
                cell.source = fill(cell.source, claims)
    return notebook


@contextmanager
def _named(source: Path, index: int) -> Iterator[None]:
    """Name the cell in which a mirror or a claim is wrong."""
    try:
        yield
    except (LookupError, TypeError) as error:
        raise LessonError(f"{source.name}, cell {index}: {error}") from error


def _minutes(lesson: str, cells: list[NotebookNode]) -> Claims:
    """What every lesson may state: how long its parts take."""
    core, further = pace(cells)
    exercises = sum(each.minutes for each in all_exercises().values() if each.id[:2] == lesson)
    return {
        "core_minutes": lambda: str(core),
        "further_minutes": lambda: str(further),
        "exercise_minutes": lambda: str(exercises),
    }


def mirrored(text: str) -> str:
    """The full name that a mirror cell asks for."""
    match = re.fullmatch(r"#\s*(\w+(?:\.\w+)+)\s*", text)
    if match is None:
        raise LookupError("a mirror cell holds one line: # segformer_edu.module.Name")
    return match[1]


def build(source: Path, claims: Claims) -> Path:
    """Make a lesson's notebook, run it, and write it beside the others."""
    notebook = assemble(source, claims)
    folder = source.parent.parent
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=120,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise LessonError(f"{source.name} stopped at\n{error}") from error
    notebook.metadata = METADATA
    for output in outputs(notebook):
        if output.output_type == "error":  # the frames above the message name this machine's files
            output.traceback = [f"{output.ename}: {output.evalue}"]
    path = folder / f"{source.stem}.ipynb"
    nbformat.write(notebook, path)
    return path


def problems_after_build(source: Path) -> list[str]:
    """Build a lesson, say how long that took, and check it; its claims are computed once."""
    start = time.perf_counter()
    path = build(source, claims_for(source))
    print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)
    made = nbformat.read(path, as_version=4)
    return [*source_problems(source), *notebook_problems(path, made)]


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def check(notebooks: Path) -> list[str]:
    """Everything that is wrong with the lessons of a folder, one sentence each."""
    found: list[str] = []
    for source in sources(notebooks):
        found += source_problems(source)
        try:
            expected = assemble(source, claims_for(source))
            found += notebook_problems(notebooks / f"{source.stem}.ipynb", expected)
        except LessonError as error:
            found.append(str(error))
    lessons = {source.stem for source in sources(notebooks)}
    strays = sorted(path.name for path in notebooks.glob("*.ipynb") if path.stem not in lessons)
    found += [f"{name}: has no source in notebooks/source" for name in strays]
    return [*found, *claim_problems(notebooks), *mirror_problems(notebooks)]


def claims_for(source: Path) -> Claims:
    """What the lesson of a source may state."""
    return load_claims(source.parent / "claims", source.name[:2])


def claim_problems(notebooks: Path) -> Iterator[str]:
    """Every claim is stated: by its own lesson or, if it is shared, by any."""
    texts = {each.name[:2]: each.read_text(encoding="utf-8") for each in sources(notebooks)}
    texts["shared"] = "".join(texts.values())
    for path in sorted((notebooks / "source" / "claims").glob("*.py")):
        stated = CLAIM.findall(texts.get(path.stem, ""))
        for name in sorted(claims_of(path).keys() - set(stated)):
            yield f"claims/{path.name}: {name}() is stated nowhere"


def source_problems(source: Path) -> Iterator[str]:
    for index, cell in enumerate(jupytext.read(source, fmt="py:percent").cells, start=1):
        where = f"{source.name}, cell {index}"
        for key in cell.metadata.keys() - {"tags", "lines_to_next_cell"}:
            yield f"{where}: a cell has tags and nothing else, not {key!r}"
        for tag in sorted(set(cell.metadata.get("tags", [])) - TAGS):
            yield f"{where}: unknown tag {tag!r}; the tags are {', '.join(sorted(TAGS))}"
        if cell.cell_type == "code" and NBVAL_COMMENT.search(cell.source):
            yield f"{where}: a comment controls nbval; use a tag, which is counted"
        if cell.cell_type == "markdown":
            for number in bare_numbers(cell.source):
                yield f"{where}: {number} is neither a claim nor cited"


def notebook_problems(path: Path, expected: NotebookNode) -> Iterator[str]:
    """What is wrong with a lesson's notebook, given the one that its source makes."""
    if not path.exists():
        yield f"{path.name}: is missing; run python -m tools.lessons build {path.stem}"
        return
    notebook = nbformat.read(path, as_version=4)
    if path.stat().st_size > MAX_BYTES:
        yield f"{path.name}: {path.stat().st_size:,} bytes, but only {MAX_BYTES:,} are allowed"
    if (notebook.metadata, notebook.nbformat, notebook.nbformat_minor) != (METADATA, 4, 5):
        yield f"{path.name}: its metadata is not a build's (widget state? another kernel?)"
    for index in range(max(len(notebook.cells), len(expected.cells))):
        written, made = (_identity(book.cells[index : index + 1]) for book in (notebook, expected))
        if written != made:
            yield (
                f"{path.name}, cell {index + 1}: differs from its source;"
                f" run python -m tools.lessons build {path.stem}"
            )
            break
    ignored = sum("nbval-ignore-output" in cell.metadata.get("tags", []) for cell in notebook.cells)
    if ignored > MAX_IGNORED:
        yield f"{path.name}: {ignored} cells are not compared, but only {MAX_IGNORED} may be"
    for problem in pace_problems(notebook.cells):
        yield f"{path.name}: {problem}"
    for index, cell in enumerate(notebook.cells, start=1):
        for problem in cell_problems(cell):
            yield f"{path.name}, cell {index}: {problem}"


def _identity(cells: list[NotebookNode]) -> list[tuple]:
    return [(cell.cell_type, cell.id, cell.source, cell.metadata) for cell in cells]


def cell_problems(cell: NotebookNode) -> Iterator[str]:
    if cell.cell_type == "markdown" and NO_ALT.search(cell.source):
        yield "a picture without alt text"
    if cell.cell_type != "code":
        return
    lines = len(cell.source.splitlines())
    allowed = MAX_MIRRORED if "mirror" in cell.metadata.get("tags", []) else MAX_LINES
    if lines > allowed:
        yield f"{lines} lines of code, but only {allowed} are allowed"
    if cell.execution_count is None:
        yield "was never run"
    for output in cell.outputs:
        if output.output_type == "error" and "raises-exception" not in cell.metadata.get(
            "tags", []
        ):
            yield f"a stored {output.ename}; where it is meant, tag the cell raises-exception"
        data = output.get("data", {})
        described = output.get("metadata", {})
        for kind in data:
            if kind.startswith("image/") and not described.get(kind, {}).get("alt"):
                yield f"an {kind} output without alt text"
        texts = [str(value) for kind, value in data.items() if not kind.startswith("image/")]
        text = "\n".join([*texts, output.get("text", ""), *output.get("traceback", [])])
        if NO_ALT.search(text):
            yield "a picture without alt text"
        if path := MACHINE_PATH.search(text):
            yield f"its output holds a path of one machine, {path[0]}"


def mirror_problems(notebooks: Path) -> Iterator[str]:
    """Every public definition of the model is shown once, by the time its lesson stands."""
    shown = Counter(
        cell.source.strip("# \n")
        for source in sources(notebooks)
        for cell in jupytext.read(source, fmt="py:percent").cells
        if "mirror" in cell.metadata.get("tags", [])
    )
    for name, times in shown.items():
        if times > 1:
            yield f"{name} is mirrored {times} times; it belongs to one lesson"
    numbers = {source.name[:2] for source in sources(notebooks)}
    for module, number in OWNERS.items():
        if number in numbers:
            for name in public_definitions(f"segformer_edu.{module}"):
                if name not in shown:
                    yield f"{name} is not mirrored, and lesson {number} completes its module"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build").add_argument("names", nargs="*", metavar="NAME")
    commands.add_parser("check")
    arguments = parser.parse_args()
    notebooks = ROOT / "notebooks"
    lessons = sources(notebooks)
    if arguments.command == "build":
        lessons = chosen(lessons, arguments.names)
        found = [problem for source in lessons for problem in problems_after_build(source)]
        found += [*claim_problems(notebooks), *mirror_problems(notebooks)]
    else:
        found = check(notebooks)
    print("\n".join(found) or f"lessons that agree with their sources: {len(lessons)}")
    return 1 if found else 0


def chosen(every: list[Path], names: list[str]) -> list[Path]:
    """The sources that the names choose, or all of them."""
    for name in names:
        if not any(source.stem.startswith(name) for source in every):
            raise LessonError(f"no source in notebooks/source starts with {name!r}")
    return [source for source in every if not names or source.stem.startswith(tuple(names))]


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # as in segformer_edu/__main__.py
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except LessonError as error:
        sys.exit(str(error))
