"""Do the paper's claims hold at course scale? (lesson 11)

python -m experiments.claims                        # all parts, each to its NAME.csv when done
python -m experiments.claims resolution ratios      # or some of them
python -m experiments.claims --figures              # no training: pictures of the tables, as PNG
python -m experiments.claims --quick                # three steps of each run, in a temporary folder
accelerate launch -m experiments.claims             # the same, shared by several processes

Runs are kept in a folder, so a command that was stopped goes on where it was.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState
from tqdm import tqdm

from experiments.claims import figures, tables
from experiments.claims.parts import PARTS, Part
from experiments.claims.runs import Cache
from experiments.claims.settings import Condition, Run
from segformer_edu.commands.parser import Parser

Work = dict[Run, list[Condition]]  # what each run is tested on


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if it worked, 2 if the request was wrong, 130 if it was interrupted."""
    try:
        options = parser().parse_args(arguments)
        with ExitStack() as stack:
            if options.quick:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                options.folder, options.out = folder / "cache", folder
            parts = parts_of(options.parts, options.quick)
            if options.figures:
                draw(parts, options.out)
            else:
                complete(parts, options.folder, options.out, options.cpu)
        return 0
    except (ValueError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def parser() -> Parser:
    told = Parser(prog="python -m experiments.claims", description=__doc__.splitlines()[0])
    told.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    told.add_argument(
        "--folder", type=Path, default=tables.HERE / "cache", help="where runs are kept"
    )
    told.add_argument("--out", type=Path, default=tables.HERE, help="where tables are written")
    told.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    told.add_argument("--figures", action="store_true", help="train nothing; draw the tables")
    told.add_argument("--quick", action="store_true", help="three steps of each; keeps nothing")
    return told


def parts_of(names: Sequence[str], quick: bool) -> dict[str, Part]:
    """The parts of these names, or all."""
    for name in names:
        if name not in PARTS:
            raise ValueError(f"PART {name!r} is not one of {', '.join(PARTS)}.")
    parts = {name: PARTS[name] for name in names or PARTS}
    return {name: shortened(part) for name, part in parts.items()} if quick else parts


def draw(parts: dict[str, Part], folder: Path) -> None:
    """Draw the tables that are there."""
    there = {name: part for name, part in parts.items() if (folder / f"{name}.csv").exists()}
    if not there:
        raise ValueError(
            f"{folder} has no table of these parts: run the command without --figures."
        )
    for name, part in there.items():
        for path in figures.write(name, part, folder):
            print(path)


def complete(parts: dict[str, Part], folder: Path, out: Path, cpu: bool) -> None:
    """Train and test what the parts still lack; write the table of each when it is complete."""
    state = PartialState(cpu=cpu)
    cache, main = Cache(folder, state.device), state.is_main_process
    work = work_of(parts.values())
    shares = [
        (name, part, share(work_of([part]), state.process_index, state.num_processes))
        for name, part in parts.items()
    ]
    untold = main and not any(map(cache.took, work))
    if main:
        print(forecast(cache, work, state.num_processes), flush=True)
    jobs = {job for _, _, mine in shares for job in left(cache, mine)}
    total = sum(run.steps for run, untrained in jobs if untrained)
    with tqdm(total=total, unit=" steps", disable=not main, smoothing=0.05) as bar:
        for name, part, mine in shares:
            for run, untrained in list(left(cache, mine)):
                if untrained:
                    cache.train(run, lambda steps: counted(steps, bar))
                cache.test(run, mine.get(run, []))
                if untold:
                    bar.write(forecast(cache, work, state.num_processes))
                    untold = False
            state.wait_for_everyone()
            if main:
                bar.write(f"{name}: {tables.write(part, cache, out / f'{name}.csv')} rows")


def counted(steps: Iterable[float], bar: tqdm) -> Iterator[float]:
    """The same, each shown on the bar."""
    for loss in steps:
        bar.update()
        yield loss


def shortened(part: Part) -> Part:
    """Three steps of every arm, one seed, few scenes."""

    def short(run: Run) -> Run:
        return replace(run, steps=3, scenes=32, start=run.start and short(run.start))

    return replace(
        part,
        arms={arm: short(run) for arm, run in part.arms.items()},
        conditions=tuple(replace(condition, scenes=16) for condition in part.conditions),
        seeds=(0,),
    )


def work_of(parts: Iterable[Part]) -> Work:
    """Every run once, also where several parts need it, with the conditions of all of them."""
    work: Work = {}
    for part in parts:
        for _, run in part.runs():
            wanted = work.setdefault(run, [])
            wanted += [each for each in part.conditions if each not in wanted]
    return work


def share(work: Work, process: int, processes: int) -> Work:
    """The runs of one process; those that begin with the same weights stay together."""
    roots = list(dict.fromkeys(run.root for run in work))
    mine = set(roots[process::processes])
    return {run: conditions for run, conditions in work.items() if run.root in mine}


def left(cache: Cache, work: Work) -> Iterator[tuple[Run, bool]]:
    """The runs that lack something, with those from which they start; and whether to train them."""
    seen = set()
    for run in work:
        chain = [run]
        while chain[0].start:
            chain.insert(0, chain[0].start)
        for each in chain:
            untrained = not cache.weights(each).exists()
            untested = each in work and bool(cache.untested(each, work[each]))
            if each not in seen and (untrained or untested):
                seen.add(each)
                yield each, untrained


def forecast(cache: Cache, work: Work, processes: int = 1) -> str:
    """How many runs are left, and how long their training will take, from those that are here."""
    missing = [run for run, untrained in left(cache, work) if untrained]
    retested = sum(1 for _ in left(cache, work)) - len(missing)
    told = f"{len(missing)} runs to train, {retested} to test again"
    pace = {}  # seconds a step, of each model that has been trained
    for run in work:
        if took := cache.took(run):
            pace[run.model] = took["seconds"] / run.steps
    if not missing:
        return f"{told}."
    if not pace:
        return f"{told}; how long that takes is told after the first."
    usual = sum(pace.values()) / len(pace)
    seconds = sum(run.steps * pace.get(run.model, usual) for run in missing) / processes
    return f"{told}; about {seconds / 60:.0f} minutes of training."


if __name__ == "__main__":
    sys.exit(main())
