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
    forms: Iterable[tuple[str, Callable[..., Any]]],
    inputs: Mapping[int, Tensor],
    most: Mapping[str, int],
) -> tuple[Panels, dict[str, dict[str, float]]]:
    """Processor seconds on one core and peak memory of ways to compute attention, over the tokens.

    Args:
        forms: name, function of q, k and v.
        inputs: tokens N → what to hand a form as all three.
        most: the name of a form → the largest N that it gets. The others get all.

    Returns:
        The panels, in which the name of each curve tells the power that is fitted to it; and for
        each form these powers, by what grows: time and memory.
    """
    seconds, memory, powers = {}, {}, {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that seconds of the processor are seconds of one core
    try:
        for name, form in forms:
            given = {n: x for n, x in inputs.items() if n <= most.get(name, n)}
            counts: list[float] = list(given)
            took = [processor_seconds(form, x, x, x) for x in given.values()]
            held = [peak_bytes(form, x, x, x) / 2**20 for x in given.values()]
            time, space = fitted_exponent(counts, took), fitted_exponent(counts, held)
            seconds[f"{name}: N to the {time:.1f}"] = counts, took
            memory[f"{name}: N to the {space:.1f}"] = counts, held
            powers[name] = {"time": time, "memory": space}
    finally:
        torch.set_num_threads(threads)
    return {"seconds on one core": seconds, "peak memory, MiB": memory}, powers
