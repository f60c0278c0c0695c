"""Measure a machine for the widget of lesson 10: its ceilings, and each SegFormer part by part.

python -m benchmarks.roofline "AMD EPYC, AVX-512" # adds this machine to the widget's table
python -m benchmarks.roofline --quick NAME        # B0 at 64×64 alone, and writes nothing

To measure as if the processor had fewer instructions, set ATEN_CPU_CAPABILITY and
ONEDNN_MAX_CPU_ISA before.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.runs import processor
from segformer_edu.analysis.roofline import Ceilings, measured_ceilings
from segformer_edu.memory import keep_freed_memory
from segformer_edu.widgets.roofline import MODELS, SIDES, TABLE, floors, seconds_of

LONGEST = 1.0  # seconds of a floor; what would take longer is not measured


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("name", help="what the widget's slider calls this machine")
    parser.add_argument("--quick", action="store_true", help="B0 at 64×64, and write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    row = measured(options.name, *((MODELS[:1], SIDES[:1]) if options.quick else (MODELS, SIDES)))
    if options.quick:
        print(json.dumps(row, indent=1))
        return
    others = json.loads(TABLE.read_text(encoding="utf-8"))
    rows = [each for each in others if each["name"] != options.name] + [row]
    TABLE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measured(name: str, models: Any, sides: Any) -> dict[str, Any]:
    """A row of the widget's table."""
    ceilings = measured_ceilings()
    chosen = [
        (model, side) for model in models for side in sides if affordable(model, side, ceilings)
    ]
    times = []
    for model, side in tqdm(chosen):
        seconds = {part: round(took, 6) for part, took in seconds_of(model, side).items()}
        times.append({"model": model, "side": side, "seconds": seconds})
    rounded = {what: round(value, -7) for what, value in ceilings._asdict().items()}
    return {
        "name": name,
        "processor": processor(),
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "ceilings": rounded,
        "measured": times,
    }


def affordable(model: str, side: int, ceilings: Ceilings) -> bool:
    least = sum(floor.least for floor in floors(model, side, ceilings, {}).values())
    return least < 1000 * LONGEST


if __name__ == "__main__":
    main()
