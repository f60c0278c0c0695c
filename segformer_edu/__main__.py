"""The command line: `python -m segformer_edu {doctor, segment, train, evaluate, export}`."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from segformer_edu.commands import doctor, evaluate, export, segment, train
from segformer_edu.commands.parser import Parser

EXAMPLES = """\
examples:
  python -m segformer_edu doctor
  python -m segformer_edu train --out run --steps 1150
  python -m segformer_edu evaluate --weights run/best
  python -m segformer_edu segment street.png --weights run/best --out labels.png
  python -m segformer_edu export --weights run/best --out model.onnx
  python -m segformer_edu train --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it worked, 1 if it failed (the doctor: if something is missing), 2 if
    the request was wrong, 130 if it was interrupted.
    """
    try:
        options = parser().parse_args(arguments)
        return options.run(options)
    except (ValueError, OSError) as error:
        return say(error, 2)
    except FloatingPointError as error:
        return say(error, 1)
    except KeyboardInterrupt as error:
        return say(error, 130)


def say(error: BaseException, code: int) -> int:
    """One line on stderr, and the exit code."""
    print(" ".join(str(error).split()) or "Interrupted.", file=sys.stderr)
    return code


def parser() -> Parser:
    top = Parser(
        prog="python -m segformer_edu",
        description="SegFormer: semantic segmentation, from the course of the same name.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (doctor, train, evaluate, segment, export):
        command.add(commands)
    return top


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # a letter that the terminal lacks is no failure
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
