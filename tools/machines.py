"""Run the suite as other machines would, and say on which of them it passes.

    python -m tools.machines                     # all of them, a quarter of an hour each
    python -m tools.machines haswell busy        # those
    python -m tools.machines --tests tests/data  # those tests alone

Processors differ in the instructions that torch's kernels, oneDNN, MKL, OpenBLAS and NumPy choose,
and so in the last bits of their sums; this one is told not to use its newest. A row is printed
when each machine is done, with the names of what failed there.
"""

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segformer_edu.doctor import cores
from tools.suite import ROOT, environment, pytest_command

NUMPYS_NEWEST = "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"
MACHINES = {
    "this one": {},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "haswell": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "nehalem": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": NUMPYS_NEWEST,
    },
    "two threads": {"OMP_NUM_THREADS": "2"},
    "busy": {},  # every core has other work too
}
COUNTED = ("passed", "failed", "skipped")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help=", ".join(MACHINES))
    parser.add_argument("--tests", nargs="+", default=(), metavar="PATH", help="these alone")
    options = parser.parse_args()
    if unknown := set(options.machines) - set(MACHINES):
        parser.error(f"there is no machine {unknown.pop()!r}; there are {', '.join(MACHINES)}")
    print(f"| machine | {' | '.join(COUNTED)} | minutes | what failed |", flush=True)
    print("|---|---:|---:|---:|---:|---|")
    green = True
    for machine in options.machines or MACHINES:
        with busy(cores() if machine == "busy" else 0):
            counts, minutes, failed = run(options.tests, MACHINES[machine])
        numbers = " | ".join(str(counts[outcome]) for outcome in COUNTED)
        print(f"| {machine} | {numbers} | {minutes:.1f} | {', '.join(failed)} |", flush=True)
        green = green and bool(counts["passed"]) and not failed
    return 0 if green else 1


def run(tests: list[str], settings: dict[str, str]) -> tuple[Counter, float, list[str]]:
    """How many tests ended how, how long they took, and the names of those that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        ended = subprocess.run(
            [*pytest_command(*tests), f"--junit-xml={report}"],
            cwd=ROOT,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        if not report.exists():
            sys.exit(f"pytest ended without a report:\n{ended.stdout[-2000:]}")
        suite = ElementTree.parse(report).getroot()[0]
    counts: Counter = Counter()
    failed = []
    for case in suite.iter("testcase"):
        kinds = {child.tag for child in case}
        wrong = bool(kinds & {"failure", "error"})
        counts["failed" if wrong else "skipped" if "skipped" in kinds else "passed"] += 1
        if wrong:
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    return counts, float(suite.get("time", 0)) / 60, failed


@contextmanager
def busy(programs: int) -> Iterator[None]:
    """Run so many programs that do nothing but occupy a core each."""
    spin = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(spin) for _ in range(programs)]
    try:
        yield
    finally:
        for program in started:
            program.kill()
            program.wait()


if __name__ == "__main__":
    sys.exit(main())
