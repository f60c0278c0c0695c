"""Pictures of any part's table, drawn from the table alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.claims.parts import Part
from segformer_edu import plots
from segformer_edu.analysis.seeds import Table
from segformer_edu.files import write_atomically

CURVES = 6  # in one picture


def drawn(part: Part, table: Table) -> Iterator[Figure]:
    """Where a part tests by several amounts, the share of mIoU that is kept; then, for every part
    of several arms and seeds, how far each arm is from the first.
    """
    kinds = dict.fromkeys(each.pictures for each in part.conditions)
    amounts = {
        kind: [each.amount for each in part.conditions if each.pictures == kind] for kind in kinds
    }
    several = {kind: values for kind, values in amounts.items() if len(values) > 1}
    if several:
        for start in range(0, len(table.arms), CURVES):
            arms = table.arms[start : start + CURVES]
            panels = {
                kind: (values, {arm: table.kept(arm, kind, values) for arm in arms})
                for kind, values in several.items()
            }
            yield plots.over_amounts(panels, ("amount", "share of mIoU kept"), part.question)
    first, *others = table.arms
    if others:
        panels = {
            kind: {arm: differences(table, arm, first, kind) for arm in others}
            for kind, values in amounts.items()
            if 1.0 in values
        }
        yield plots.differences(panels, f"mIoU less that of {first}", part.question)


def differences(table: Table, arm: str, first: str, pictures: str) -> np.ndarray:
    return table.values(arm, pictures) - table.values(first, pictures)


def write(name: str, part: Part, folder: Path) -> list[Path]:
    """Draw the pictures of a part whose table lies in the folder, beside it; which they are."""
    paths = []
    for number, figure in enumerate(drawn(part, Table(folder / f"{name}.csv"))):
        paths.append(folder / f"{name}_{number}.png")
        write_atomically(paths[-1], plots.png(figure))
    return paths
