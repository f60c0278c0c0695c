"""`python -m segformer_edu train`: train a SegFormer, in a run that survives being killed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segformer_edu.commands.parser import Parser, add_command
from segformer_edu.files import expanded

DESCRIPTION = """\
Train a SegFormer, with a progress bar. The folder named by --out then holds settings.yaml (every
setting), log.csv (a row for each step), curves.png, last.pt (from which --resume continues as if
the run had not stopped), and best/ and last/, weights for evaluate, segment and export.

A run that has ended goes on with --resume and more --steps or --epochs, or another --patience. The
learning rate is then that of a run of so many steps, from where this one stands: it rises again,
and falls until the new end.

Settings come from --config, a YAML file, and from flags, which win. Names in YAML have an
underscore where flags have a hyphen."""
EXAMPLES = """\
examples:
  nano on street scenes, a minute on two cores; then ten minutes:
    python -m segformer_edu train --out minute --config experiments/minute.yaml
    python -m segformer_edu train --out ten --config experiments/ten_minutes.yaml
  stopped by Ctrl-C, a power cut or a full disk:
    python -m segformer_edu train --out minute --resume
  twice as long, if it has ended:
    python -m segformer_edu train --out minute --resume --steps 2000
  your own pictures and masks, from published weights:
    python -m segformer_edu train --out mine --data folder --images photos --masks masks \\
        --classes background,cat,dog --weights nvidia/mit-b0 --size 512 --steps 4000 \\
        --learning-rate 6e-5 --head-lr-factor 10 --warmup-steps 200 --set drop_path_rate=0.1
  Oxford-IIIT Pet on four GPUs, in 16 bits (accelerate launch --help has several machines):
    accelerate launch --multi_gpu --num_processes 4 -m segformer_edu train --out pets --data pets \\
        --model b0 --size 256 --batch-size 64 --precision bf16 --workers 4
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "train",
        run,
        help="train on street scenes, on your own pictures, or on Oxford-IIIT Pet",
        usage="%(prog)s --out FOLDER [--resume] [--config YAML] [--SETTING VALUE …]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.fill = fill


def fill(parser: Parser) -> None:
    """Flags of the run, and one for each setting."""
    from segformer_edu.commands.settings import add_settings

    parser.add_argument("--out", required=True, type=Path, help="the folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_settings(parser)


def run(options: argparse.Namespace) -> int:
    from segformer_edu.commands.settings import Settings, check_packages, read_settings

    check_packages()
    from accelerate import PartialState

    from segformer_edu.memory import keep_freed_memory
    from segformer_edu.training import train
    from segformer_edu.training.curves import read_log

    begun = expanded(options.out) / "settings.yaml"
    continues = options.resume and begun.exists() and not options.config_file
    settings = read_settings(options, Settings.from_yaml(begun) if continues else None)
    keep_freed_memory()
    train(settings, options.out, options.resume, progress=not options.quiet)
    processes = PartialState()
    if processes.is_main_process:
        log = read_log(expanded(options.out) / "log.csv")
        steps, epochs = int(log["step"][-1]), log["epoch"][-1]
        said = f"{options.out}: {epochs:.3g} epochs, {steps} steps; weights in best/ and last/"
        report = (expanded(options.out) / "report.html").exists()  # for which matplotlib is needed
        print(f"{said}; what it can do, and what to type next, in report.html" if report else said)
    processes.destroy_process_group()
    return 0
