"""How quantities grow with a size, in panels for `plots.growth` (lesson 02)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from segformer_edu.analysis.memory import peak_bytes
from segformer_edu.analysis.timing import fitted_exponent, processor_seconds

Panels = dict[str, dict[str, tuple[list[float], list[float]]]]  # what → name → sizes, values


def measured(
    measures: Mapping[str, Callable[[Any], Any]], series: Mapping[str, Mapping[float, Any]]
) -> Panels:
    """A panel for each measure, with a curve for each series.

    Args:
        measures: what a measure tells → the function that gives it, one number.
        series: name of the curve → size → what is measured at that size.
    """
    return {
        what: {
            name: (list(sizes), [float(measure(subject)) for subject in sizes.values()])
            for name, sizes in series.items()
        }
        for what, measure in measures.items()
    }


def attention_costs(
    forms: Iterable[tuple[str, tuple[Callable[..., Any], Mapping[int, Tensor]]]],
) -> tuple[Panels, dict[str, tuple[float, float]]]:
    """Processor seconds on one core and peak memory of ways to compute attention, over the tokens.

    Args:
        forms: name, function of q, k and v, and tokens N → what to hand it as all three.

    Returns:
        The panels, in which the name of each curve tells the power that is fitted to it; and for
        each form these powers, of the time and of the memory.
    """
    seconds, memory, powers = {}, {}, {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that seconds of the processor are seconds of one core
    try:
        for name, (form, inputs) in forms:
            counts: list[float] = list(inputs)
            took = [processor_seconds(form, x, x, x) for x in inputs.values()]
            held = [peak_bytes(form, x, x, x) / 2**20 for x in inputs.values()]
            powers[name] = fitted_exponent(counts, took), fitted_exponent(counts, held)
            seconds[f"{name}: N to the {powers[name][0]:.1f}"] = counts, took
            memory[f"{name}: N to the {powers[name][1]:.1f}"] = counts, held
    finally:
        torch.set_num_threads(threads)
    return {"processor seconds": seconds, "peak memory, MiB": memory}, powers
