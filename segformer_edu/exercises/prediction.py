"""A reader's prediction, shown beside what came out."""

from __future__ import annotations

from typing import Any

from segformer_edu.exercises.exercise import is_stub


def compare(prediction: Any, outcome: Any) -> None:
    """Print what was predicted and what came out, one above the other.

    Args:
        prediction: the reader's; nothing is printed while it is `...` or holds one.
        outcome: what the lesson has computed.
    """
    if is_stub(prediction):
        return
    print(f"you predicted  {prediction}\nit came out    {outcome}")
