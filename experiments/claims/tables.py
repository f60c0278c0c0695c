"""The table of a part: a row for each run and condition, made from the cache alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from experiments.claims.models import size_of
from experiments.claims.parts import Part
from experiments.claims.runs import Cache
from segformer_edu.files import write_atomically

HERE = Path(__file__).parent
Row = dict[str, Any]


def rows(part: Part, cache: Cache) -> list[Row]:
    """All that is known of a part, in the order of its arms, seeds and conditions."""
    found = []
    order = list(part.arms)
    for arm, run in sorted(part.runs(), key=lambda each: order.index(each[0])):
        took, scored = cache.took(run), cache.scored(run)
        if took is None:
            continue
        parameters, multiply_adds = size_of(run.model)
        for condition in part.conditions:
            if condition.key in scored:
                found.append(
                    {
                        "arm": arm,
                        "seed": run.seed,
                        "pictures": condition.pictures,
                        "amount": condition.amount,
                        **scored[condition.key],
                        "scenes": run.scenes,
                        "steps": run.steps,
                        "learning rate": run.learning_rate,
                        "loss": took["loss"],
                        "parameters": parameters,
                        "multiply-adds": multiply_adds,
                        "seconds": took["seconds"],
                        "run": run.key,
                        "date": took["machine"]["date"],
                        "machine": took["machine"]["processor"],
                        "torch": took["machine"]["torch"],
                    }
                )
    return found


def write(part: Part, cache: Cache, path: Path) -> int:
    """Write the table of a part; how many rows it has. Nothing is written if there are none."""
    found = rows(part, cache)
    if found:
        text = io.StringIO()
        table = csv.DictWriter(text, list(found[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(found)
        write_atomically(path, text.getvalue().encode())
    return len(found)
