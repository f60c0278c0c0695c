"""How long a computation takes, in all (lessons 02, 03, 07), where chance decides how much there is
to compute (lesson 05), and part by part (lesson 10), and by which power of its size it grows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from segformer_edu.segformer import SegFormer

Name = TypeVar("Name", bound=Hashable)

ROUND = 0.03  # seconds that short calls are counted together for, well above the clock's steps


def processor_seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """The processor's own seconds for a call, the best of three: other programs hardly count.

    Args:
        function: what is called.
        arguments: what it is called with.
    """
    times = []
    for _ in range(3):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def seconds_a_call(function: Callable[..., Any], *arguments: Any) -> float:
    """The processor's own seconds for one of many calls in a row, the best of three rounds.

    A round is so many calls that a short one can be timed, too. The first call does not count.

    Args:
        function: what is called.
        arguments: what it is called with.
    """
    function(*arguments)
    calls = 1
    times: list[float] = []
    while len(times) < 3:
        start = time.process_time()
        for _ in range(calls):
            function(*arguments)
        took = time.process_time() - start
        if took < ROUND and not times:
            calls *= 2
        else:
            times.append(took / calls)
    return min(times)


def seconds_in_turns(
    functions: Mapping[Name, Callable[[], Any]], turns: Iterable[Any], calls: int
) -> dict[Name, np.ndarray]:
    """The processor's own seconds for one call of each function, in each of several turns.

    For work of which chance decides how much there is: the least time would be that of the luckiest
    draw. In a turn every function has so many calls in a row, so that what slows the machine for a
    while slows all. A first call of each does not count.

    Args:
        functions: by name.
        turns: as many as this yields.
        calls: in a row, of which the mean is taken.

    Returns:
        name → `(turns,)`.
    """
    for function in functions.values():
        function()
    times: dict[Name, list[float]] = {name: [] for name in functions}
    for _ in turns:
        for name, function in functions.items():
            start = time.process_time()
            for _ in range(calls):
                function()
            times[name].append((time.process_time() - start) / calls)
    return {name: np.array(each) for name, each in times.items()}


@torch.no_grad()
def seconds_of_parts(model: SegFormer, images: Tensor, passes: int = 3) -> dict[str, float]:
    """The processor's own seconds in each stage of the encoder and in the decoder.

    Args:
        model: in evaluation mode.
        images: what it looks at.
        passes: how often, after one pass that does not count; each part's least time is taken.

    Returns:
        "stage 1", …, "decoder" → seconds.
    """
    started: dict[str, float] = {}
    times: dict[str, list[float]] = {}

    def watch(name: str, part: nn.Module) -> list[Any]:
        def begin(*_: Any) -> None:
            started[name] = time.process_time()

        def end(*_: Any) -> None:
            times.setdefault(name, []).append(time.process_time() - started[name])

        return [part.register_forward_pre_hook(begin), part.register_forward_hook(end)]

    hooks = [hook for name, part in parts_of(model).items() for hook in watch(name, part)]
    try:
        for _ in range(1 + passes):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: min(values[1:]) for name, values in times.items()}


def parts_of(model: SegFormer) -> dict[str, nn.Module]:
    """The stages and the decoder, by name."""
    stages = {f"stage {i}": stage for i, stage in enumerate(model.encoder.stages, start=1)}
    return {**stages, "decoder": model.decoder}


def fitted_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power by which values grow with sizes.

    A power law is a straight line on two logarithmic axes, and its slope is the power: this is the
    slope of the line that fits best.
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
