"""Write constraints.txt: what pip chooses today for the package and all its extras.

    python -m tools.constraints [REQUIREMENT…]
    python -m tools.constraints --oldest

A requirement, such as torch==2.13.0, pins a package. --oldest writes no file, but prints the lower
bounds of pyproject.toml as constraints: the oldest versions that are allowed.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# The exact versions that the tests ran with. Made by tools/constraints.py.\n"


def pins(report: dict) -> list[str]:
    """`name==version` lines of a pip installation report, without suffixes such as +cpu."""
    packages = [item["metadata"] for item in report["install"] if not item["is_direct"]]
    return sorted(f"{p['name'].lower()}=={p['version'].partition('+')[0]}" for p in packages)


def oldest(project: dict) -> list[str]:
    """`name==version` lines of the lower bounds of all that a project requires."""
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    firsts = {text.partition(",")[0] for group in groups for text in group}
    return sorted(first.replace(">=", "==") for first in firsts)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if sys.argv[1:] == ["--oldest"]:
        print(*oldest(project), sep="\n")
        return
    extras = ",".join(project["optional-dependencies"])
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--report", "-", f"{ROOT}[{extras}]", *sys.argv[1:]]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(pins(report)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
