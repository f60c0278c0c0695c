"""The command line: `python -m segformer_edu {doctor, check-data, make-masks, train, …}`."""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Sequence
from functools import partial

from segformer_edu.commands import (
    check_data,
    doctor,
    evaluate,
    export,
    make_masks,
    segment,
    train,
)
from segformer_edu.commands.parser import Parser

EXAMPLES = """\
examples:
  python -m segformer_edu doctor
  python -m segformer_edu check-data photos-and-masks --out data.html
  python -m segformer_edu make-masks coco.json --images photos --out masks
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
    speaker = parser()
    try:
        options = speaker.parse_args(arguments)
        speaker = options.parser
        with warnings.catch_warnings():
            warnings.showwarning = partial(note, speaker)
            return options.run(options)
    except (ValueError, OSError) as error:
        return say(speaker, error, 2)
    except FloatingPointError as error:
        return say(speaker, error, 1)
    except KeyboardInterrupt as error:
        return say(speaker, error, 130)


def note(speaker: Parser, message: object, *where: object) -> None:
    """A warning in the words of the command line, without the line of code that gave it."""
    say(speaker, f"Note: {message}")


def say(speaker: Parser, message: object, code: int = 0) -> int:
    """Say on stderr what happened, in the words of the command line; and the exit code."""
    lines = [" ".join(line.split()) for line in str(message).splitlines()]
    print(speaker.in_flags("\n".join(filter(None, lines))) or "Interrupted.", file=sys.stderr)
    return code


def parser() -> Parser:
    top = Parser(
        prog="python -m segformer_edu",
        description="SegFormer: semantic segmentation, from the course of the same name.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (doctor, check_data, make_masks, train, evaluate, segment, export):
        command.add(commands)
    return top


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # a letter that the terminal lacks is no failure
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
