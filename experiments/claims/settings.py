"""What a run depends on, and what it is tested on: frozen, so that its name is its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

SIDE = 64  # pixels of a training picture
LAID_ANEW = "mosaic, laid anew"  # the position embedding too, over each scene of a mosaic
RECIPE = 1  # to be raised when a run of the same settings would come out otherwise


@dataclass(frozen=True)
class Model:
    """Which model is trained. The defaults are lesson 08's: nano with one block a stage.

    Attributes:
        kind: "segformer"; "convolution", which has a 3×3 convolution in place of attention; "no
            attention", which has nothing there; or a plain ViT, one of `models.VITS`, for which
            the other settings mean nothing.
        overlap: patches overlap, or else their side is their stride.
        convolution: the Mix-FFN has its 3×3 convolution.
        embedding: each stage adds a learned position embedding, resized to its map.
        padding: "zeros" or "replicate", of every convolution that pads.
        width: what the channels of all stages are multiplied by.
    """

    kind: str = "segformer"
    overlap: bool = True
    convolution: bool = True
    embedding: bool = False
    padding: str = "zeros"
    depth: int = 1
    width: float = 1.0
    reduction_ratios: tuple[int, int, int, int] = (4, 2, 1, 1)
    decoder_dim: int = 64
    drop_path_rate: float = 0.0


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        scenes: how many pictures it learns from, the first of their style.
        style: "scenes"; "tiles", of each of the same scenes one quarter, drawn twice as large; or
            "negatives", other scenes, each colour replaced by 255 minus itself.
        seed: of the first weights, and of the order of the pictures; the pictures are the same.
        start: the run whose weights are the first ones, instead of random ones.
    """

    model: Model = Model()
    scenes: int = 1600
    style: str = "scenes"
    steps: int = 1000
    learning_rate: float = 8e-3
    warmup_steps: int = 50
    batch_size: int = 16
    seed: int = 0
    start: Run | None = None

    def with_seed(self, seed: int) -> Run:
        """The same with another seed; so is the run from which it starts."""
        return replace(self, seed=seed, start=self.start and self.start.with_seed(seed))

    @property
    def root(self) -> Run:
        """The run with which its weights began."""
        return self.start.root if self.start else self

    @property
    def key(self) -> str:
        """A name that two runs share only if all their settings are equal."""
        settings = json.dumps({"recipe": RECIPE, "side": SIDE, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Condition:
    """What a trained model is tested on; `pictures.py` makes it.

    Attributes:
        pictures: "scene", "mosaic", "mosaic, laid anew", "tiles", "seen", or a corruption's name.
        amount: for the first four how many times larger than in training; otherwise its strength.
        scenes: how many, at most.
    """

    pictures: str = "scene"
    amount: float = 1.0
    scenes: int = 200

    @property
    def key(self) -> str:
        return f"{self.scenes} {self.pictures} {self.amount:g}"
