"""`python -m segformer_edu doctor`."""

from __future__ import annotations

import argparse
from typing import Any

from segformer_edu.commands.parser import add_command
from segformer_edu.doctor import examine

DESCRIPTION = """\
Say what is installed, which device will be used and how fast it is, and what to type where
something is missing. The exit code is 1 if the lessons cannot run."""


def add(commands: Any) -> None:
    add_command(
        commands,
        "doctor",
        run,
        help="what is installed, what is missing, how fast this machine is",
        description=DESCRIPTION,
    )


def run(options: argparse.Namespace) -> int:
    report, healthy = examine()
    print(report)
    return 0 if healthy else 1
