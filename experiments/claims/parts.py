"""What is asked, what the paper lets us expect, and how it is measured: written before the runs.

A part compares arms, which differ in the one or two settings that it asks about. Each arm is
trained with five seeds. The same seed means the same order of pictures in every arm, so that arms
are compared seed by seed. A run that several parts need is trained once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from experiments.claims.models import VITS
from experiments.claims.settings import LAID_ANEW, Condition, Model, Run
from segformer_edu.analysis.robustness import CORRUPTIONS, STRENGTHS

SEEDS = range(5)
BASE = Run()
PLAIN = (Condition(), Condition("seen"))  # unseen scenes as in training; and scenes seen there
LARGER = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
TIMES = (2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Part:
    """One claim.

    Attributes:
        question: in a sentence.
        expected: what the paper says, or lets us expect.
        measure: what decides, stated before the runs.
        arms: the runs that are compared, by what tells them apart; each with seed 0.
        conditions: what every run is tested on.
        seeds: of each arm.
    """

    question: str
    expected: str
    measure: str
    arms: dict[str, Run]
    conditions: tuple[Condition, ...] = PLAIN
    seeds: tuple[int, ...] = tuple(SEEDS)

    def runs(self) -> Iterator[tuple[str, Run]]:
        """Every arm with every seed; seed 0 of all arms first, so that early answers are fair."""
        for seed, (arm, run) in product(self.seeds, self.arms.items()):
            yield arm, run.with_seed(seed)


def with_model(**changes: Any) -> Run:
    return replace(BASE, model=replace(BASE.model, **changes))


def name(model: Model) -> str:
    patches = "overlapping" if model.overlap else "patches"
    parts = [word for word, there in (("3×3", model.convolution), ("PE", model.embedding)) if there]
    padding = "" if model.padding == "zeros" else f", {model.padding}"
    return f"{patches}, {' + '.join(parts) or 'neither'}{padding}"


def position_arms() -> dict[str, Run]:
    """Overlap × position, with zeros and with replication at the borders; then both and neither."""
    one = [(True, False), (False, True)]  # the 3×3 convolution or the embedding
    each = [*product(("zeros", "replicate"), one, (True, False))]
    each += product(("zeros",), [(True, True), (False, False)], (True, False))
    arms = [
        with_model(overlap=overlap, convolution=convolution, embedding=embedding, padding=padding)
        for padding, (convolution, embedding), overlap in each
    ]
    return {name(run.model): run for run in arms}


def pretraining_arms() -> dict[str, Run]:
    """From random weights and from pretrained ones, at two learning rates; and a longer run."""
    source = replace(BASE, style="negatives")
    arms = {}
    for scenes, rate, start in product((50, 200, 800), (8e-3, 2e-3), (None, source)):
        arm = f"{scenes} scenes, {rate:g}, {'pretrained' if start else 'from scratch'}"
        run = replace(BASE, scenes=scenes, steps=250, learning_rate=rate, start=start)
        arms[arm] = run
    for scenes in (50, 200, 800):
        longer = replace(BASE, scenes=scenes, steps=1250)
        arms[f"{scenes} scenes, from scratch for 1250 steps"] = longer
    return arms


PARTS = {
    "resolution": Part(
        question="Does a model without position embeddings keep more of its mIoU at other sizes?",
        expected="Yes: Mix-FFN's 3×3 convolution loses less than a learned position embedding that "
        "is resized (paper, section 3.1 and table 1c), and overlap does not decide it.",
        measure="mIoU at a size divided by mIoU at the training size, of the same run. The effect "
        "of position and that of overlap are differences of it, paired by seed, averaged over the "
        "other factor; at twice the training size first, then at all. Mosaics of several scenes "
        "(more tokens, things as large as before) and tiles (things larger, tokens as many) tell "
        "whether it is positions or the size of things. Replicated borders take the zeros away "
        "that also tell position.",
        arms=position_arms(),
        conditions=(
            *(Condition("scene", amount) for amount in LARGER),
            *(Condition(kind, amount) for kind, amount in product(("mosaic", "tiles"), TIMES)),
            Condition("seen"),
        ),
    ),
    "robustness": Part(
        question="Does SegFormer keep more of its mIoU under corruption than a convolution net?",
        expected="Yes, by far: section 4.4 compares it with DeepLabV3+ on Cityscapes-C.",
        measure="Share of the clean mIoU that is kept, averaged over the five strengths, for each "
        "of the five corruptions; SegFormer minus the convolution net, paired by seed.",
        arms={
            "attention": BASE,
            "3×3 convolution": with_model(kind="convolution"),
            "neither": with_model(kind="no attention"),
        },
        conditions=(
            *PLAIN,
            *(Condition(kind, strength) for kind, strength in product(CORRUPTIONS, STRENGTHS)),
        ),
    ),
    "mosaics": Part(
        question="Is it what the embedding says of places that loses on mosaics?",
        expected="Added after the part on resolution, whose mosaics suggest it. If so, models with "
        "the embedding keep more when each scene of a mosaic has it in full.",
        measure="Share of mIoU kept on mosaics with the embedding laid anew over each scene, minus "
        "that with the embedding resized, of the same weights, paired by seed.",
        arms={arm: run for arm, run in position_arms().items() if arm.endswith(" PE")},
        conditions=(
            Condition(),
            *(Condition(kind, amount) for kind, amount in product(("mosaic", LAID_ANEW), TIMES)),
        ),
    ),
    "ratios": Part(
        question="What does a larger reduction ratio cost in mIoU?",
        expected="Little: the paper chooses 8, 4, 2, 1 without a table of others.",
        measure="mIoU at the training size and at twice that, minus that of ratios 1, 1, 1, 1, "
        "paired by seed.",
        arms={
            ", ".join(map(str, ratios)): with_model(reduction_ratios=ratios)
            for ratios in ((8, 4, 2, 1), (4, 2, 1, 1), (2, 2, 1, 1), (1, 1, 1, 1))
        },
        conditions=(*PLAIN, Condition("scene", 2.0)),
    ),
    "crops": Part(
        question="And if it is trained on pieces of pictures, and tested on whole ones?",
        expected="As in the part on resolution; this is nearer to how the paper measures it, by "
        "square windows and by whole pictures of Cityscapes (table 1c).",
        measure="mIoU on whole scenes of twice the side, four times as many tokens, divided by "
        "that on the quarters of the same scenes, of the same run. Things are as large in both. "
        "The effects of position and of overlap as in the part on resolution.",
        arms={
            arm: replace(run, style="tiles")
            for arm, run in position_arms().items()
            if run.model.padding == "zeros" and run.model.convolution != run.model.embedding
        },
        conditions=(
            Condition("tiles", 2.0),
            *(Condition("scene", amount) for amount in (1.0, 2.0, 3.0, 4.0)),
            Condition("mosaic", 2.0),
        ),
    ),
    "decoder": Part(
        question="How wide must the decoder be?",
        expected="Wider is better, and soon wide enough (paper, section 4.2 and table 1).",
        measure="mIoU at each D, and the difference from D to 2D, paired by seed.",
        arms={f"D = {d}": with_model(decoder_dim=d) for d in (8, 16, 32, 64, 128, 256)},
    ),
    "plain": Part(
        question="Is a plain ViT with class queries among its tokens as good at equal cost?",
        expected="With large-scale pretraining nearly as good as models with more parts, and "
        "queries in the encoder as good as a decoder for them (EoMT, arXiv 2503.19108); what a "
        "small one learns from random weights on few scenes, the paper does not say.",
        measure="mIoU at the training size, paired by seed: class queries minus SegFormer, and "
        "class queries minus a linear head, at the size of patches that is better for each; and "
        "how much higher mIoU is on scenes that were seen.",
        arms={"SegFormer": BASE, **{kind: with_model(kind=kind) for kind in VITS}},
    ),
    "rates": Part(
        question="Does the one learning rate of all these runs do justice to every model?",
        expected="A model trained at a bad rate would lose for no reason of its own.",
        measure="mIoU at half the rate, at the rate, and at twice the rate, one seed that no other "
        "part uses. If another rate than 8e-3 is better by more than 0.02, the comparison has to "
        "be repeated at that.",
        arms={
            f"{arm}, {rate:g}": replace(run, learning_rate=rate)
            for (arm, run), rate in product(
                {
                    "SegFormer": BASE,
                    "patches, PE": with_model(overlap=False, convolution=False, embedding=True),
                    "3×3 convolution": with_model(kind="convolution"),
                    **{kind: with_model(kind=kind) for kind in VITS},
                }.items(),
                (4e-3, 8e-3, 1.6e-2),
            )
        },
        seeds=(10,),
    ),
    "twice": Part(
        question="Do the answers on attention hold at twice the learning rate?",
        expected="Added after the part on rates, where the convolution net is 0.014 better at "
        "twice the rate. That is under the limit of 0.02, but it is more than attention is ahead. "
        "If five seeds say the same, attention is not ahead of a convolution on clean scenes.",
        measure="At twice the rate: mIoU of attention minus that of the convolution net and of "
        "neither, paired by seed, each at the better of its two rates; and the part on robustness "
        "again.",
        arms={
            arm: replace(run, learning_rate=1.6e-2)
            for arm, run in {
                "attention": BASE,
                "3×3 convolution": with_model(kind="convolution"),
                "neither": with_model(kind="no attention"),
            }.items()
        },
        conditions=(
            *PLAIN,
            *(Condition(kind, strength) for kind, strength in product(CORRUPTIONS, STRENGTHS)),
        ),
    ),
    "scaling": Part(
        question="What do more scenes, more width and more steps bring?",
        expected="Each of them helps, by less and less; the papers on scaling fit power laws.",
        measure="mIoU over the number of scenes, the width, and the steps, one varied at a time; "
        "a power law with a limit is fitted, with its interval over seeds.",
        arms={
            **{
                f"{n} scenes": replace(BASE, scenes=n) for n in (50, 100, 200, 400, 800, 1600, 3200)
            },
            **{f"{n} steps": replace(BASE, steps=n) for n in (125, 250, 500, 2000)},
            **{f"width × {width:g}": with_model(width=width) for width in (0.5, 2.0)},
        },
    ),
    "longest": Part(
        question="Do four times as many steps still help?",
        expected="As in the part on scaling, to which this belongs.",
        measure="As there; three seeds, because a run takes minutes.",
        arms={"4000 steps": replace(BASE, steps=4000)},
        seeds=(0, 1, 2),
    ),
    "depth": Part(
        question="Do deeper models gain, and does DropPath keep them from overfitting?",
        expected="Depth helps (B0 to B5), and the rate 0.1 of the paper's training regularises.",
        measure="On 200 scenes only, so that something can overfit: mIoU on unseen scenes, and how "
        "much higher it is on those that were seen; rate 0.1 and 0.3 minus rate 0, paired by seed.",
        arms={
            f"depth {depth}, rate {rate:g}": replace(
                with_model(depth=depth, drop_path_rate=rate), scenes=200
            )
            for depth, rate in product((1, 2, 3), (0.0, 0.1, 0.3))
        },
    ),
    "pretraining": Part(
        question="Does pretraining on pictures of another style help where there are few scenes?",
        expected="Yes: the paper starts from ImageNet weights in all its tables.",
        measure="mIoU after 250 steps on 50, 200 and 800 scenes, from weights trained on 1,600 "
        "negatives of other scenes, minus that from random weights, each at the better of its two "
        "learning rates; paired by seed. Random weights also get 1,250 steps, as many as both "
        "trainings together.",
        arms=pretraining_arms(),
    ),
}
