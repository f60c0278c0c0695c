"""README.md has a place for the table of each benchmark, between two markers."""

from __future__ import annotations

import argparse
from pathlib import Path

HERE = Path(__file__).parent


def asked(
    name: str, about: str | None, quick: str, rounds: int | None = None, each: str = "each runs"
) -> argparse.Namespace:
    """What was typed after `python -m benchmarks.NAME`: `.quick`, and `.rounds` where it has them.

    Args:
        name: of the module.
        about: its docstring.
        quick: what --quick does.
        rounds: how many there are if nobody says; one with --quick. None: it has no rounds.
        each: what happens once in a round.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--quick", action="store_true", help=quick)
    if rounds is not None:
        parser.add_argument(
            "--rounds", type=int, default=rounds, help=f"how often {each} ({rounds})"
        )
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    return options


def publish(name: str, text: str, quick: bool) -> None:
    """Print what a benchmark found and, unless it was a quick look, put it into its place."""
    print(text)
    if not quick:
        fill(name, text)


def fill(name: str, text: str) -> None:
    """Put a text into its place in README.md."""
    readme = HERE / "README.md"
    before = readme.read_text(encoding="utf-8")
    readme.write_text(filled(before, name, text), encoding="utf-8")


def filled(readme: str, name: str, text: str) -> str:
    """The readme with everything between the markers of this name replaced."""
    begin, end = markers(name)
    before, _, rest = readme.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}{end}{after}"


def markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- end of {name} -->"
