"""The numbers that lesson 10 states: each function computes one from the package, or reads it in
benchmarks/results.json.
"""

import json

import torch

from benchmarks.__main__ import HERE
from segformer_edu import SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.strips import strips
from segformer_edu.widgets.roofline import ELSEWHERE, State

BENCHMARK = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
CONFIG = SegFormerConfig.named("b0", num_classes=150)
B0 = cost(CONFIG, (512, 512))
SCENE = {"device": "cpu", "model": "b0", "size": 512, "batch": 1, "dtype": "float32"}
OURS, TRANSFORMERS = "segformer_edu", "transformers, sdpa"
COMPILED = "transformers, compiled"


def ade_classes() -> str:
    return str(CONFIG.num_classes)


def hidden_channels() -> str:
    return str(CONFIG.embed_dims[0] * CONFIG.mlp_ratios[0])


def transformers_times() -> str:
    return f"{_measured('forward', TRANSFORMERS)['ratio']:.1f}"


def compiled_theirs() -> str:
    """How many times as fast torch.compile makes the model of transformers."""
    ratio = _measured("forward", TRANSFORMERS)["ratio"] / _measured("forward", COMPILED)["ratio"]
    return f"{ratio:.1f}"


def stage_4_parameters() -> str:
    return f"{B0.stages[3].parameters / B0.parameters:.0%}"


def decoder_parameters() -> str:
    return f"{B0.decoder.parameters / B0.parameters:.0%}"


def decoder_multiply_adds() -> str:
    return f"{B0.decoder.reference_multiply_adds / B0.reference_multiply_adds:.0%}"


def published_multiply_adds() -> str:
    return f"{B0.decoder.reference_multiply_adds / 1e9:.2f}"


def commuted_multiply_adds() -> str:
    return f"{B0.decoder.multiply_adds / 1e9:.2f}"


def head_factor() -> str:
    return f"{B0.decoder.reference_multiply_adds / B0.decoder.multiply_adds:.1f}"


def b0_whole() -> str:
    return f"{B0.reference_multiply_adds / 1e9:.1f}"


def b0_encoder() -> str:
    return f"{B0.encoder_multiply_adds / 1e9:.1f}"


def operations_a_copy() -> str:
    """While four bytes are read and four are written, on the machine of the widget's picture."""
    return f"{8 * ELSEWHERE[State().machine].ceilings.ridge:.0f}"


def strip_rows() -> str:
    _, rows = next(strips(B0.stages[0].size, torch.empty(1)))
    return str(rows)


def bench_machine() -> str:
    return str(BENCHMARK["machine"]["processor"])


def bench_threads() -> str:
    return str(BENCHMARK["machine"]["threads"])


def forward_table() -> str:
    """A row for each contender that the benchmark has."""
    rows = [row for row in BENCHMARK["results"] if _is(row, "forward")]
    lines = ["| | milliseconds | times as long |", "|---|---|---|"]
    lines += [f"| {row['contender']} | {row['median']:.0f} | {row['ratio']:.2f} |" for row in rows]
    return "\n".join(lines)


def quiet() -> str:
    return f"{_measured('forward', OURS)['median']:.0f}"


def yielding() -> str:
    return f"{_measured('forward, busy', OURS)['median']:.0f}"


def spinning() -> str:
    return f"{_measured('forward, busy, spinning', OURS)['median']:,.0f}"


def _is(row: dict, task: str) -> bool:
    wanted = SCENE | {"task": task}
    return all(row[name] == value for name, value in wanted.items())


def _measured(task: str, contender: str) -> dict:
    (row,) = [
        row for row in BENCHMARK["results"] if _is(row, task) and row["contender"] == contender
    ]
    return row
