"""Check everything: style, types, lessons against their sources, tests and notebooks.

python -m tools.suite              # all; `make test` runs it
python -m tools.suite PATH…        # style, types and lessons, then these tests alone
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from segformer_edu.doctor import cores

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    ("-m", "ruff", "check"),
    ("-m", "ruff", "format", "--check"),
    ("-m", "mypy"),
    ("-m", "tools.lessons", "check"),
    ("-m", "tools.browser"),  # downloads one if there is none
)
MOST_WORKERS = 4  # each takes about a gigabyte, and has a kernel or a browser beside it


def pytest_command(*paths: str) -> list[str]:
    """All tests and every lesson, whose outputs must come out as they are stored."""
    return [
        *(sys.executable, "-m", "pytest", "-n", str(min(cores(), MOST_WORKERS))),
        *("--dist", "loadfile", "--max-worker-restart=0"),  # to replace one that died, it may hang
        *("--nbval", "--nbval-current-env", "--nbval-cell-timeout=120"),
        *(paths or ("tests", "notebooks")),
    ]


def environment(**settings: str) -> dict[str, str]:
    """For the tests: one thread per worker, which gives up its core while it waits; UTF-8."""
    defaults = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000", "PYTHONUTF8": "1"}
    return {**defaults, **os.environ, **settings}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", metavar="PATH", help="of tests or notebooks (all)")
    paths = parser.parse_args().paths
    for check in CHECKS:
        if code := subprocess.run([sys.executable, *check], cwd=ROOT).returncode:
            return code
    return subprocess.run(pytest_command(*paths), cwd=ROOT, env=environment()).returncode


if __name__ == "__main__":
    sys.exit(main())
