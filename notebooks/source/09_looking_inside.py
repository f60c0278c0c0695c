# %% [markdown]
# # Lesson 09 · What does it look at, and what does that not tell us?
#
# You have built SegFormer and trained it. Now you want to know why it calls one pixel *vehicle* and another *road*. A picture that seems to answer is quickly made: it glows where the model "looks", and it mostly pleases, because it glows where *we* would look. But a picture that pleases need not be true. So this lesson makes such pictures, and puts each of them to a test that it can fail.
#
# **After this lesson you will be able to**
#
# - show what a query attends to, and say what such a map leaves out;
# - find out by an intervention whether a stage carries what you think it carries;
# - ask in five ways which pixels decided one pixel's class, compute two of them yourself (in the exercises), and test all of them against what happens when those pixels go;
# - tell whether a model's confidence can be believed, and sort its errors into kinds (*further*).
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip what is marked *further*, because no section of the core builds on it. (Sections 8 to 17 use what section 7 loads.) **You need** lessons 02, 03, 06 and 07; for what is marked *further* also 04, 05 and 08.

# %%
import numpy as np
import torch
from torch import Tensor

from segformer_edu import SegFormer, plots, widgets
from segformer_edu.analysis import attention_maps
from segformer_edu.analysis import attribution as ask
from segformer_edu.analysis import interventions as change
from segformer_edu.analysis.attention_heads import attention_between
from segformer_edu.analysis.attribution import Score, enlarged, logit
from segformer_edu.analysis.attribution_trial import Trial
from segformer_edu.analysis.lamps import all_lamps_and_balls, all_relit
from segformer_edu.data.lamps import Lamps
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.files import experiments_folder
from segformer_edu.layers import evaluation

# %%
nano = SegFormer.from_pretrained("nano")
held_out = Scenes(100, 128, seed=2026)  # nano has seen none of them
experiments = experiments_folder()

# %% [markdown]
# ## 1 · What does one query attend to?
#
# In every block each token sends a query to all keys, and the softmax gives each key a weight (lesson 02). We can lay these weights out over the picture. Our pixel lies on a white car, and nano is right to call it *vehicle*. It is a row and a column on the map of logits, whose sides are a quarter of the picture's, and in each stage we take the token that lies over it.

# %%
photo, _ = held_out.picture(32)
image, place = normalize(photo), (23, 17)  # row and column on the map of logits
at = (23.5 / 32, 17.5 / 32)  # the same in fractions of height and width
maps = attention_maps(nano, image)  # [stage][block]: (1, heads, H, W, h, w)
tokens = [ask.token_at(nano, image, place, stage) for stage in range(4)]
means = [blocks[-1][0].mean(0)[token] for blocks, token in zip(maps, tokens, strict=True)]
plots.show(
    plots.attention_over_keys(
        photo,
        [each.numpy() for each in means],
        at,
        [f"stage {stage}, up to {each.max():.2f}" for stage, each in enumerate(means, start=1)],
        "In no stage does the strongest key lie on our car",
    ),
    alt="A street at dusk with a dot on a white car, and four maps of keys: 8 by 8 in stages 1 "
    "to 3, the brightest beside another car, on houses and on the kerb to the right; 4 by 4"
    " in stage 4, the brightest on houses to the right.",
)

# %% [markdown]
# *Look for the car under the dot.* In none of the four is it what the query attends to most. If attention were the explanation, nano would call this pixel a vehicle because of houses and a kerb.
#
# It need not be. A token keeps what it knows already, because attention only adds to it (lesson 06), so a query is free to fetch what the token does *not* have. (This is one query, and others do look at their own class.) Besides, a weight says how much of a key's **value** arrives, and not whether that value makes a difference.
#
# ### What does the mean over heads hide? · *further*
#
# These maps are means over heads. Here are the eight heads of the last one.

# %%
heads = maps[3][-1][0][:, *tokens[3]]  # (heads, h, w)
plots.show(
    plots.attention_over_keys(
        photo,
        [each.numpy() for each in (*heads, heads.mean(0))],
        at,
        [*(f"head {number}" for number in range(1, 9)), "mean"],
        "Each head has chosen one to three keys; the mean is no head's map",
    ),
    alt="The scene and nine maps of 4 by 4 keys. Five of the eight heads give nearly all weight"
    " to one key on the left or the right edge, two heads to three keys of the second row, and"
    " one to two keys below the car. The mean spreads over all of these.",
)

# %% [markdown]
# A head here picks one to three of the sixteen keys, so it is far more decided than the mean makes it look. Whoever averages heads sees a way of looking that no head has. (Section 9 measures this for all blocks.) So look at heads, and take a mean as a summary only.

# %% [markdown]
# ## 2 · Does it look there because of what is there?
#
# On street scenes we cannot say what a token *ought* to look at. So we go to the strips of lesson 02, where we can: a lamp at one end, red or green, decides the class of the grey balls at the other end, and only attention reaches that far. The model "lamps" has learned this. It has one block in each stage, and labels nearly every ball rightly.
#
# `relit` draws a strip again with another light in its lamp, and leaves every other pixel as it was. So we can show the model each strip three times: with a red lamp, with a green one, and without any.

# %%
seer = SegFormer.from_pretrained("lamps")
strips = Lamps(60, seed=2026)
lamp, balls = all_lamps_and_balls(strips)
lit = {light: all_relit(strips, light) for light in ("red", "green", "night")}  # night: no lamp
for light, pictures in lit.items():
    said = seer.predict(pictures)[balls]
    red, green = ((said == label).float().mean() for label in (1, 2))
    print(f"{light:<5} of the balls, it calls {red:>4.0%} red, {green:>4.0%} green")

# %% [markdown]
# *Look at the last line.* Without a lamp the model is as sure of green as with a green lamp. So of the two lights it looks for **red** only, and says green when there is none. On these strips that is enough.
#
# Which of its stages does the looking? We take all tokens that lie on balls, and ask what share of their attention, the mean of a stage's heads, goes to keys that the lamp touches (at night: where the lamp would be). If they looked everywhere alike, that share would be the lamp's share of the keys, which is printed as "evenly". Guess first: which of the four stages look at a red lamp?

# %%
shares = {light: attention_between(seer, pictures, balls, lamp) for light, pictures in lit.items()}
for stage in range(4):
    looks = ", ".join(f"{light} {each[stage][0]:>4.0%}" for light, each in shares.items())
    print(f"stage {stage + 1}: {looks}; evenly {shares['red'][stage][1]:.0%}")

# %% [markdown]
# Two stages stand out, 2 and 4. If we had looked at red lamps alone, we would say now that both of them read the lamp. But the other two columns are a **control**: they show what a stage does when the thing that it seems to look at is gone. In stage 2 the share falls from nearly everything to next to nothing, so it does look for red. In stage 4 nothing changes at all. Most of its heads look at the lower left corner of every strip, and in more than a quarter of the strips the lamp happens to hang there. (Section 6 shows both maps.)
#
# So a large share of attention is no proof that a head has found something. It can be a habit. **Take the thing away and look again** before you believe a map.

# %% [markdown]
# ## 3 · Which stage brings the colour to the balls?
#
# A map says where a head looks, and not whether anything depends on it. To find that out, we change something inside the model and watch the answer. There are three usual ways.
#
# - **Silence** a stage: its heads add nothing (only the bias of their output matrix stays).
# - **Even out** its weights: every query attends to all keys alike, so the stage still adds a mean of the values, but cannot choose.
# - **Transplant**: let the stage gather what it gathered in *another* picture, here in the same strip with the other lamp, while all else stays. If the balls change their colour, then this stage brought it to them. [Vig and others 2020](https://arxiv.org/abs/2004.12265) call it a mediation analysis, and later papers *activation patching*.
#
# **Predict.** Which stages does the model need (silenced, it calls more than a tenth of the balls wrongly)? And which carry the colour (transplanted, they change it in more than a tenth)?

# %%
prediction = ...  # two lists of stages, for example ([1, 2], [2, 4])

# %%
red, green = lit["red"], lit["green"]
ways = {
    "silenced": lambda stage: [change.silenced(seer, stage).predict(x) for x in (red, green)],
    "even": lambda stage: [
        change.with_even_attention(seer, stage).predict(x) for x in (red, green)
    ],
    "transplanted": lambda stage: [
        change.transplanted(seer, *strips_and_donors, stage)
        for strips_and_donors in ((red, green), (green, red))
    ],
}
wrong = {}
print("balls called red under a red lamp, and under a green one (100% 0% is right):")
for stage in range(4):
    print(f"stage {stage + 1}", end="")
    for how, answers in ways.items():
        at_red, at_green = ((said[balls] == 1).float().mean().item() for said in answers(stage))
        print(f", {how} {at_red:>4.0%} {at_green:>4.0%}", end="")
        wrong[how, stage + 1] = max(1 - at_red, at_green)
    print()
outcome = [[k for k in (1, 2, 3, 4) if wrong[how, k] > 0.1] for how in ("silenced", "transplanted")]
compare(prediction, tuple(outcome))

# %% [markdown]
# *Compare stages 2 and 4.* Both had eye-catching maps, and silenced, each of them leaves one answer for nearly every ball: without stage 2 it is green, as without a lamp, and without stage 4 it is red. Yet if stage 4 gathers what it gathered under the other lamp, not one ball changes its colour, and if it looks everywhere alike, not one is lost. So silencing told us that *something* depends on what stage 4 adds, and not that information passes there. The layers that follow have come to expect what it adds. They never met its absence in training, and what they answer then says nothing of lamps.
#
# Here are the questions, and what answers each. Stage 2 passes the last four.
#
# | question | what answers it |
# |---|---|
# | Where does a head look? | its attention map |
# | Does it look there *because of* what is there? | the map after that thing is taken away |
# | Does the model break without it? | silencing |
# | Must it choose among the keys? | even weights |
# | Does it carry this information? | a transplant from a picture that differs in this alone |
#
# ### Would a constant do for stage 4? · *further*
#
# We try it: in place of what its attention adds we put the mean of that, one vector for all tokens of all strips.

# %%
constant = change.with_constant_attention(seer, torch.cat([red, green]), stage=3)
shares = ((constant.predict(x)[balls] == 1).float().mean().item() for x in (red, green))
print("stage 4: constant {:.0%} {:.0%}".format(*shares))

# %% [markdown]
# Nothing is lost, so in these strips a constant is all that is needed of stage 4's attention.
#
# ### Two heads with one map · *further*
#
# Stage 2 has two heads, and in both nearly all weight lies on a red lamp. Are they equals?

# %%
from segformer_edu.analysis.attention_heads import attention_on, cells

weights = attention_maps(seer, red)[1][0]  # of stage 2: (strips, heads, H, W, h, w)
looks = attention_on(weights, cells(lamp, weights.shape[4:]), cells(balls, (8, 32), least=0.25))
for head in range(2):
    turned = (change.transplanted(seer, red, green, 1, heads=[head])[balls] == 2).float().mean()
    print(f"head {head + 1}: {looks[head]:.0%} of its attention on the red lamp", end="; ")
    print(f"transplanted, it turns {turned:.0%} of the balls green")

# %% [markdown]
# One of them decides everything, and the other nothing. Their weights are alike, but a head hands on *weight times value*, and then the output matrix takes it or leaves it. A map of attention shows the first factor alone.

# %% [markdown]
# ## 4 · Five ways of asking
#
# Maps of attention are one way to ask what mattered. Others need no attention, and can be used on any network. So we go back to the white car, with a question that all of them can answer: which pixels decided that this one is a vehicle? For that we watch one number, the **logit** of the class at that place: what the model gives to the softmax there (lesson 07).
#
# 1. **Attention** of the query in one block, the mean of its heads.
# 2. **Rollout** follows attention through all blocks and stages down to the pixels, taking each token to be half itself and half what it attends to (section 13 builds it).
# 3. **Gradient × input** is the slope (the gradient) of the logit at each pixel, times the pixel's value.
# 4. **Grad-CAM** works on a stage's map. It weighs each channel by the mean slope of the logit over the whole map, adds the channels up, and keeps what is positive ([Selvaraju and others 2016](https://arxiv.org/abs/1610.02391); [Vinogradova and others 2020](https://arxiv.org/abs/2002.11434) for segmentation).
# 5. **Occlusion** hides a patch of pixels, and notes by how much the logit falls.
#
# Attention and rollout never hear which class we ask about. The other three do. Grad-CAM, for example, takes a few lines:

# %% tags=["mirror"]
# segformer_edu.analysis.attribution.grad_cam

# %% [markdown]
# Now all five. A number behind a name is the stage, or the side of an occluded patch, which gets the picture's mean colour.

# %%
label = nano(image)[0, :, *place].argmax().item()
score = logit(place, label)
grey = image.mean((2, 3), keepdim=True).expand_as(image)
answers = ask.every_way(nano, image, place, score, grey, torch.Generator())  # it draws "random"
names = ["attention 4", "rollout 4", "gradient × input", "Grad-CAM 3", "occlusion 8"]
plots.show(
    plots.importance_maps(
        photo,
        {name: ask.in_patches(answers[name], 4).numpy() for name in names},
        at,
        "Five ways, and no one answer (each map has its own scale)",
        columns=3,
    ),
    alt="The scene and five maps. Attention and rollout are bright on houses and kerbs, dark on "
    "the car. Gradient times input has speckles around the dot, for and against, occlusion a "
    "few squares at the dot. Grad-CAM is bright on our car and towards the other white car.",
)

# %% [markdown]
# *Which one would you put into a report?* (On dark ground brighter is more. On light ground orange counts for the class, and violet against it.) Grad-CAM is tempting, because it glows on the car. But it glows towards the *other* car, too. Its weights are means over the map, so it cannot say *where* a feature mattered for our place, only which features did. It shows where there are features that speak for vehicles, and that is another question.
#
# So we need a test that does not ask what pleases us.
#
# ### Is the slope right? · *further*
#
# Gradient × input takes even fewer lines. For a model that is linear and has no bias, its products add up to the logit. We can check the slopes, because a slope is what a small step shows: we stretch one pixel's value by a millionth, and see how far the logit moves.

# %% tags=["mirror"]
# segformer_edu.analysis.attribution.gradient_times_input

# %%
import copy

exact, pixels = copy.deepcopy(nano).double(), image.double()
moved = pixels.clone()
moved[:, :, 92, 70] *= 1 + 1e-6
step = (score(exact(moved)) - score(exact(pixels))).item() / 1e-6
assert abs(gradient_times_input(exact, pixels, score)[92, 70].item() - step) < 0.01 * abs(step)
print(f"{CLASSES[label]}: the slope at one pixel is what a step shows")

# %% [markdown]
# ## 5 · Does the answer fall without those pixels?
#
# Whoever says "these pixels decided" claims that without them the answer would fall. So we replace patches of 8×8 pixels, the most important ones first, by those of a copy of the picture without detail (the mean of each 32×32 pixels, enlarged), and watch the probability of the class at our place. This is the **deletion** curve, and it should fall early. The other way round, we start with that copy and put patches back. That is the **insertion** curve, which should rise early ([Petsiuk and others 2018](https://arxiv.org/abs/1806.07421)). The area under a curve makes it one number, smaller is better for deletion, and larger for insertion.
#
# One pixel proves nothing, so an experiment did this for {{places}} places, each in a scene of its own that nano had not seen (`python -m experiments.attribution`). Places, fill and measure were written down beforehand. It also has a baseline, **nearness**, which knows neither picture nor model, and says that a pixel is the more important, the closer it lies to the place.
#
# **Predict.** Which of these will beat nearness on both curves, by more than chance: attention 4, rollout 4, gradient × input, Grad-CAM 3, occlusion 16, or random numbers?

# %%
prediction = ...  # a list of some of them, such as ["attention 4", "Grad-CAM 3"]

# %%
names = ["attention 4", "rollout 4", "gradient × input", "Grad-CAM 3", "occlusion 16", "random"]
trial = Trial(experiments / "attribution.json")
kinds = ("deletion", "insertion")
gains = {kind: {name: trial.gain(name, kind) for name in names} for kind in kinds}
plots.show(
    plots.intervals(
        gains,
        ["area gained over nearness"] * 2,
        "Right of the line is better than nearness: no way surely is on both curves",
    ),
    alt="Means and intervals; the line at zero is nearness. Deletion: gradient times input and "
    "occlusion lie right of it, but their intervals touch it; all others lie left. "
    "Insertion: occlusion alone lies right, by a little. Attention 4 lies where random "
    "numbers do.",
)
better = [{name for name, each in rows.items() if each.low > 0} for rows in gains.values()]
compare(prediction, sorted(set.intersection(*better)))

# %% [markdown]
# An empty list is the answer: **no way surely beats "what is near" on both curves**. (For a bar the {{places}} places are drawn anew from themselves many times. It holds nineteen of twenty of the mean gains, and is grey if it touches the line.) Occlusion by patches of 16×16 pixels comes closest: it is ahead by {{occlusion_gain}} on both, but on deletion the places differ so much that this may be chance. Attention of the last stage explains nano's answers no better than random numbers.
#
# Is nearness the explanation, then? No. It tells us that *in these scenes* what decides is mostly near. A way that draws a blob around every pixel scores well here, and has found out nothing about the model. That is why a baseline that knows nothing belongs in every such table.
#
# ### What do the curves look like, and what if we choose otherwise? · *further*
#
# This is what was computed for each place, with masks for ever more patches:

# %% tags=["mirror"]
# segformer_edu.analysis.attribution.removal_curve

# %%
shown = [name for name in names if name != "random"] + ["nearness"]
plots.show(
    plots.removal_curves(
        [each / 64 for each in (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64)],
        {kind: {name: trial.curve(name, kind) for name in shown} for kind in kinds},
        ("share of the patches", "probability of the class"),
        "Nearness, which knows nothing, is among the best",
    ),
    alt="Two panels of curves with bands. Deletion: gradient times input, occlusion and "
    "nearness fall first, close to each other; Grad-CAM and rollout follow; attention of "
    "stage 4 falls last. Insertion: occlusion and nearness rise first, attention of stage 4"
    " last.",
)

# %% [markdown]
# (The copy without detail still gives the class {{coarse_left}}, so there deletion ends and insertion begins.)
#
# The fill, the side of a patch, the scenes and what we watch are our choices, so the experiment tried others: {{places}} *other scenes*, a *grey* fill (the picture's mean colour), a fill of the picture's own pixels *shuffled*, single *pixels* in place of patches, and the *lead* of the logit over the mean of all classes in place of the probability. For each we list the ways that beat nearness on both curves.

# %%
every = [name for name in trial.told["main"]["areas"] if name not in ("nearness", "random")]
for setting in ("main", "other scenes", "grey", "shuffled", "pixels"):
    for watched in ("probability", "lead"):
        lows = {
            name: min(trial.gain(name, kind, "nearness", setting, watched).low for kind in kinds)
            for name in every
        }
        print(f"{setting:<13} {watched:<12}", [name for name, low in lows.items() if low > 0])

# %% [markdown]
# *Count the lists that are not empty.* There are two, both for the lead. One belongs to occlusion with a grey fill, which is what it hides patches with itself. The other belongs to gradient × input where single pixels go. It picks those that would lower the logit most if they went to 0, as far as a slope can tell. So it may have found how the model is easily disturbed, rather than what it goes by.
#
# How a way compares with nearness depends on our choices, too. By the probability, occlusion by 16×16 is ahead on insertion for other scenes, too, but not where the fill is shuffled pixels. And on deletion gradient × input is not surely ahead of nearness for the copy without detail, ahead for grey, and behind for shuffled pixels. What holds in all settings is that attention of stage 4 is far behind nearness. By the probability it is never far from random numbers, either.

# %% [markdown]
# ## 6 · Where the right answer is known
#
# On street scenes nobody knows the right map. On the strips we do. A ball is red because of a red lamp, which is *far* from it, so nearness cannot find it. We take one pixel of a ball, and ask *why red, and not green?*: we watch how far the logit of red leads that of green.

# %%
night, _ = strips.picture(5)
strip, asked = normalize(night), strips.discs(5)[1]  # the lamp is disc 0
where = int(asked.y) // 4, int(asked.x) // 4
empty = strip.median(3, keepdim=True).values.expand_as(strip)  # the night without its discs
answers = ask.every_way(seer, strip, where, logit(where, 1, rival=2), empty, torch.Generator())
names = ["attention 2", "attention 4", "rollout 4", "Grad-CAM 1", "occlusion 16"]
names += ["|gradient × input|"]  # without the sign
plots.show(
    plots.importance_maps(
        night,
        {name: ask.in_patches(answers[name], 4).numpy() for name in names},
        ((where[0] + 0.5) / 16, (where[1] + 0.5) / 64),
        "Attention of stage 2 finds the lamp, that of stage 4 an empty corner",
        columns=2,
    ),
    alt="Two balls on the left, a dot on one, a red lamp on the right, and six maps. The lamp "
    "shines in attention 2, rollout and Grad-CAM 1, the lower left corner in attention 4. "
    "Occlusion shows the ball, and the lamp faintly. The size of gradient times input is "
    "speckled on ball and lamp.",
)

# %% [markdown]
# The same over {{strips}} strips, {{red_strips}} of them with a red lamp: what share of all that a map calls important lies on the lamp? The line is the share of the pixels that are the lamp's. Then come two tests in which a map should hardly show the lamp, because nothing is called so because of it:
#
# - a **green lamp**, asked *why green?*: a ball is green without it, too, and its lead changes by {{green_lead}};
# - a **pixel of the empty night**, far from all discs of a strip with a red lamp: it is night under every lamp, and night leads the next class by as much. (We ask *why night, and not red?*. The lamp speaks *against* that, so a map of reasons *for* night should not show it.)

# %%
panels = {
    "red lamp, a ball": ("red", "and not the other"),  # the lamp's light, and the question
    "green lamp, a ball": ("green", "and not the other"),
    "red lamp, the night": ("red", "night, and not the lamp's"),
}
on_lamp = {
    panel: {name: trial.lamp(name, "on the lamp", *asked) for name in (*names, "nearness")}
    for panel, asked in panels.items()
}
plots.show(
    plots.intervals(
        on_lamp,
        ["share of the map on the lamp"] * 3,
        "Six show the red lamp; all but one also where no class hangs on it",
        reference=lamp.float().mean().item(),
    ),
    alt="Means and intervals; the line is at 0.006. Red lamp, a ball: Grad-CAM 1 at 0.45, attention"
    " 2 at 0.17, occlusion at 0.11, rollout and the size of gradient times input at 0.06, attention"
    " 4 at 0.02, nearness at 0. Green lamp: Grad-CAM 1 at 0.08, attention 4 at 0.02, the others at "
    "the line or below. The night: attention and rollout as in the first panel, occlusion at 0.05, "
    "Grad-CAM 1, the size of gradient times input and nearness near 0.",
)

# %% [markdown]
# *Compare the panels, line by line.* Attention of **stage 4** is the same in all, because it looks at its corner. Attention of **stage 2** and **rollout** find a red lamp, and no green one. But they show the red lamp to the night as well (they have no sign). In stage 2 every token of such a strip looks at it, a token of the night with {{night_looks}} of its attention. So these maps tell what the *picture* sends to everybody, and not what decided *our pixel*.
#
# **Grad-CAM of stage 1** passes the test of the night, but shows every green lamp, with {{cam_green}} of all that it calls important. (**Occlusion** shows the lamp to the night, too, but there no patch speaks *for* night much: hidden, the strongest lowers the lead by {{occlusion_night}} on average.) **The size of gradient × input** passes all three. (But section 13 finds that it looks much alike for a network that knows nothing.) And **nearness** misses the lamp, although on the street it was hard to beat.
#
# No map is right by itself. But each can be tested: beside a baseline that knows nothing, where the cause is known, and where it decides nothing.
#
# ### What about the other ways, another question, and the curves? · *further*

# %%
columns = panels | {"green lamp, why red?": ("green", "the other, and not its own")}
print(" " * 18, *(f"{column:>20}" for column in columns))
for name in ("gradient × input", "occlusion 8", *(f"Grad-CAM {stage}" for stage in (1, 2, 3, 4))):
    found = [trial.lamp(name, "on the lamp", *asked).mean for asked in columns.values()]
    print(f"{name:<18}", *(f"{share:>20.1%}" for share in found))

# %% [markdown]
# *Look at the last column.* We asked about the same green lamps, but *why red?*, and Grad-CAM of stages 1 and 2 shows them no more. So a map depends on the question. Grad-CAM of stage 4 shows nothing for a red ball, because its weighted sum is negative everywhere, and the ReLU cuts that off. And of what occlusion by 8×8 patches calls important there, {{occlusion_ball}} lies on the ball, and rightly, because a hidden ball is night.
#
# The verdict depends on how one counts, too. Had we asked how often a pixel of the lamp *ranks* above one of the empty night, attention of stage 1 would have found the red lamp ({{rank_red_1}}) and no green one ({{rank_green_1}}), although it carries nothing (section 3), and has {{share_red_1}} of its weight there. And the size of gradient × input would have shown it to the night. A rank says which comes first, and not how much it gets.
#
# And what do the curves say of nearness on red strips? By deletion it has an area of {{nearness_deletion}} (small is good), as good as any way's, since the ball goes first, and with it the answer. Only insertion finds out, with {{nearness_insertion}} for nearness, {{attention_insertion}} for attention of stage 2, which shows the lamp but not the ball, and {{size_insertion}} for the size of gradient × input. Deletion asks what is *needed*, and insertion what is *enough*, so one without the other can be fooled. On green strips the ball alone decides. There insertion gives attention of stage 2 and rollout from stage 4 {{attention_green}} and {{rollout_green}}, less than random numbers ({{random_green}}).

# %% [markdown]
# ## Play · *further*
#
# The bars show which stages make the likeliest class lead over the next. Your task is above the sliders. (Its last question has an answer in section 12: if the attention of one stage is silenced, hardly any but stage 1's is missed.)

# %%
widgets.Attention()

# %% [markdown]
# A map says where a token looks, but not whether the answer hangs on that. To find out, change the picture: a double-click opens [segformer.html](../segformer.html) in a browser, where you paint over whatever you suspect, and see at once which labels follow.

# %% [markdown]
# ## Break it
#
# Somebody wanted the Grad-CAM of one pixel, and changed a tutorial's target to what stands below ([pytorch-grad-cam, issue 263](https://github.com/jacobgil/pytorch-grad-cam/issues/263)). It ran, and "the result is the opposite" of what was expected. What is wrong? (A rank correlation of 1 is the same order of patches, 0 has nothing to do with it, and −1 is the reverse.)


# %%
def theirs(logits):  # (B, classes, H, W)
    return logits[:, :, 23, 17].sum(1)


targets = {"ours": logit(place, label), "theirs": theirs}  # our pixel on the white car
found = {name: grad_cam(nano, image, target, stage=2) for name, target in targets.items()}

# %%
plots.show(
    plots.importance_maps(
        photo,
        {name: each.numpy() for name, each in found.items()},
        at,
        "Where ours is bright, theirs is dark",
        columns=3,
    ),
    alt="The scene and two maps of Grad-CAM at stage 3. Ours is bright on the white car and its"
    " neighbour. Theirs is dark there, and bright on a kerb to the right and on the sky.",
)
print(f"rank correlation {ask.rank_correlation(found['ours'], found['theirs']):z.1f}")

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# The slice keeps all classes, and `sum(1)` adds their logits up. That names no class. And what makes nano surer of *vehicle* tends to lower the seven other logits, so the sum often *falls* where the evidence for the class is. At this stage the correlation is negative in {{bug_negative}} of {{bug_scenes}} scenes, and at stage 1 in {{bug_negative_1}}.
#
# The mend is to name the class: `logits[:, label, 23, 17]`. What would have caught it? A question whose answer you know: ask about another class, and the map has to change. Theirs cannot, because it names none.
#
# </details>

# %% [markdown]
# ## 7 · Is it as sure as it is right? · *further*
#
# The softmax of the logits gives each class a probability. That of the winner is called the model's **confidence**. If it means what a probability means, then among all pixels of which it is seven tenths sure, seven in ten are right, and the model is **calibrated**. We look at nano's answers for {{scenes_b}} unseen scenes. First we enlarge the logits to the size of the picture, because a pixel's answer comes from there.

# %%
import copy
import itertools
import json
from collections.abc import Sequence

from torch.nn import functional as F

from segformer_edu.analysis.calibration import (
    at_full_size,
    confidence,
    equal_width,
    fit_temperature,
    gaps,
    reliability,
)
from segformer_edu.training import balanced_weights, confusion_matrix, scores
from segformer_edu.training.minute import in_memory

held_out = Scenes(100, 128, seed=2026)
images, labels = in_memory(held_out, workers=0)
with torch.no_grad():
    logits = at_full_size(torch.cat([nano(some) for some in images.split(20)]), labels)
answer, sure = logits.argmax(dim=1), confidence(logits)
found = reliability(sure, answer == labels, equal_width(15))
print(f"{sure.mean():.1%} sure on average, and {(answer == labels).double().mean():.1%} right")

# %%
means, shares = found.means()
plots.show(
    plots.reliability_diagram(
        {"nano": (means, shares, found.pixels.sum(axis=0))},
        "All pixels together, nano is about as sure as it is right",
    ),
    alt="Left: the share of right pixels over the confidence, for bins from 0.25 to 1; the "
    "points lie on the diagonal, the first a little below. Right: how many pixels each bin "
    "has, on a logarithmic axis: fewer than one in a hundred below 0.45, rising, and three "
    "quarters of all in the last bin, near 1.",
)

# %% [markdown]
# Each point is a bin of pixels with about the same confidence. The left panel is called a **reliability diagram**. One number sums it up, the **expected calibration error**: in each bin the distance between confidence and share of right pixels, averaged over the bins, each weighing as much as it has pixels ([Guo and others 2017](https://arxiv.org/abs/1706.04599)).
#
# But some distance is left even if a model is calibrated, because no sample is endless. And ours is smaller than it looks: pixels of one scene are wrong together, so the sample is a hundred scenes rather than a million and a half pixels. That is why we draw whole scenes again and again, with replacement, to see how far the error moves. We also take the gaps out first and draw again. That shows the error of a calibrated model.

# %%
low, high = np.quantile(found.errors(), [0.025, 0.975])
by_chance = np.quantile(found.errors(calibrated=True), 0.95)
print(f"expected calibration error {found.error():.1%}, 95 % of the draws {low:.1%} to {high:.1%}")
print(f"a calibrated model: up to {by_chance:.1%} in 95 % of the draws")

# %% [markdown]
# So nano's error is a fraction of a percent, and these scenes cannot tell it from chance. (It is the same with bins that hold equally many pixels. On two other sets of scenes it is {{ece_other_sets}}. The larger of these is more than chance makes: nano is not quite sure enough.) Are we done? An average can be right although its parts are wrong, so we ask class by class.
#
# **Predict.** Take the pixels that nano calls *person*. Its confidence there is {{sure_person}} on average. What percentage of them are right?

# %%
prediction = ...  # a percentage, such as 70

# %%
correct = answer == labels
gap = gaps(sure, correct, answer, len(CLASSES))  # percentage points; above 0 it is too sure
person = answer == CLASSES.index("person")
print(
    "too sure by, in points:", {name: round(float(x)) for name, x in zip(CLASSES, gap, strict=True)}
)
compare(prediction, round(100 * correct[person].double().mean().item()))

# %% [markdown]
# Where nano says *person* or *pole*, it is too sure by several points, and where it says *building* or *road*, it is not sure enough. In the average these errors cancel, because buildings and roads have so many more pixels. An error of a fraction of a percent hid all that.
#
# The cause is in lesson 08. There a pixel of a rare class counts more in the loss. If pixels of class k weigh $w_k$, then the loss is least where the model's probability is not the true $p_k$, but in proportion to $w_k\, p_k$. So nano was *trained* to be too sure of rare classes. And since a factor on a probability is a summand on its logit, we can take it out again: we subtract $\log w_k$.

# %%
weights = balanced_weights(Scenes(500, 32))  # of other scenes; small ones are drawn faster
fair = logits - weights.log()[:, None, None]
fair_answer = fair.argmax(dim=1)
fair_gap = gaps(confidence(fair), fair_answer == labels, fair_answer, len(CLASSES))
print(
    "too sure by, in points:", {n: round(float(x)) for n, x in zip(CLASSES, fair_gap, strict=True)}
)
for name, each in {"as trained": answer, "without the weights": fair_answer}.items():
    print(f"{name:<20} mIoU {scores(confusion_matrix(each, labels, 8)).miou:.3f}")

# %% [markdown]
# Now no class is off by more than a few points, and the answers are better, too: a little mIoU is gained without any training. It is so on three sets of scenes (a gain of {{fair_gain}}), and biases that are fitted freely, to yet other scenes, come out much like $-\log w_k$. So one may weigh classes in training, to make a model learn the rare ones, and take the weights out of its answers.
#
# The usual remedy for a bad calibration is a **temperature**: all logits are divided by one number, fitted to other scenes. Here it has little to repair. The fit gives {{temperature}}, and the error on our scenes goes from {{ece_before}} to {{ece_after}}. One number for all classes cannot make persons less sure and buildings surer.
#
# ### Is it too sure at borders?
#
# Most errors lie at borders. Does nano know? We sort pixels by their distance from the nearest border, once in the truth, once in nano's own answer.

# %%
from segformer_edu.analysis.map_contents import near_a_border

for name, drawn in {"the true border": labels, "the border in its answer": answer}.items():
    near = near_a_border(drawn)
    close, far = gaps(sure, correct, (~near).long(), 2)
    print(f"within 2 pixels of {name}: too sure by {round(close)} points, elsewhere {round(far)}")

# %% [markdown]
# At true borders nano seems too sure, by {{gap_true_border}} points, and away from them not sure enough. At borders of its own answer it is right as often as it says. Both are true, and only the second is about nano. It cannot know where the true border is, so whoever sorts by the truth picks out pixels on which it had bad luck. A calibration can be asked only by what the model itself could know: its answer, its confidence, its picture.
#
# ### On pictures of another kind
#
# Nano is calibrated on scenes like those of its training. We blur the scenes, by the mean over squares of so many pixels.

# %%
for side in (1, 5, 9):
    blurred = F.avg_pool2d(images[:50], side, stride=1, padding=side // 2, count_include_pad=False)
    with torch.no_grad():
        worse = at_full_size(nano(blurred), labels[:50])
    share = (worse.argmax(dim=1) == labels[:50]).double().mean()
    print(f"{side}×{side}: {confidence(worse).mean():.0%} sure, {share:.0%} right")

# %% [markdown]
# The blurrier the scenes, the fewer pixels are right, and nano does not notice enough of it. So calibration is promised only for the kind of pictures on which it was measured.

# %% [markdown]
# ## 8 · Where is it wrong? · *further*
#
# A score says how much is wrong and not what. Whoever then looks at a few pictures finds what those few show. So we let a search go through *all* wrong pixels of the {{scenes_b}} scenes, and sort them by rules that were fixed before we looked. A **region** is what hangs together of one class, in the truth or in the answer. A region counts as not found if at most a tenth of it is right, and a part is thin if it is at most four pixels wide. The first rule that fits decides:
#
# | kind | a wrong pixel is of this kind if |
# |---|---|
# | named otherwise | its true region is not found, and the answer's region there is not in the truth: a thing was seen, and called by a wrong name |
# | thing missed | its true region is not found, and it is not thin there |
# | thing invented | the answer's region is not in the truth |
# | thin part missed | it is thin there, and the region is not found, or its class is predicted nowhere within two pixels |
# | border shifted | the class that it was given is truly there within two pixels |
# | piece of a region | none of these: the answer is wrong in a region that was found, away from its border |
#
# **Predict.** What percentage of the wrong pixels are *border shifted*?

# %%
prediction = ...  # a percentage, such as 20

# %%
from segformer_edu.analysis.errors import (
    KINDS,
    count_kinds,
    kinds_of_errors,
    resampled_shares,
    worst,
)

truth, given = labels.numpy(), answer.numpy()
kinds = [kinds_of_errors(one, other) for one, other in zip(given, truth, strict=True)]
counts = count_kinds(kinds)  # (scenes, 6)
shares = 100 * counts.sum(axis=0) / counts.sum()
lows, highs = np.quantile(100 * resampled_shares(counts), [0.025, 0.975], axis=0)
for kind, share, low, high in zip(KINDS.values(), shares, lows, highs, strict=True):
    print(f"{kind:<18} {share:>3.0f} %   (95 % of the draws: {low:.0f} to {high:.0f})")
compare(prediction, round(shares[0]))

# %% [markdown]
# More than half of all wrong pixels are borders that lie a pixel or two off. (Again, whole scenes are drawn for the interval.) Things that are missed, invented or misnamed make up {{things_share}} together. Shifted borders are the largest kind on two other sets of scenes, too, and also if a border may be off by one pixel or by three. But their share depends on that choice: it is {{border_share_1}} with one and {{border_share_3}} with three. So say "within two pixels" whenever you quote it.
#
# Is that more than chance? Of *all* pixels, {{near_border_all}} lie within two pixels of a border, and of the wrong ones {{near_border_wrong}}. So errors do gather at borders. One reason is that the logits have a place for every 4×4 pixels only, which a border cuts through.
#
# The classes differ:

# %%
kind_of = np.stack(kinds)
wrong_by_class = {
    name: {
        kind: float(((kind_of == number) & (truth == label)).sum() / (truth == label).sum() * 100)
        for number, kind in KINDS.items()
    }
    for label, name in enumerate(CLASSES)
}
plots.show(
    plots.stacked_bars(
        wrong_by_class, "wrong pixels, % of the class", "Persons, poles and sidewalks suffer most"
    ),
    alt="Horizontal bars for eight classes, in parts by kind of error. Sky has about 4 percent "
    "wrong, person 14, pole and sidewalk 13, all others 6 to 9. In every bar the shifted "
    "borders are the longest part; persons have most things missed and invented.",
)

# %% [markdown]
# Now the pictures. For each kind the search takes the two scenes with the largest patch that hangs together, so nobody picked them. In the answers all is pale but the wrong pixels of that kind.

# %%
gallery = {}
for kind, name in KINDS.items():
    gallery[name] = []
    for patch in worst(kind, kinds, given, truth, count=2):
        crop = patch.window(truth.shape[1:], side=64)
        picture = held_out.picture(patch.picture)[0][crop]
        here, there = truth[patch.picture][crop], given[patch.picture][crop]
        gallery[name].append((picture, here, there, kinds[patch.picture][crop] == kind))
plots.show(
    plots.error_gallery(gallery, CLASSES, "At worst, whole outlines are shifted, and walls missed"),
    alt="Six rows, one for each kind of error; in each two errors, and of each the picture, "
    "the true labels and nano's, pale but for the wrong pixels. Shifted borders run along "
    "whole outlines, such as that of a roof at night; pieces are parts of a wall called "
    "vehicle, or a road called sidewalk; thin parts are the arm of a signal, and gaps "
    "between things; walls are missed under vegetation.",
)

# %% [markdown]
# *Go through the rows.* The shifted borders are long outlines, such as that of a roof against a night sky, each a pixel or two off. Pieces of a region are a road that looks like a sidewalk and a wall that looks like vehicles. Thin parts are the arm of a signal, and gaps between persons and poles. In "thing missed" both are walls called vegetation. Many of these scenes are dark, blurred or noisy, so the next question would be how the kinds depend on the weather. The scenes of `segformer_edu` know their own weather, and you could ask them.
#
# What was it for? A list like this says where to look next. If most of what is wrong lies at borders, for example, one would try finer logits before one tries a better way to tell walls from sky.

# %% [markdown]
# ## 9 · Do heads look at different things, and what does their mean hide? · *further*
#
# Stage 4 of nano has eight heads in each block. Many tools average them before they draw a map, because one picture is easier to look at than eight. To see what that does, we need a number that says how spread an attention map is. The **entropy** of weights p₁ … p_n is −Σ p log p. It is 0 if all the weight is on one key, and log n if n keys have equal weight, so its exponential is a number of keys: *as spread as over that many*. We take the mean over all queries of a scene, head by head, for trained and for untrained weights.

# %%
from segformer_edu.analysis.attention_heads import entropy

torch.manual_seed(0)
models = {"trained": nano, "untrained": SegFormer(nano.config).eval()}
spread = {
    name: [
        [entropy(weights).mean((2, 3)) / np.log(weights[0, 0, 0, 0].numel()) for weights in stage]
        for stage in attention_maps(model, images)
    ]
    for name, model in models.items()
}  # of each stage and block: (scenes, heads), 1 where the attention is even
blocks = [f"stage {stage}.{block}" for stage in range(1, 5) for block in (1, 2)]
plots.show(
    plots.by_block(
        {
            f"{name}: entropy, 1 for even attention; bars: nine tenths of the scenes": [
                list(zip(of.mean(0).tolist(), *np.quantile(of, (0.05, 0.95), axis=0), strict=True))
                for stage in found
                for of in stage
            ]
            for name, found in spread.items()
        },
        blocks,
        "Trained heads choose, those of stage 4 most",
    ),
    alt="Two rows of dots, one for each head of the eight blocks. Trained, the heads of stage 1"
    " are near 0.9, those of stage 2 between 0.7 and 0.95, those of stage 3 scattered from "
    "0.3 to 0.95, and those of stage 4 below 0.5, most of them near 0 in its last block. "
    "Untrained, all are at the even value in every block, without a visible difference.",
)

# %% [markdown]
# *Compare the two rows.* Untrained heads look everywhere alike, and so, very nearly, do nano's own weights if they are shuffled. To choose is something that was learned, most of all in stage 4: in its last block, most heads give nearly everything to one of its sixteen keys. And they choose differently. In these scenes we search for the two heads of one block that differ most on the same query, by the **total variation** ½ Σ |p − q|, which is 0 for equal weights, and 1 if no key has weight in both.

# %%
last = attention_maps(nano, images[:8])[2][-1]  # stage 3, last block: (8, heads, 8, 8, 8, 8)
scene_, a, b, row, column = max(
    itertools.product(range(8), range(4), range(4), range(8), range(8)),
    key=lambda at: (last[at[0], at[1], *at[3:]] - last[at[0], at[2], *at[3:]]).abs().sum().item(),
)
pair = last[scene_, [a, b], row, column]
mean = last[scene_, :, row, column].mean(0)
keys_of = [entropy(weights).exp().item() for weights in (*pair, mean)]
plots.show(
    plots.attention_over_keys(
        held_out.picture(scene_)[0],
        [*(weights.numpy() for weights in pair), mean.numpy()],
        ((row + 0.5) / 8, (column + 0.5) / 8),
        [f"head {a + 1}", f"head {b + 1}", "mean of all four"],
        "Two heads of one block, the same query, and nothing in common",
    ),
    alt="A street scene with a dot on the query, and three maps of eight by eight keys. One "
    "head has its weight on two neighbouring keys, the other on three further below, and no "
    "key is bright in both. The mean of the four heads shows all of these and more.",
)
print("as spread as over", ", ".join(f"{count:.1f}" for count in keys_of), "keys")

# %% [markdown]
# *Look at the mean.* It is more spread than either head, and it shows a way of looking that no head has. A map that is drawn as "the attention of a stage" can therefore show several places because one head looks at all of them, or because each head looks at one. Only the heads tell.
#
# Whether the heads that choose most are also those that matter is another question, and we ask it next.

# %% [markdown]
# ## 10 · Does a head that looks sharply matter more? · *further*
#
# It is tempting to read a sharp map as a sign of importance: this head has found something. We can test it. We silence every head of nano alone, so that it adds nothing, and measure what mIoU is lost on {{head_scenes}} unseen scenes. Then we do it with another {{head_scenes}}. That takes minutes, so it was done beforehand (`python -m experiments.heads`), and we read its table.
#
# **Predict.** Stage 1's heads are spread, and stage 4's last block those that look at one key. How many points of mIoU does the loss of one such head cost, in stage 1 and in stage 4?

# %%
prediction = ...  # two numbers of points, for example (0.1, 2)

# %%
table = json.loads((experiments / "heads.json").read_text(encoding="utf-8"))["scenes"]
heads = [row for row in table if row["head"] is not None and row["seed"] == 2026]
panels = {
    "entropy, 1 for even attention": lambda row: [row["nats"][0] / np.log(row["keys"])] * 3,
    "points of mIoU lost if silenced; bars: two standard errors": lambda row: [
        100 * (row["silenced"][0] + errors * row["silenced"][1]) for errors in (0, -2, 2)
    ],
}
places = list(dict.fromkeys((row["stage"], row["block"]) for row in heads))
plots.show(
    plots.by_block(
        {
            name: [
                [value(row) for row in heads if (row["stage"], row["block"]) == place]
                for place in places
            ]
            for name, value in panels.items()
        },
        [f"stage {stage + 1}.{block + 1}" for stage, block in places],
        "Only stage 1's heads cost much; those that look sharply cost nothing",
    ),
    alt="Two rows of dots, one for each head of nano's eight blocks. Above, entropy is about 0.7 "
    "or more in stages 1 and 2, scattered in stage 3, and below 0.5 in stage 4. Below, the two "
    "heads of stage 1 cost most of a point of mIoU each, and the others next to nothing, those "
    "of stages 3 and 4 nothing that could be seen.",
)
lost = [[100 * r["silenced"][0] for r in heads if r["stage"] == stage] for stage in (0, 3)]
compare(prediction, tuple(round(abs(float(np.mean(each))), 1) for each in lost))

# %% [markdown]
# The sharpest heads are the ones that nobody misses, and the two that cost much are spread, in both sets of scenes. But heads of stage 3 are as spread, and cost nothing. Does spread attention then *make* a head important? No. Entropy and importance both depend on the stage: stage 1 alone has one head to a block, so a head there has the fewest others to stand in for it, and its map goes to the decoder in the finest grid. Within stages 3 and 4, where heads have company and could be compared, no loss is above {{late_loss}} points, so there is nothing to correlate with. The honest result is that here entropy does not tell importance.
#
# What, then, does stage 1's attention contribute? Silenced as a whole, it costs {{silent_stage_1}} points in the two sets of scenes. If its weights are made **even**, so that every token gets the mean of the picture's values, {{even_stage_1}} are lost. That could mean two things: the tokens need to know how *this* picture looks on the whole, or they merely need the vector that they are used to. So we gave them the mean over sixty other scenes instead, and {{constant_stage_1}} points were lost, nearly as many as by silencing. It is the first, then: most of what stage 1's attention does in nano is to tell every token what kind of picture it is in, and for that it hardly matters where it looks. Its map, of which we could have drawn a beautiful picture, has little to do with it.
#
# That heads can be taken out of a trained transformer with little loss is known from translation models ([Michel and others 2019](https://arxiv.org/abs/1905.10650), [Voita and others 2019](https://arxiv.org/abs/1905.09418)). There, too, a few of them mattered, and most did not.

# %% [markdown]
# ## 11 · Is that how every such model does it? · *further*
#
# We looked into one model. Training is cheap on strips, so we trained others, from other seeds and for fewer steps (`python -m experiments.heads`), and asked all of them the same questions. Each line is a stage of a model: the share of the balls' attention that its heads give to a red, a green and a missing lamp, the balls that are right when the stage is silenced and when it looks everywhere alike, and those that follow the transplant.

# %%
table = json.loads((experiments / "heads.json").read_text(encoding="utf-8"))["strips"]
print("model stage      red    green  no lamp  silenced  even  follow")
for row in table:
    if row["stage"] in (1, 2, 3):
        looks = [f"{max(row['on_lamp'][light]):>7.0%}" for light in ("red", "green", "night")]
        acts = [f"{row[name]:>8.0%}" for name in ("silenced", "even", "followed")]
        print(f"{row['model']:>5} {row['stage'] + 1:>5} ", *looks, *acts)

# %% [markdown]
# (The share is that of the stage's head that gives most under this light; stage 1 carries nothing in any of them.)
#
# *Go through the last column.* In every model the balls follow stage 2's transplant, so it brings the colour to them. (In models 1, 2 and 4 they follow a later stage, too.) How it is found differs from seed to seed. The model that ships and models 2 and 4 look for red, model 3 looks for green, and model 1 has a head for each colour. None of that shows in their answers while there is a lamp.
#
# *Look at stage 4 of models 2 and 4.* In model 2 its heads that look there do so under every light, and in model 4 none gives the lamp's keys much more than an even share, so by our control their maps do not look for the lamp. And yet the balls follow its transplant. That is possible because stage 2 has brought the colour to tokens all over the strip by then, so the *values* carry it, wherever stage 4 looks. So the control protects us from one mistake only: a map that does not care about the lamp may belong to heads that carry its colour.
#
# *Compare "silenced" with "follow".* {{silent_liars}} times a model loses a quarter or more of the balls without a stage that no ball follows. So what happened with stage 4 above was no accident of one seed: silencing calls stages necessary that carry nothing. [Zhang and Nanda 2023](https://arxiv.org/abs/2309.16042) find that what is patched in, and what is watched, can change the verdict.
#
# A transplant has its limits, too. It shows that what a stage gathers is *enough* to change the answer, and not that the answer needs it. And if two stages brought the colour, each could make up for the other, and a transplant of one alone might change nothing.

# %% [markdown]
# ## 12 · And on the street? · *further*
#
# There two of these questions have a short answer, stage by stage:

# %%
table = json.loads((experiments / "heads.json").read_text(encoding="utf-8"))["scenes"]
for row in table:
    if row["head"] is None:
        silent, even = (
            f"{100 * row[name][0]:>z4.1f} ± {200 * row[name][1]:.1f}"
            for name in ("silenced", "even")
        )
        print(
            f"scenes {row['seed']}, stage {row['stage'] + 1}: points lost, silenced {silent}",
            end="",
        )
        print(f", even {even}")

# %% [markdown]
# (± two standard errors, over the scenes.) One stage's attention is worth a few points at most, and stage 4's nothing that could be seen, although its maps are the sharpest of all. Stages can stand in for each other, though: the heads of stages 2 to 4 together cost {{late_silent}} points, but those of stages 1 *and* 2 cost {{both_silent}}, far more than both alone. **The map of a stage that decides nothing is still a map**, with bright places and all. Whoever shows one owes an intervention with it.
#
# The strips say the same. There attention was the only way for the information, and yet one of the maps told the truth (stage 2's), one misled us (stage 4's), and two heads with nearly equal maps did different things. So this is the rule that we take from both data sets: no map by itself tells whether it can be believed.

# %% [markdown]
# ## 13 · How does rollout go through stages? · *further*
#
# A map of one block shows one step. Rollout multiplies the steps ([Abnar and Zuidema 2020](https://arxiv.org/abs/2005.00928)): in each block a token is taken to be half itself, because of the skip path, and half what it attends to. In a plain Transformer that is a product of square matrices. SegFormer's grids differ, so two things have to be decided. A key stands for r×r tokens, and its share is divided among them evenly. And a token of a new stage is an even share of what lies under its patch.

# %% tags=["mirror"]
# segformer_edu.analysis.attribution.through_block

# %% tags=["mirror"]
# segformer_edu.analysis.attribution.through_patches

# %%
shares = [ask.rollout(nano, image, place, stage) for stage in range(4)]
assert all(abs(each.sum() - 1) < 1e-4 for each in shares)
plots.show(
    plots.importance_maps(
        photo,
        {f"from stage {s + 1}": each.numpy() for s, each in enumerate(shares)},
        at,
        "From stage 2 a blob; from stages 3 and 4 a bit of everything",
        columns=5,
    ),
    alt="The scene and the rollout from each stage. From stage 1 one bright dot beside the marker, "
    "from stage 2 a blob there on a faint ground. From stages 3 and 4 a haze over the whole"
    " picture, brightest on the left border and on houses. A fine grid of dark lines lies "
    "over all, where fewer patches overlap.",
)

# %% [markdown]
# All shares of one token add up to one (the assertion), so it is a proper way of dividing a token among the pixels. But what of the model is in it? Not the values, nor the Mix-FFN, which also moves information to neighbours; not the sign, so what speaks *against* the class counts as much as what speaks for it; and not the class. Half of each step is the token itself by decree. And the overlapping patches spread it as they would with any weights.
#
# ### Would other weights give another map?
#
# A map that explains a model should change when the model does. [Adebayo and others 2018](https://arxiv.org/abs/1810.03292) replace the weights by fresh ones. We do so, too, and also ask about another place of the same class, as far away as there is one, and about the class that came second. If the order of the patches stays the same (a rank correlation near 1), then the map knows nothing of what we changed, so small is good.

# %%
names = ["attention 4", "rollout 2", "rollout 4", "|gradient × input|", "Grad-CAM 3"]
names += ["Grad-CAM 4", "occlusion 8", "nearness", "random"]
others = ("fresh weights", "another place", "another class")
agreement = {
    f"with {other}": {name: trial.agreement(name, other) for name in names} for other in others
}
plots.show(
    plots.intervals(
        agreement,
        ["rank correlation"] * 3,
        "Ask rollout from stage 4 at a place far away: the map hardly changes",
    ),
    alt="Three panels with the rank correlation of nine maps. With fresh weights: nearness 1, "
    "the size of gradient times input about two thirds, rollout about a third, all others "
    "near 0. With another place: rollout from stages 2 and 4 and attention of stage 4 near "
    "1, the others below. With another class: attention, rollout and nearness at 1, the "
    "size of gradient times input near 0.9, Grad-CAM below a half, occlusion near 0.",
)

# %% [markdown]
# *Look at rollout, panel by panel.* It passes the first test tolerably: fresh weights give other maps, so it is more than the spreading of patches. But ask at a place as far away as there is one, and rollout from stage 4 gives the *same* map. It tells what this picture sends to everybody, and nothing about our pixel. And of the class it knows nothing, as attention knows nothing.
#
# The size of gradient × input fails the first test in good part. Where a network is steep depends mostly on what is near the place, in a network that knows nothing, too, so its map looks plausible there. Occlusion and Grad-CAM pass the first and the third test. Passing is not enough, as section 6 shows. It also shows what failing means: rollout, which hardly knows the place, shows the lamp to the night.

# %% [markdown]
# ## 14 · How far does a token see, and what made it so? · *further*
#
# Lesson 07 drew receptive fields: how strongly a token of a stage responds to each pixel. Nano's were wider than those of an untrained twin that has convolutions in place of attention. But two things differed there, attention and training. Which of them widens the field? For an answer we need all four cases, so we trained both networks (`python -m experiments.receptive_fields`): a SegFormer with one block a stage, and its conv twin with {{twin_more_parameters}} more parameters, by lesson 08's minute, from {{rf_seeds}} seeds each.
#
# Our measure is the **area of nine tenths**: the smallest part of the picture that holds that share of the response, averaged over {{rf_scenes}} unseen scenes of 192×192 pixels. A third state is a check. *Shuffled* is the trained network with the numbers in each of its tensors in random order: its weights are as large as training made them, but what they say is lost.

# %%
table = json.loads((experiments / "receptive_fields.json").read_text(encoding="utf-8"))["rows"]
rows = [row for row in table if row["side"] == 192 and row["state"] != "in training"]
print(f"{'':<21}", *(f"{f'stage {stage}':>9}" for stage in (1, 2, 3, 4)))
for state, network in itertools.product(
    ("untrained", "trained", "shuffled"), ("SegFormer", "conv twin")
):
    areas = np.array(
        [row["area of 90%"] for row in rows if (row["network"], row["state"]) == (network, state)]
    )
    print(f"{state:<10} {network:<10}", *(f"{100 * x:>7.1f} %" for x in areas.mean(axis=0)))

# %%
stored = np.load(experiments / "receptive_fields.npz")
shown = [("SegFormer", state) for state in ("untrained", "trained", "shuffled")]
shown.append(("conv twin", "trained"))
areas = {(row["network"], row["state"]): row["area of 90%"] for row in rows if row["seed"] == 0}
plots.show(
    plots.receptive_fields(
        {f"{name},\n{state}": list(stored[f"{name}, {state}"]) for name, state in shown},
        {
            f"{name},\n{state}": [f"{100 * x:.1f} %" for x in areas[name, state]]
            for name, state in shown
        },
        "Training widens both; trained attention widens early stages",
    ),
    alt="Four rows of four heat maps for stages 1 to 4, with the area of 90 percent above each."
    " SegFormer untrained: small squares in the middle, which grow with the stage. Trained:"
    " larger squares on a patchy ground that reaches the borders, and in stage 4 nearly the"
    " whole picture. Shuffled: such squares on a plain ground. The trained twin: "
    "squares, black outside in stages 1 to 3, and in stage 4 nearly the whole picture.",
)

# %% [markdown]
# *Compare stage 4, trained.* (Each map has its own, logarithmic scale, so go by the areas above them.) The two networks see about equally far, {{area_4_segformer}} and {{area_4_twin}} of the picture, and none of the seeds says otherwise. *Compare stage 1.* There the trained SegFormer's area is {{area_1_factor}} times the twin's, in all three seeds. (That is for pictures of this size; at 96×96 pixels it is {{area_1_factor_small}} times.) So in trained networks attention widens the early stages (in untrained ones it narrows all), and training widens every stage of both.
#
# Two checks take something away from this. The **area of one half**, measured alike, hardly differs between the networks once they are trained, in any stage: half of a token's response comes from its own neighbourhood, with attention or without it. What attention adds is a faint ground that reaches far.
#
# And then the *shuffled* networks. In the twin (see the printed table) they see as far as trained ones, so there the whole widening comes from weights that are larger than the small ones we start from, and not from what they have learned. In the SegFormer stages 2 and 3 shrink to {{area_2_kept}} and {{area_3_kept}} of their trained areas when the numbers are shuffled. There, at least, seeing far is something that was learned. (That, too, is said of large pictures: at 96×96 pixels stage 2 keeps {{area_2_kept_small}}, and stage 3 {{area_3_kept_small}}.) In stage 1 shuffled networks scatter so much from seed to seed ({{area_1_shuffled}}) that we cannot say.

# %% [markdown]
# ## 15 · Which stage decides which class? · *further*
#
# Lesson 07 split a logit into what each stage adds, counted from the stage's mean, so that a constant moved from one stage to another changes nothing. There the sum explained one picture. Now we take the mean over all places of {{scenes_b}} scenes where a class is true. One choice is left: over *what* should the true class lead? We take both, its lead over the mean of all classes, and its lead over its strongest rival at each place.
#
# And we ask in a second way. The decoder gets a stage's mean in place of its map, for one stage at a time, and we see how much IoU each class loses. If "adds most" and "is missed most" name the same stage, we may say that it decides.

# %%
from segformer_edu.analysis.contributions import (
    contributions,
    leads,
    leads_over_the_next,
    mean_by_class,
    without_a_stage,
)

quarter = labels[:, 2::4, 2::4]  # the truth at each place of the logits
parts = contributions(nano, images)  # (scenes, 5, K, H/4, W/4)
iou = np.array(scores(confusion_matrix(answer, labels, 8)).iou)
silenced = [scores(confusion_matrix(each, labels, 8)).iou for each in without_a_stage(nano, images)]
tables = {
    "adds to the lead over the mean": mean_by_class(leads(parts, quarter), quarter, 8)[
        :, :4
    ].numpy(),
    "adds to the lead over its rival": mean_by_class(
        leads_over_the_next(parts, quarter), quarter, 8
    )[:, :4].numpy(),
    "IoU lost without it, points": 100 * (iou[:, None] - np.array(silenced).T),
}
del parts
stages = [f"stage {stage}" for stage in range(1, 5)]
plots.show(
    plots.number_grids(tables, CLASSES, stages, "Three ways to ask seldom agree"),
    alt="Three grids of eight classes by four stages, each row's largest number framed, or two "
    "that tie. For vegetation stage 1 is framed in all three, and for roads stage 3 in the first "
    "two. For the sky stage 4 is framed in the first grid, and stage 1 in the others. Without "
    "stage 1 five of the eight classes lose most, and two nearly most.",
)

# %% [markdown]
# *Look for a row that is framed in the same column three times.* Vegetation is such a row: stage 1 adds most by both counts, and without it vegetation loses {{vegetation_lost}} points of IoU, far more than without any other stage. For vehicles the two that add most, stages 2 and 3, are also the two that are missed most. Both hold on another set of scenes, and for nano-drop-path. What is said of vegetation also holds at 256×256 pixels.
#
# But the sky shows how easily one is misled. Over the mean of all classes stage 4 adds most, because it tells above from below. It pushes the sky's rivals up and down together, though, so against the strongest rival it adds less than half as much as stage 1; and when it is silenced, the sky loses less than without stage 1. Over all {{cells}} cells the ranks of the first and the last table hardly agree (a rank correlation of {{rank_mean}}, where 1 is full agreement), and those of the second and the last only a little ({{rank_rival}}).
#
# They need not agree, because they ask different things. What a stage adds is a mean over all places, most of which are decided by a wide margin, so that nothing would change without it. IoU changes where the margin is small. And a stage that is silenced changes the decisions of the ReLU, too. So "stage 4 decides the sky" is the kind of sentence that one picture of one number lets us believe. What we can say is narrower: *vegetation needs stage 1*.

# %% [markdown]
# ## 16 · What breaks without the zeros? · *further*
#
# In lesson 04 zero padding told tokens where they are: with circular padding, under which a map has no border, that knowledge was gone. Does nano *use* it? It was trained with zeros, and we can pad otherwise without touching a weight: *replicate* repeats the outermost token, *reflect* mirrors what lies inside, and *circular* puts there what lies at the opposite border.

# %%
from segformer_edu.analysis.position import from_the_border, pad_with

added, by_distance = {}, {}
distance = from_the_border(128, 128)
for mode in ("zeros", "replicate", "reflect", "circular"):
    padded = copy.deepcopy(nano)
    pad_with(padded, mode)
    said = torch.cat([padded.predict(some) for some in images.split(20)])
    turned = torch.cat([padded.predict(some.flip(2)).flip(1) for some in images.split(20)])
    wrong = 100 * (said != labels).double().mean(dim=0).numpy()  # % of the scenes, at each pixel
    by_distance[mode] = np.array([[wrong[distance // 4 == band].mean() for band in range(16)]])
    added[mode] = wrong - (added["zeros"] if added else 0)
    print(f"{mode:<10} mIoU {scores(confusion_matrix(said, labels, 8)).miou:.2f}", end="; ")
    print(f"upside down {(turned == labels).double().mean():.0%} of the pixels are right")
del added["zeros"]

# %%
plots.show(
    plots.bands(
        [4 * band + 2 for band in range(16)],
        by_distance,
        ("pixels from the border", "wrong pixels, %"),
        "Reflect and circular padding break the margin, and leave the middle alone",
    ),
    alt="Wrong pixels over the distance from the border, four curves. From 32 pixels on they "
    "are one. At the border zeros and replicate have about 7 to 8 percent wrong, reflect "
    "15, circular 21, falling to the others within about 30 pixels.",
)

# %%
plots.show(
    plots.compared_maps(
        {mode: np.clip(each, 0, None) for mode, each in added.items()},
        "additional wrong pixels, % of scenes",
        "Circular padding hurts along every border, most at the top",
    ),
    alt="Three maps of the picture's area. Replicate is dark everywhere. Reflect is bright "
    "along a thin rim. Circular is bright in a band along all four borders, widest at the "
    "top, and brightest in the lower corners.",
)

# %% [markdown]
# *Compare replicate with circular.* Neither has zeros. Replicate costs {{replicate_lost}} points of mIoU, circular {{circular_lost}}. So it is not the missing zeros that break the margin, but what stands in their place. Above the sky, for example, now lies the road of the lower border. At the top, {{sky_called_other}} of the true sky gets another name. No scene of nano's training had a road above its sky.
#
# And in the middle, eight tokens of stage 1 or more from the border, the share of wrong pixels changes by a few in a thousand at most, under any padding. (The curves rise again because there are more borders between things.)
#
# Does nano do without knowing its place, then? In these scenes the content says already what is above and what is below, so we cannot tell. That is why the cell also shows nano all scenes *upside down*, where place and content disagree. *Look at the last column.* With zeros {{upside_zeros}} of the pixels are right, and with circular padding, under which no token can know its place, {{upside_circular}}. So nano does use its place, even against the content. (Replicate has a border, too, and {{upside_replicate}} are right.) **That a network loses little without something does not show that it does not use it.** What is said of the margin and the middle holds on another set of scenes, and at 256×256 pixels, where circular padding damages a margin about as wide in pixels.

# %% [markdown]
# ## 17 · Which branch can be left out? · *further*
#
# A block has two branches, attention and Mix-FFN, and each adds something to the tokens that pass by. So any of them can be left out without touching the rest. We do so with each of nano's eight blocks, and with the same model trained with DropPath (lesson 05), which has seen its blocks fail. An experiment left out every block and every branch (`python -m experiments.branches`), on {{scenes_b}} unseen scenes; the intervals come from drawing scenes.

# %%
choices = json.loads((experiments / "branches.json").read_text(encoding="utf-8"))["choices"]
models = ("nano", "nano-drop-path")


def lost(row, model):
    return 100 * row["lost"][model][0]


blocks = [row for row in choices if len(row["missing"]) == 2]
plots.show(
    plots.grouped_bars(
        {
            "stage {}\nblock {}".format(*(each + 1 for each in row["missing"][0][:2])): {
                model: lost(row, model) for model in models
            }
            for row in blocks
        },
        "points of mIoU lost",
        "Trained with DropPath, this model needs its first block more, the others less",
    ),
    alt="Bars for the eight blocks, two in each stage. Nano loses 14, 13, 8, 5, 2, 3, 1 and"
    " 0 points of mIoU. Trained with DropPath it loses 27 without the first block and 3, 3,"
    " 2, 1, 1, 0 and 0 without the others.",
)

# %%
for kind in ("attention", "mix_ffn"):
    single = [row for row in choices if len(row["missing"]) == 1 and row["missing"][0][2] == kind]
    for model in models:
        print(f"{kind:<10} {model:<15}", *(f"{lost(row, model):>z5.1f}" for row in single))

# %% [markdown]
# In both models the last block can go for {{last_block_lost}} points of mIoU or less, and the attention of any single block for {{attention_most}} points at most. (Here its bias goes, too, so this is more than section 10's heads cost.) The early blocks matter most, and in them the Mix-FFN. Training with DropPath changes which of them: the first block, which under the linspace rule is never dropped, is missed nearly twice as much, and each other one less. For each of the eight blocks the interval of the difference leaves out zero.
#
# So a model that is trained to do without its blocks can do without them, and it leans on the one block on which it can rely. But "can be left out" is said of one block at a time. Without the first block of stage 4 nano loses {{stage_4_first}} points, without the second {{stage_4_second}}, and without both {{stage_4_both}}: each had stood in for the other. Trained with DropPath, the model loses only {{stage_4_both_drop}} without both.
#
# These are two trainings, one of each kind. The intervals know that scenes differ, and not that trainings do.

# %% [markdown]
# ## 18 · And on a photograph? · *further*
#
# All maps above are of drawn pictures, because nano knows nothing else. Shown a photograph, it answers all the same.

# %%
portrait = np.ascontiguousarray(sample_photo()[::4, ::4])  # 128 × 128
logits = nano(normalize(portrait))
plots.show(
    plots.segmentation(
        portrait,
        nano.predict(normalize(portrait))[0].numpy(),
        CLASSES,
        "Of a face nano says building",
    ),
    alt="The portrait of an astronaut with nano's labels: her face and suit are building, a "
    "flag is sidewalk and vegetation, the black part of the suit pole, her helmet road, the"
    " wall sky.",
)
print(f"mean probability of the answers: {logits.softmax(1).amax(1).mean():.2f}")

# %% [markdown]
# Her face is a *building*, the helmet on her arm is *road*, and nano is rather sure of it. Any of our five ways would give a map for these answers, and the map would look no worse than those above. So before you ask *why* a model said something, ask whether it is a model of such pictures at all.

# %% [markdown]
# ## Exercises
#
# Replace the `...`, run the cell, and read the answer. `hint("09.1")` gives a hint, and another each time you ask; `solution("09.1")` gives the answer.
#
# ### Exercise 09.1 ★ 5 minutes · At how many keys does it look?
#
# Attention weights `(…, keys)` sum to one over their last axis, and some may be 0. Return the exponential of their entropy, `(…)`, with the natural logarithm: over how many keys equal weights would be as spread.


# %%
def keys_looked_at(weights):
    return ...


check("09.1", keys_looked_at)

# %% [markdown]
# ### Exercise 09.2 ★ 5 minutes · From keys back to tokens
#
# In a stage with reduction ratio r, a key is made from a window of r × r tokens. Turn a map of weights on keys, `(…, h, w)`, into one on tokens, `(…, h·r, w·r)`: each key's weight is shared equally by the tokens of its window.


# %%
def on_tokens(weights, ratio):
    return ...


check("09.2", on_tokens)

# %% [markdown]
# ### Exercise 09.3 ★★ 8 minutes · Rollout by hand
#
# You get the attention of several blocks on one grid, a list of matrices `(N, N)`, the first block first; the row belongs to the token that looks. Return the rollout `(N, N)`: in every block half of a token comes from the token itself. (Section 13 does this for a whole model.)


# %%
def rolled_out(attentions):
    return ...


check("09.3", rolled_out)

# %% [markdown]
# ### Exercise 09.4 ★★ 7 minutes · Grad-CAM by hand
#
# You get the maps of one stage `(C, H, W)` and the gradient of a logit with respect to them, of the same shape. Return Grad-CAM `(H, W)`, without any scaling.


# %%
def cam(maps, gradient):
    return ...


check("09.4", cam)

# %% [markdown]
# ### Exercise 09.5 ★★ 10 minutes · A deletion curve
#
# `score(image)` is a number, `image` and `fill` are `(C, H, W)`, `importance` is `(H, W)`. For each of the `counts`, which rise, replace that many of the most important pixels of the whole image by what `fill` has in their place. Return the list of scores.


# %%
def deleted(score, image, importance, fill, counts):
    return ...


check("09.5", deleted)

# %% [markdown]
# ### Exercise 09.6 ★★ 9 minutes · How far off is its confidence?
#
# `confidence` `(N,)` is the probability of the class that was predicted (above 0, up to 1), `right` `(N,)` says whether that was right, and `bins` is the number of equally wide bins from 0 to 1. Return the expected calibration error: in each bin the distance between the mean confidence and the share that is right, averaged over the bins, each weighing as much as it has pixels (section 7).


# %%
def expected_calibration_error(confidence, right, bins):
    return ...


check("09.6", expected_calibration_error)

# %% [markdown]
# ### Exercise 09.7 ★★★ 12 minutes · Grad-CAM of one pixel
#
# Now on a whole SegFormer in evaluation mode, and one image `(1, 3, H, W)`: return Grad-CAM at the map of one `stage` (counted from 0) for the logit of class `label` at `row` and `column` of the logits' grid, as `(H_s, W_s)`, the size of the stage's map, without any scaling. `model.encoder(images)` gives the maps of all stages, `model.decoder(maps)` the logits.


# %%
def cam_of_pixel(model, images, stage, row, column, label):
    return ...


check("09.7", cam_of_pixel)

# %% [markdown]
# ## Recap
#
# - An attention map shows a weight. Whether a head looks there because of what is there, whether its value matters, and whether the answer would change, only interventions tell: take the thing away, make the weights even, transplant.
# - An explanation can be tested: remove what it calls important, and watch the answer. On street scenes none of five ways surely beat nearness, which knows nothing, on both curves.
# - Where the cause is known and far away, attention of stage 2 and rollout found it, but showed it for pixels that it does not decide. Grad-CAM of stage 1 found it, but also showed a lamp that makes next to no difference. No map is right by itself, so test each where the cause decides nothing.
# - The fill, the size of a patch, the stage and the question are choices. State them, and vary them.
#
# **Can you answer without scrolling up?**
#
# 1. A head puts nearly all its weight on a lamp. Which further experiment shows that it looks there because of the lamp?
# 2. A model breaks when a stage is silenced. Why does that not show that information passes there?
# 3. What does Grad-CAM forget when it takes the mean slope of a channel?
# 4. Why does a table of explanations need a baseline that knows nothing?
#
# <details><summary>Answers</summary>
#
# 1. Take the lamp away, or change its colour, and look at the map again.
# 2. What follows has come to expect what the stage adds. Only a transplant changes the information alone.
# 3. Where on the map the slope was large. It then shows where there are features that speak for the class, wherever that is.
# 4. Because what scores well may do so for a reason that has nothing to do with the model; here, because what decides is near.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *Attention weights* are not there in a fused kernel, which never stores them. torch's `scaled_dot_product_attention` returns none ([issue 119811](https://github.com/pytorch/pytorch/issues/119811)), and in transformers one has to ask for the `"eager"` implementation ([issue 31990](https://github.com/huggingface/transformers/issues/31990)). Ours computes them a second time, with the same queries and keys.
# - *Grad-CAM on tokens.* Libraries expect `(B, C, H, W)`. For tokens `(B, N, C)` pytorch-grad-cam wants a `reshape_transform`, and its examples have a fixed grid and drop a class token ([issue 257](https://github.com/jacobgil/pytorch-grad-cam/issues/257)). SegFormer has no class token, and a grid for each stage.
# - *Rollout.* The paper averages heads, and adds the identity with weight one half ([Abnar and Zuidema 2020](https://arxiv.org/abs/2005.00928)). [A widely read post](https://jacobgil.github.io/deeplearning/vision-transformer-explainability) also takes the minimum or maximum of heads and drops the smallest weights. For grids that differ between stages there is no agreed rule ([hiera, issue 43](https://github.com/facebookresearch/hiera/issues/43)), so ours is one of several.
# - *Deletion and insertion.* The paper deletes to grey, and inserts into a blurred picture ([Petsiuk and others 2018](https://arxiv.org/abs/1806.07421)). We use the same fill for both and vary it.
#
# **References.** S. Abnar, W. Zuidema, *Quantifying Attention Flow in Transformers*, [arXiv:2005.00928](https://arxiv.org/abs/2005.00928). R. Selvaraju and others, *Grad-CAM*, [arXiv:1610.02391](https://arxiv.org/abs/1610.02391). K. Vinogradova, A. Dibrov, G. Myers, *Towards Interpretable Semantic Segmentation via Gradient-Weighted Class Activation Mapping*, [arXiv:2002.11434](https://arxiv.org/abs/2002.11434). V. Petsiuk, A. Das, K. Saenko, *RISE*, [arXiv:1806.07421](https://arxiv.org/abs/1806.07421).
# J. Adebayo and others, *Sanity Checks for Saliency Maps*, [arXiv:1810.03292](https://arxiv.org/abs/1810.03292). J. Vig and others, *Causal Mediation Analysis for Interpreting Neural NLP*, [arXiv:2004.12265](https://arxiv.org/abs/2004.12265). C. Guo and others, *On Calibration of Modern Neural Networks*, [arXiv:1706.04599](https://arxiv.org/abs/1706.04599).
#
# **Next:** lesson 10 asks where the time goes.
