"""What experiments/attribution.json says: each way of asking against a rival, place by place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from segformer_edu.analysis.seeds import Interval, bootstrap

STRIPS = ("strips", "strips, reversed", "strips, night")


class Trial:
    """The table of the experiment.

    Args:
        path: of attribution.json.

    Attributes:
        machine: where it ran.
        told: all of it.
    """

    def __init__(self, path: Path) -> None:
        self.told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.machine = self.told["machine"]

    def areas(
        self, name: str, kind: str, setting: str = "main", watched: str = "probability"
    ) -> np.ndarray:
        """The area under the curve of each place, for one way of asking."""
        return np.array(self.told[setting]["areas"][name][f"{kind}, {watched}"])

    def gain(
        self,
        name: str,
        kind: str,
        rival: str = "nearness",
        setting: str = "main",
        watched: str = "probability",
    ) -> Interval:
        """By how much a way of asking beats a rival: above 0 is better, for both kinds of curve."""
        mine, theirs = (self.areas(each, kind, setting, watched) for each in (name, rival))
        return bootstrap(theirs - mine if kind == "deletion" else mine - theirs)

    def curve(self, name: str, kind: str, setting: str = "main") -> np.ndarray:
        """Mean probability at each share, and the ends of its interval: `(3, shares)`."""
        found = self.told[setting]["curves"][name][kind]
        return np.array([found[each] for each in ("mean", "low", "high")])

    def lamp(
        self, name: str, what: str, light: str, question: str = "and not the other"
    ) -> Interval:
        """What a way of asking says of the lamp, over the strips whose lamp has this light."""
        questions = {k: v for part in STRIPS for k, v in self.told[part].items()}
        values = np.array(questions[question][name][what])
        return bootstrap(values[np.array(self.told["lights"]) == light])

    def agreement(self, name: str, other: str) -> Interval:
        """The rank correlation of its map with one that was asked otherwise, over scenes."""
        return bootstrap(self.told["sanity"][name][other])
