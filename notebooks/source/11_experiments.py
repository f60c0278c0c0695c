# %% [markdown]
# # Lesson 11 · Do the paper's claims hold?
#
# The paper says that SegFormer keeps its accuracy at other sizes because it has no position embeddings, that it is robust, that fewer keys cost little, and that a light decoder is enough. You have built the model, so you can ask. Our scenes are small and our trainings short. A claim may fail here and hold there, or the other way round. What you learn is how to ask so that the answer means something.
#
# **After this lesson you will be able to**
#
# - write down a question, a prediction and a measure before you run anything, and say why in that order;
# - compare two models by seeds that both share, and read the interval of the difference;
# - take a claim apart into causes that can be switched one by one;
# - say which of the paper's claims show at this scale, which do not, and what that tells us;
# - make a trained model cheaper without training it again.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip what is *further*. **You need** lessons 01 to 08. No GPU; the long trainings have been done, and you read what they wrote.

# %%
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu import SegFormer, plots
from segformer_edu.analysis.robustness import CORRUPTIONS, STRENGTHS, corrupted
from segformer_edu.analysis.seeds import Interval, Table, interval
from segformer_edu.analysis.token_merging import NOTHING, Merging, mean_colours, merged
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.training import confusion_matrix, scores
from segformer_edu.training.minute import in_memory, predictions

# %%
experiments = Path(plots.__file__).parents[2] / "experiments"  # of the repository
tables = {path.stem: Table(path) for path in sorted((experiments / "claims").glob("*.csv"))}
for name, table in tables.items():
    print(f"{name:<12} {len(table.rows):>5} rows, checksum {table.checksum}")

# %% [markdown]
# These are the tables that `python -m experiments.claims` wrote: a row for each trained model and each thing that it was tested on. (If a checksum differs from the one printed here, somebody has run it again, and the text may no longer fit.)
#
# ## 1 · What makes an answer worth having?
#
# Suppose that we train two models, and one reaches an mIoU of `0.62` and the other `0.63`. Is the second better? We cannot know before we have asked how much mIoU changes when *nothing* of interest changes. Here are five trainings of one model, lesson 08's, with one block a stage. They differ in their seed alone, which draws the first weights and the order of the pictures.

# %%
base = tables["robustness"].values("attention")
print("mIoU:", *(f"{miou:.3f}" for miou in base))
print(f"mean {base.mean():.3f}, standard deviation {base.std(ddof=1):.3f}")

# %% [markdown]
# So a difference of a hundredth between two single runs may well be luck. We do three things about it, in all that follows.
#
# **Say it beforehand.** The question, what the paper lets us expect, and the measure were written into the command before the first run ([`experiments/claims/parts.py`](../experiments/claims/parts.py)). Whoever chooses the measure afterwards will find one, among many, that says what they hoped.
#
# **Pair by seed.** Every model in a comparison is trained with the same five seeds, and a seed gives both the same pictures in the same order. So we subtract seed by seed, and what a seed does to both cancels.
#
# **Give an interval.** Other seeds would have given another mean of the five differences. *Student's interval* says where the mean of all seeds lies, in nineteen of twenty such cases, if the differences are normally distributed. It is the mean ± t standard errors. The standard error is the standard deviation divided by √5, and t is {{t_of_five}} for five values. Where the interval holds zero, we say that nothing shows. One such interval in twenty misses the truth, so where we draw several at once, one that ends close to zero is suggestive at most.

# %%
without = tables["robustness"].values("neither")
print("with attention less without:", *(f"{d:+.3f}" for d in base - without))
print("mean and interval:", interval(base - without))

# %% tags=["mirror"]
# segformer_edu.analysis.seeds.interval

# %% [markdown]
# This is the difference between the model and one without attention, which has the Mix-FFN alone. Zero lies outside of the interval, so attention does bring something on these scenes, though it may be half a hundredth or two. From one seed alone we might have said half or twice as much.
#
# All models below are trained like this, on scenes of 64×64 pixels, and tested on {{test_scenes}} scenes that no model has seen. The intervals are over seeds, for these scenes.
#
# ## 2 · Does it keep its accuracy at other sizes?
#
# **The claim.** A Vision Transformer learns a vector for each place of its grid, its *position embedding*. At another size there are other places, so the embedding has to be resized, and accuracy drops. SegFormer has none. It learns where things are from the 3×3 convolution in its Mix-FFN, and so it loses less (arXiv:2105.15203, Section 3.1 and Table 1c).
#
# Two things differ between SegFormer and such a ViT, though: how position gets in, and whether patches overlap. If we compare only the two, we cannot tell which of them matters. So we switch each by itself, which makes four models, a **2×2**:
#
# | | 3×3 convolution in the Mix-FFN | learned position embedding, no convolution |
# |---|---|---|
# | **overlapping patches** | SegFormer | the embedding alone is exchanged |
# | **patches side by side** | the patches alone are exchanged | like a ViT or PVT |
#
# All four are trained at 64×64. The measure: mIoU at another size divided by mIoU at 64×64, the share that the same run *keeps*, at twice the size first of all.
#
# **Predict.** At twice the size, and at four times, which keeps a larger share of its mIoU: the models with the convolution or those with the embedding?

# %%
prediction = ...  # for twice and four times the size, such as ("convolution", "nothing shows")

# %%
table = tables["resolution"]
four = ["overlapping, 3×3", "patches, 3×3", "overlapping, PE", "patches, PE"]
sizes = (0.5, 1, 1.5, 2, 3, 4)
plots.show(
    plots.over_amounts(
        {
            "mIoU": (sizes, {arm: table.over(arm, "scene", sizes) for arm in four}),
            "share of mIoU kept": (sizes, {arm: table.kept(arm, "scene", sizes) for arm in four}),
        },
        ("size, training = 1", ""),
        finding="The convolution keeps more at 1.5 times the size, and less at 3 and 4",
    ),
    alt="Two panels over the size, from half to four times that of training: mIoU, and the "
    "share of it that is kept. All four models fall steeply at half the size. At one and a "
    "half times the two with the convolution keep all and those with the embedding 0.94. At "
    "four times those with the convolution keep about 0.6, overlapping patches with the "
    "embedding 0.77, patches side by side with it 0.84.",
)

# %% [markdown]
# *Compare the two ends of the right panel.* (PE is the position embedding, and a band is Student's interval.) Just above the training size it is as the paper says: the convolution keeps everything, and the embedding loses some. At twice the size they are level. But at three and four times it is the other way round, and by a wide margin. The left panel agrees, except at twice the size, where the convolution is still ahead because it began higher.
#
# To see each cause by itself, we average over the other one. What position does is the mean of two differences: convolution less embedding with overlapping patches, and the same with patches side by side. What overlap does is found likewise. Both are taken seed by seed.


# %%
def effects(measure, pictures, amount):
    """What position and what overlap do to a share of mIoU kept: for each a value per seed."""
    both = {arm: measure(arm, pictures, [amount])[:, 0] for arm in four}
    conv, patch_conv, embedding, patch_embedding = both.values()
    position = (conv - embedding + patch_conv - patch_embedding) / 2
    overlap = (conv - patch_conv + embedding - patch_embedding) / 2
    return position, overlap


for size in (0.5, 1.5, 2, 3, 4):
    position, overlap = effects(table.kept, "scene", size)
    print(f"{size:>3} × convolution {interval(position)}, overlap {interval(overlap)}")


def sign(size):
    found = interval(effects(table.kept, "scene", size)[0])
    return "nothing shows" if not found.shows else "convolution" if found.mean > 0 else "embedding"


compare(prediction, (sign(2), sign(4)))

# %% [markdown]
# So what the paper expects shows at one and a half times the size, does not show at twice, where we meant to look first, and is turned round at 3 and 4. There it is so for each kind of patches alone, and at 4 for all classes but buildings. (For one kind of patches the interval is some six times as wide. That of the average is so narrow because the errors of the two happen to cancel.) From twice the size on, models with overlapping patches keep a few hundredths less. (Three quarters of the size is left out, because 48×48 pixels make an odd number of tokens in stage 3, and patches side by side lose the last row.)
#
# ### Why does the larger picture turn it round?
#
# A scene that is drawn at four times the size has sixteen times as many tokens, *and* everything in it is four times as large. These are two changes. So we make pictures that have only one of them:
#
# - a **mosaic** of several scenes side by side has more tokens, and things are as large as in training;
# - **tiles**, pieces of 64×64 cut out of the large scene, have larger things, and as many tokens as in training.

# %%
times = (2, 3, 4)
panels = {
    caption: (times, {arm: table.kept(arm, kind, times) for arm in four})
    for caption, kind in (
        ("larger scenes: both", "scene"),
        ("mosaics: more tokens", "mosaic"),
        ("tiles: larger things", "tiles"),
    )
}
plots.show(
    plots.over_amounts(
        panels,
        ("times", "share of mIoU kept"),
        finding="Mosaics hurt the embedding; on tiles all models lose nearly alike",
    ),
    alt="Three panels over 2, 3 and 4 times. On larger scenes the embedding keeps more than the "
    "convolution from 3 times on. On mosaics the convolution keeps 0.65 to 0.8 and the "
    "embedding only 0.5 to 0.6. On tiles all four models lie together, and fall from 0.6 to "
    "0.47.",
)

# %% [markdown]
# *Compare the middle panel with the left one.* A mosaic and a larger scene have equally many tokens, and the embedding is resized for both in the same way. Yet on mosaics it loses most, and on larger scenes it does well. So **the resizing by itself does not explain the loss**. In a mosaic the top of the lower scenes lies in the middle of the picture, so an embedding that has learned "the sky is above" is misled there. In a larger scene the sky is still above. (With patches side by side, a model with neither does keep nearly two tenths more on mosaics. With overlapping patches it does not, perhaps because their zeros tell position, too.)
#
# The right panel shows the other half. In tiles things are larger and the surroundings are cut off, and all four models lose nearly alike. Given the *whole* large scene, the models with the embedding get much of it back, and those with the convolution less. Is that because they have no embedding, or because they have the convolution? We also trained models with both and with neither, which can tell.

# %%
for patches in ("overlapping", "patches"):
    arms = {what: f"{patches}, {what}" for what in ("3×3", "3×3 + PE", "PE", "neither")}
    at_four = {what: table.kept(arm, "scene", [4]).mean() for what, arm in arms.items()}
    print(f"{patches:<12}", *(f"{what}: {share:.2f}" for what, share in at_four.items()), sep="  ")

# %% [markdown]
# With the convolution a model keeps about six tenths, whether or not it has an embedding, too. With patches side by side it is the convolution, because a model with neither keeps as much as one with the embedding. With overlapping patches the gain shows only where there is an embedding. Why is that? In a large picture the neighbours of a token show less of the scene, so the convolution meets patterns that it was not trained on. But so it does on tiles, where it loses hardly more than the others. So this cannot be all, and our tables do not tell the rest.
#
# ### And if it is measured as the paper does?
#
# The paper compares windows of Cityscapes' photographs with whole ones (arXiv:2105.15203, Table 1c). There things stay as large as they were. We can do the same. We train the four models on quarters of scenes, and test them on whole scenes, drawn at the same scale.

# %%
crops, change = tables["crops"], {}
for arm in four:
    quarters = crops.values(arm, "tiles", 2)
    change[arm] = crops.values(arm, "scene", 2) / quarters - 1
    print(f"{arm:<18} quarters {quarters.mean():.2f}, whole scenes {interval(change[arm])}")
conv, patch_conv, embedding, patch_embedding = change.values()
print("convolution less embedding", interval((conv - embedding + patch_conv - patch_embedding) / 2))

# %% [markdown]
# All four lose about a fifth on whole scenes, and no difference between them shows. The interval is wide, so a tenth either way could have escaped us.
#
# What is the answer, then? **That a position embedding must fail where it is resized, we do not find.** It fails where places mean something new, as in mosaics. And with SegFormer's convolution, which needs no resizing, a model makes less of a scene drawn much larger. So it depends on what changes with the size of your pictures.
#
# ### Do the zeros at the border tell position? · *further*
#
# Overlapping patches pad the picture with zeros, so a convolution without any position embedding can find the border (lesson 04). The models with the embedding have such convolutions, too, in their patches. So do they get position twice, and does that mix up our comparison? We repeat the 2×2 with every convolution padded by the value of the border itself, which tells nothing on a flat picture.

# %%
for arm in four:
    change = table.values(arm + ", replicate") - table.values(arm)
    print(f"{arm:<18} mIoU without the zeros: {interval(change)}")
for size in (1.5, 2, 3, 4):
    no_zeros = {arm: table.kept(arm + ", replicate", "scene", [size])[:, 0] for arm in four}
    conv, patch_conv, embedding, patch_embedding = no_zeros.values()
    position = (conv - embedding + patch_conv - patch_embedding) / 2
    print(f"{size:>3} × convolution {interval(position)}")

# %% [markdown]
# (The fourth model pads nowhere, so nothing changes for it.) At the training size SegFormer itself may lose a hundredth without the zeros, and its interval ends close to zero. With patches side by side they are worth less, so there most of what the convolution brings is not position:

# %%
for arm in ("patches, 3×3", "patches, 3×3, replicate", "patches, PE"):
    gain = table.values(arm) - table.values("patches, neither")
    print(f"{arm:<24} less neither: {interval(gain)}")

# %% [markdown]
# Nearly all of the gain is there without zeros, so it is the mixing of neighbours that helps. An embedding, which is position and nothing else, brings less. With overlapping patches we cannot tell: the convolution brings two hundredths there, and without the zeros no gain over "neither" shows.
#
# At twice the size the zeros help the convolution, because without them it trails the embedding already there. Without them overlap makes no difference that shows at any larger size. Whether they are the reason why overlap loses with them stays open, because the change from one to the other does not show.
#
# ## 3 · Is it more robust?
#
# **The claim.** On pictures with noise, blur, fog and the like, SegFormer's mIoU is far higher than that of convolution nets (arXiv:2105.15203, Section 4.4 and Table 5). Those are DeepLabV3+ and others, which differ in more than one thing. Our convolution net is SegFormer itself with a 3×3 convolution in the place of each attention, in two groups of channels so that the two are equally large: {{segformer_size}} and {{convolution_size}} parameters, {{segformer_work}} and {{convolution_work}} million multiply-adds for a picture of 64×64.
#
# We make the test scenes worse in five ways, in five strengths each, in the manner of [Hendrycks and Dietterich](https://arxiv.org/abs/1903.12261). Neither model has been trained on anything of the kind.

# %%
scene = Scenes(5, 64, seed=2026).picture(3)[0]
worse = [corrupted(scene, kind, 3, np.random.default_rng(0)) for kind in CORRUPTIONS]
plots.show(
    plots.pictures([scene, *worse], ["as it is", *CORRUPTIONS], finding="Strength 3 of 5"),
    alt="A street scene of 64 by 64 pixels and five versions of it: with coloured noise, "
    "blurred, behind uneven light grey fog, brighter, and with the blocks of a strongly "
    "compressed JPEG.",
)

# %% [markdown]
# The measure: the share of the clean mIoU that a run keeps, averaged over the five strengths, SegFormer less the convolution net, seed by seed. (By mIoU itself, as in the paper, a model that is better on clean scenes passes for more robust.)
#
# **Predict.** In which of the five does attention keep more, in which the convolution?

# %%
prediction = (
    ...
)  # for each "attention", "convolution" or "nothing shows", such as {"fog": "attention"}

# %%
robust = tables["robustness"]
kept = {
    arm: {kind: robust.kept(arm, kind, STRENGTHS).mean(axis=1) for kind in CORRUPTIONS}
    for arm in robust.arms
}
less = {
    other: {kind: kept["attention"][kind] - kept[other][kind] for kind in CORRUPTIONS}
    for other in robust.arms[1:]
}
plots.show(
    plots.differences(
        {f"less {other}": rows for other, rows in less.items()},
        "share of mIoU kept, difference",
        finding="Over all strengths, attention shows no advantage over a convolution",
    ),
    alt="Two panels with a row for each corruption, and in each row five dots and an interval. "
    "Less the 3 by 3 convolution, noise, blur, fog and JPEG have intervals that hold zero, "
    "and brightness lies just below it. Less neither, fog lies at 0.03 and brightness at "
    "0.01 above zero, JPEG just below it, and noise and blur hold zero.",
)
answer = {}
for kind, difference in less["3×3 convolution"].items():
    found = interval(difference)
    better = "attention" if found.mean > 0 else "convolution"
    answer[kind] = better if found.shows else "nothing shows"
compare(prediction, answer)

# %% [markdown]
# *Look at the left panel.* (Blue is an interval without zero.) **The claim does not show at this scale.** In none of the five is attention seen to keep more than the convolution that stands in its place. In brightness it even keeps a little less. The intervals also say how large an advantage could have escaped us, a hundredth or so. But the mean over strengths hides that in fog of strengths 1 to 3 attention does keep more, and in the strongest perhaps less. (We found this by looking afterwards, so it asks for other seeds.) And in mIoU itself it is a hundredth ahead in blur and fog, as on clean scenes.
#
# *And the right panel?* Against a model that has neither, attention keeps three hundredths more in fog. (Brightness and JPEG end so close to zero that they are only suggestive.) So to mix tokens once more helps in fog, and it makes no difference that shows whether attention does it or a convolution.
#
# This does not refute the paper. Its models were pretrained on ImageNet and are far larger, and its rivals are other networks from top to bottom. Our trial says only that attention *by itself* brings no gain that shows here. To find out what makes them robust, one would have to exchange one thing at a time at their size.
#
# ## 4 · What do fewer keys cost?
#
# **The claim.** The reduction ratios make attention cheap, and accuracy stays (arXiv:2105.15203, Section 3.1). The paper has no table of other ratios. We have two. The nano that comes with the package answers at every ratio, because it was trained with ratios that were drawn anew at each step (lesson 03). Over all {{combinations}} combinations its mIoU goes from {{miou_of_ratios_128}} at 128×128, and from {{miou_of_ratios_256}} at 256×256, where the dearest costs {{dearest_256}} times the cheapest. But one model that had to be good at all ratios may be no fair witness. So we also trained a model for each of four settings alone.
#
# **Predict.** How much mIoU does a model with r = 8, 4, 2, 1 lose against one with 1, 1, 1, 1, if each is trained for its own?

# %%
prediction = ...  # for example 0.05

# %%
ratios = tables["ratios"]
loss = {f"r = {arm}": ratios.values(arm) - ratios.values("1, 1, 1, 1") for arm in ratios.arms[:-1]}
large = {
    f"r = {arm}": ratios.values(arm, amount=2) - ratios.values("1, 1, 1, 1", amount=2)
    for arm in ratios.arms[:-1]
}
plots.show(
    plots.differences(
        {"64 px, as in training": loss, "128 px": large},
        "mIoU less that of r = 1, 1, 1, 1",
        finding="With four keys a stage, a hundredth of mIoU is lost",
    ),
    alt="Two panels with five dots and an interval for each of three settings of r. At 64 "
    "pixels the interval of 8, 4, 2, 1 lies below zero, around minus 0.01, and those of the "
    "other two reach just above it. At 128 pixels all three are wide and hold zero.",
)
compare(prediction, f"{-loss['r = 8, 4, 2, 1'].mean():.3f}")

# %% [markdown]
# *Look at the left panel.* The largest ratios lose about a hundredth, and the interval does not hold zero. The ratios between lose half of that or so, which may also be nothing. At 64×64 with r = 8, 4, 2, 1 every stage has {{keys_at_8421}} keys, for the {{queries_of_stage_1}} queries of stage 1 as for the four of stage 4. At 128×128 there are four times as many, and no loss shows. (The intervals are wide there, because runs differ more at a size at which they were not trained.)
#
# So **the claim holds here**: fewer keys cost little. It does not follow that keys never matter. All of attention is worth one or two hundredths on these scenes (section 1), so four keys a stage lose something like half of what it brings. A task that hangs on attention is another question.

# %% [markdown]
# ## 5 · Can a trained model do with fewer tokens?
#
# **The claim.** SegFormer++ ([arXiv:2405.14467](https://arxiv.org/abs/2405.14467)) takes a trained SegFormer and *merges tokens*. Before each attention, tokens that are alike are replaced by their mean, and afterwards each of them gets the answer that the mean got. Nothing is trained again. On Cityscapes its authors report an mIoU of 82.31 in place of 82.39, and inference 1.61× as fast ([arXiv:2405.14467](https://arxiv.org/abs/2405.14467)).
#
# It rests on an older idea, ToMe ([arXiv:2210.09461](https://arxiv.org/abs/2210.09461)): a hundred tokens of sky say one thing a hundred times, so one of them could say it for all. But which tokens should go together? To find the best of all pairs takes many rounds, because a token that was merged can no longer be chosen. So the tokens are divided once: the top left token of every 2×2 cell *stays*, and each of the other three looks for the staying token, anywhere in the map, with which it has the highest cosine. (The cosine of two vectors is 1 where both point in one direction.) Then the pairs with the highest cosines are merged, as many as we ask for.


# %% tags=["mirror"]
# segformer_edu.analysis.token_merging.similar

# %% [markdown]
# Let us see what is merged before we ask what it costs. These are the keys of stage 1 for one scene, 16×16 of them, and six in ten are merged into others. Every patch gets the mean colour of its group, so patches whose keys became one key have one colour.

# %%
nano = SegFormer.from_pretrained("nano")
scenes, stage = Scenes(1, 256, seed=2026), nano.encoder.stages[0]
photo, (image, _), block = scenes.picture(0)[0], scenes[0], stage.blocks[0]
with torch.no_grad():
    keys = block.attention.reduce(block.norm1(stage.patch_embedding(image[None])))
groups = Merging(share=0.6).groups(keys, torch.Generator())
plots.show(
    plots.pictures(
        [photo, mean_colours(photo, groups, keys.shape[1:3])],
        ["the scene", f"its {keys.shape[1] * keys.shape[2]} keys, merged into {groups.number}"],
        finding="Sky and road become a few keys; what is small keeps its own",
    ),
    alt="A street scene with a person, signs and a bus, and beside it a mosaic of 16 by 16 "
    "squares in the mean colours of their groups. The sky is a few tints and the "
    "road nearly one dark grey, while the squares at the signs, the person and the bus keep "
    "colours of their own.",
)

# %% [markdown]
# **The measure.** We take the setting that SegFormer++ calls HQ, for high quality ([its documentation](https://huggingface.co/KieDani/SegformerPlusPlus/blob/main/docs/run/token_merging.md)): six in ten keys of stages 1 and 2, and eight in ten queries of stages 3 and 4, which have larger cells so that so many can be merged. We measure the mIoU of the trained nano on {{tm_scenes}} scenes that it has not seen, with merging and without. The difference comes with an interval over scenes, because we want to know what other scenes would have given. For that we draw as many scenes with replacement, {{tm_draws}} times, and keep the middle `95 %` (the *bootstrap*).
#
# **Predict.** How much mIoU does merging take away?

# %%
prediction = ...  # for example 0.05

# %%
images, labels = in_memory(Scenes(100, 128, seed=2026))
six, eight = Merging(0.6), Merging(0.8, cell=4)
faster = merged(nano, queries=[NOTHING, NOTHING, eight, eight], keys=[six, six, NOTHING, NOTHING])
found = scores(confusion_matrix(predictions(faster, images), labels, len(CLASSES))).miou

merging = json.loads((experiments / "token_merging.json").read_text(encoding="utf-8"))
usual, stored = (
    next(row for row in merging["128"]["rows"] if row["what"] == what)
    for what in ("nothing", "SegFormer++ HQ")
)
print("this run gives the mIoU of the stored table:", abs(found - stored["miou"]) < 0.0003)
compare(prediction, f"{usual['miou'] - stored['miou']:.3f}")

# %% [markdown]
# So you have rerun one row of the table that `python -m experiments.token_merging` wrote. There, mIoU changes by {{tm_hq_128}} at 128×128, and by {{tm_hq_256}} at 256×256, with the interval in brackets. Both intervals hold zero, so on these scenes no loss shows. The multiply-adds, with those of the matching counted in, fall to {{tm_hq_cost_128}} and {{tm_hq_cost_256}} of what they were. The saving grows with the picture because attention's share of the work does.
#
# **The answer.** The claim holds here. SegFormer++'s setting costs so little that a hundred scenes cannot show it, although this trained model leans on its attention: with all of it taken out, mIoU changes by {{tm_no_attention}}. (A model trained without any loses far less, as in section 1.) Because a hundred scenes leave room for luck, the same command asked {{tm_again_scenes}} others. There the setting changes mIoU by {{tm_hq_again}}, so there may be a loss of about a thousandth, as in the paper.
#
# ### Is it the likeness that does it? · *further*
#
# A sceptic would merge as many tokens of the same places *without* looking at them: each into the staying token of its own cell ("neighbours"), or into any staying token, drawn at random ("strangers"). And because this nano has a trained reduction for every ratio (lesson 03), there is a third rival, which is a larger r that leaves as many keys.

# %%
ways = {("SegFormer++ HQ", None): "HQ", ("keys", 0.75): "3 in 4 keys"}
ways[("trained reduction", 0.75)] = ways["keys", 0.75]
for size in ("128", "256"):
    for row in merging[size]["rows"]:
        name, how = ways.get((row["what"], row["share"])), row["matching"] or "trained"
        if name and row["against"] == "nothing":
            change = f"{row['change']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
            print(f"{size} px  {name:<11}  {how:<10}  {row['cost']:.2f} of the work  mIoU {change}")


# %%
def points(size, what, matching):
    told, wanted = ("cost", "change", "low", "high"), (what, matching, "nothing")
    rows = [x for x in merging[size]["rows"] if (x["what"], x["matching"], x["against"]) == wanted]
    return [[row[name] for name in told] for row in rows]


kinds = {
    "SegFormer++ HQ": ("SegFormer++ HQ", "similar"), "keys, similar": ("keys", "similar"),
    "keys, neighbours": ("keys", "neighbours"), "keys, strangers": ("keys", "strangers"),
    "queries, similar": ("queries", "similar"), "trained reduction": ("trained reduction", None),
}  # fmt: skip
plots.show(
    plots.trade_offs(
        {
            f"{s} px": {name: points(s, *kind) for name, kind in kinds.items()}
            for s in ("128", "256")
        },
        ("multiply-adds (1: nothing is merged)", "change of mIoU"),
        finding="Strangers lose; likeness counts when nearly all tokens are merged",
    ),
    alt="Two panels, for pictures of 128 and 256 pixels: the change of mIoU over multiply-adds, "
    "each point with an interval. Merged strangers fall away the more are merged, to minus "
    "0.016 and minus 0.03. Similar keys, neighbours, the trained reduction and SegFormer++ "
    "lie within 0.003 of zero, until 15 of 16 keys go; then neighbours fall below similar "
    "keys at 256 pixels. Similar queries lose nothing, but at 256 pixels cost up to 1.18 "
    "times the work.",
)

# %% [markdown]
# Whether *likeness* is the reason depends on how many tokens go.
#
# - With three in four keys merged, neighbours in a window do as well as similar keys. The difference is {{tm_keys_neighbours_again}} at 128×128, on the {{tm_again_scenes}} scenes, and {{tm_keys_neighbours_256}} at 256×256. The likely reason is that neighbours mostly *are* alike, and a window needs no search. In SegFormer++'s setting neighbours may be a little behind, by {{tm_hq_neighbours_again}}, and {{tm_again_scenes}} scenes do not decide it.
# - With 15 in 16 merged, likeness counts. On the {{tm_again_scenes}} scenes neighbours differ from similar keys by {{tm_most_neighbours_again}}, at 256×256 by {{tm_most_neighbours_256}}. Strangers fall behind far earlier.
# - A trained reduction with as many keys, a quarter of them, is a little better than merging: {{tm_trained_again}} at 128×128, {{tm_trained_256}} at 256×256. Half of that little comes back if a merged key counts as often in the softmax as it has members (ToMe's "proportional attention"), which changes mIoU by {{tm_counted_again}}.
#
# So training the reduction buys less than {{tm_trained_at_most}} of mIoU here over an average that needs no training. These are small numbers, and only paired differences over many scenes bring them to light.
#
# One more thing can be counted. At 256×256, merging half of the *queries* of all stages raises the work to {{tm_queries_cost_256}} times what it was. The reason is stage 1, whose matching compares a quarter of all tokens with the others, and that is dearer than attention to few keys. This may be why SegFormer++ merges only keys in the first two stages.
#
# Three limits belong to this answer. We counted multiply-adds and measured no time, and sorting tokens into groups takes some. This nano was trained at changing ratios, which may have made it patient with fewer keys. And scenes are drawn with even surfaces, so more of their tokens may be alike than in photographs.

# %% [markdown]
# ## 6 · How wide must the decoder be? · *further*
#
# **The claim.** A light decoder is enough, because the encoder's maps already hold what is needed, and a wider one brings little (arXiv:2105.15203, Section 4.2 and Table 1b). We trained the same encoder with decoders of D = 8 to 256 channels. The measure: mIoU at each width, and what doubling D brings, seed by seed.

# %%
decoder, widths = tables["decoder"], (8, 16, 32, 64, 128, 256)
of_width = {d: decoder.values(f"D = {d}") for d in widths}
plots.show(
    plots.over_amounts(
        {"unseen scenes": (widths, {"SegFormer": np.stack(list(of_width.values()), axis=1)})},
        ("channels D of the decoder", "mIoU"),
        finding="From 32 channels on, a wider decoder brings nothing that shows",
        log=True,
    ),
    alt="A curve of mIoU over the channels of the decoder, with a band: 0.60 at 8, 0.61 at 16, "
    "0.62 at 32 and 64, and about 0.62 at 128 and 256.",
)
for narrow, wide in (*pairwise(widths), (8, 32), (32, 256)):
    print(f"D = {narrow:>3} to {wide:>3}: {interval(of_width[wide] - of_width[narrow])}")

# %% [markdown]
# Eight channels are two hundredths too few, and from 32 on nothing more is gained that shows: the widest decoder is several times as dear, and mIoU stays. **So the claim holds here.** (There are eight classes on our scenes. With a hundred and fifty, as in ADE20K, more channels may be needed to keep them apart.)

# %% [markdown]
# ## Exercises
#
# Replace the `...`, run the cell, and read the answer. `hint("11.1")` gives a hint, and another each time you ask; `solution("11.1")` gives the answer.
#
# ### Exercise 11.1 ★ 6 minutes · Is the difference real?
#
# `a` and `b` are the scores `(n,)` of two models, trained with the same n seeds. Return the mean of a − b and its standard error.


# %%
def difference(a, b):
    return ...


check("11.1", difference)

# %% [markdown]
# ### Exercise 11.2 ★★ 7 minutes · What might other scenes have given?
#
# `values` `(n,)` has a number for each of n scenes. Each row of `draws` `(B, n)` holds n indices, drawn with replacement: another data set of n scenes. Return the two ends between which the middle `95 %` of the B means lie, their quantiles `0.025` and `0.975`.


# %%
def ends(values, draws):
    return ...


check("11.2", ends)

# %% [markdown]
# ### Exercise 11.3 ★★★ 14 minutes · Merge what is alike
#
# Of the `movable` tokens `(S, C)`, merge the `count` whose cosine with one of the `staying` tokens `(D, C)` is highest, each into that token. A staying token becomes the mean of itself and of all that came. Return the movable tokens that are left, in their order, and after them the staying ones: `(S − count + D, C)`.


# %%
def merge(movable, staying, count):
    return ...


check("11.3", merge)

# %% [markdown]
# ### Exercise 11.4 ★★ 9 minutes · A power law
#
# Fit error = a · n^(−b) to `amounts` and `errors` `(m,)`: the line through their natural logarithms with the least squares. Return a and b.


# %%
def fitted(amounts, errors):
    return ...


check("11.4", fitted)

# %% [markdown]
# ### Exercise 11.5 ★★★ 20 minutes · Where paper, code and posts differ
#
# Five numbers, each of them from a place where two sources disagree. Find them with the course's tools (`segformer_edu.analysis.cost`, `drop_rates`, a model that you print):
#
# 1. How many more parameters B0 has (`num_classes=150`), if its expansions are those of the paper's Table 6, 8, 8, 4, 4, and not the 4 of the released model.
# 2. The drop rate of B0's first block at a `drop_path_rate` of `0.1`, by the paper of stochastic depth, where the released code has 0.
# 3. The entries of one attention map of a picture of 512 × 512 pixels, if each pixel is a token. A post gives `262,144`.
# 4. The share (0 to 1) of stage 1's tokens that some key of B0 has seen, in a picture of 124 × 124 pixels. The paper's equation 2 knows no remainder.
# 5. The parameters in B0's decoder of the layers that the paper's equation 4 does not name.

# %%
more_parameters = ...
first_drop_rate = ...
attention_entries = ...
share_seen = ...
parameters_not_named = ...
check(
    "11.5",
    (more_parameters, first_drop_rate, attention_entries, share_seen, parameters_not_named),
)

# %% [markdown]
# ## Recap
#
# - A difference between two single runs is no finding. Say the measure beforehand, use several seeds, pair them, and give an interval.
# - *Other sizes.* Resizing a position embedding need not hurt. It loses where places mean something new. With Mix-FFN's convolution a model keeps more of a scene just above its size, and less at 3 and 4 times. Trained on quarters and tested on whole scenes, no difference shows.
# - *Robustness.* Over all strengths, attention is not seen to keep more than a convolution in its place.
# - *Keys.* Four keys a stage cost a hundredth of mIoU against a key for each token, and sixteen cost less than we can tell.
# - *Merging tokens* as SegFormer++ does costs a trained model next to nothing, and needs no training.
# - "It does not show here" is an answer. It says how large an effect can have been missed, and at which scale.
#
# **Can you answer without scrolling up?**
#
# 1. Two models differ by `0.010` in mIoU, one run each. Why is that no finding, and what would make it one?
# 2. Why does a larger picture of the same scene not tell whether *position* is the reason for a loss?
# 3. The interval of a difference holds zero. Does that mean that there is no difference?
#
# <details><summary>Answers</summary>
#
# 1. Runs that differ in their seed alone differ by as much. Train both with several seeds, subtract seed by seed, and see whether the interval of the mean holds zero.
# 2. Two things change at once, the number of places and the size of things. Mosaics and tiles change one each.
# 3. No. It means that five seeds could not tell. The interval says how large a difference could be that we have missed.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *What grows?* The paper's comparison of Mix-FFN with a position embedding is by windows and by whole photographs (arXiv:2105.15203, Table 1c), so things stay as large as they were. "Any resolution" is more than that. In our trials the models with the convolution keep less when a whole scene grows (section 2).
# - *What does the 3×3 convolution bring?* The paper gives it for position, which zero padding lets in (arXiv:2105.15203, Section 3.1). With patches side by side our models lose little without the zeros, and more without the convolution (section 2), so there most of what it brings is something else, such as the mixing of neighbours itself.
# - *Robust compared with what?* The paper's rivals are whole convolution nets with other decoders and other trainings (arXiv:2105.15203, Table 5). Ours differs in one layer, so the two comparisons answer different questions.
# - *Fewer tokens, or less time?* SegFormer++ reports the speed of inference ([arXiv:2405.14467](https://arxiv.org/abs/2405.14467)); we counted multiply-adds.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Sections 3.1, 4.2, 4.4, Tables 1 and 5. D. Hendrycks and T. Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*, [arXiv:1903.12261](https://arxiv.org/abs/1903.12261). W. Wang and others, *Pyramid Vision Transformer*, [arXiv:2102.12122](https://arxiv.org/abs/2102.12122). D. Kienzle and others, *Segformer++*, [arXiv:2405.14467](https://arxiv.org/abs/2405.14467).
