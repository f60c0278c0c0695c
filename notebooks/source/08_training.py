# %% [markdown]
# # Lesson 08 · Can it learn in a minute?
#
# Lesson 07 ended with a whole SegFormer, and its weights came from elsewhere. Now you make your own. A small model begins with random numbers; a minute later it tells road from sidewalk in streets it has never seen. This lesson looks at every part of that minute: what is learned from, what is asked for, how it is judged, and what can go wrong.
#
# **After this lesson you will be able to**
#
# - say what the loss of a segmentation is, pixel by pixel, and what `ignore_index` keeps out of it;
# - compute IoU and mIoU by hand, and say why pixel accuracy flatters;
# - say why AdamW, why a warm-up, and see what happens without them;
# - write the training loop, run it, and read its curves;
# - look for what a model gets wrong, and say how much of it no model of this shape could get right;
# - teach a trained model a class that it has never seen.
#
# **Time** 75 minutes, and 60 for the exercises. The cells compute for about two minutes in all. **You need** lesson 07. No GPU.

# %%
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.metrics import jaccard_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from segformer_edu import SegFormer, SegFormerConfig, plots, segmentation_loss, widgets
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.decoder import AllMLPDecoder
from segformer_edu.exercises import check, hint, solution
from segformer_edu.training import balanced_weights, confusion_matrix, scores, set_learning_rate
from segformer_edu.training.pictures import VALIDATION_SEED
from segformer_edu.widgets import progress

# %% [markdown]
# ## 1 · What is there to learn from?
#
# Labelled photographs are dear: somebody has to draw round every pole. So the package draws its own streets, from a seed, and knows what each pixel is because it has painted it. Eight classes, and some of the trouble of real streets: things hide each other, poles are thin, it rains, it gets dark.

# %%
training, unseen = Scenes(2000, size=96, seed=0), Scenes(200, size=96, seed=VALIDATION_SEED)
some = [training.picture(i) for i in range(6)]
plots.show(
    plots.labelled_pictures(
        *zip(*some, strict=True), CLASSES, finding="Six streets, and what each pixel is"
    ),
    alt="Six small street scenes by day, at dusk and at night, each with a map of its labels "
    "below: sky, buildings and road fill most of nearly every map, persons are small, poles thin.",
)

# %% [markdown]
# *Look for the poles.* They are there in most pictures, as thin lines that you find in the labels first. A scene is a function of the seed: the {{unseen_scenes}} on which the model will be judged come from another seed, so it has met none of them.
#
# **Predict.** What share of all pixels are poles? And in what share of the pictures is there a person?

# %%
prediction = ...  # two percentages

# %% [markdown]
# All pictures are drawn once, by two processes, and kept in memory as the model wants them.


# %% tags=["mirror"]
# segformer_edu.training.minute.in_memory


# %%
def with_bar(parts):
    return progress(parts, "batches of 20 scenes")


images, labels = in_memory(training, watch=with_bar)
unseen_images, unseen_labels = in_memory(unseen)
print(tuple(images.shape), tuple(labels.shape))

# %%
of_pixels = labels.flatten().bincount() / labels.numel()
of_pictures = torch.stack([(labels == k).flatten(1).any(1).float().mean() for k in range(8)])
plots.show(
    plots.grouped_bars(
        {
            name: {"% of all pixels": 100 * float(p), "% of pictures that show it": 100 * float(q)}
            for name, p, q in zip(CLASSES, of_pixels, of_pictures, strict=True)
        },
        "percent",
        "Persons are in most pictures, and hardly any pixels",
    ),
    alt="Two bars for each of eight classes. Almost every picture shows almost every class; but "
    "buildings and road have a quarter of the pixels each, persons and poles a few percent.",
)

# %% [markdown]
# *Compare the two bars of a class.* Most classes are in nearly every picture, and even persons and poles in three of four. By pixels it is another world: for one pixel of person there are eleven of road. Remember it twice: when we say what the model should minimise, and when we say how good it is.
#
# ## 2 · What is a wrong pixel worth?
#
# The model gives each pixel eight numbers, one for each class: its logits. The loss is the **cross-entropy** that you know from classifying images, at every pixel: minus the logarithm of the probability that the right class gets. The logits come at a quarter of the size, so they are resized first (lesson 07).


# %%
def fresh(seed):
    torch.manual_seed(seed)
    return SegFormer(
        SegFormerConfig.named("nano", depths=(1, 1, 1, 1), drop_path_rate=0.0, decoder_dropout=0.0)
    )


model = fresh(0)
x, y = images[:16], labels[:16]
logits = model(x)  # (16, 8, 24, 24)
print(tuple(logits.shape), f"{sum(weight.numel() for weight in model.parameters()):,} parameters")

# %%
wide = F.interpolate(logits, size=(96, 96), mode="bilinear")  # (16, 8, 96, 96)
log_probability = wide.log_softmax(dim=1)
of_right_class = log_probability.gather(1, y[:, None])[:, 0]  # (16, 96, 96)
by_hand = -of_right_class.mean()
assert torch.allclose(by_hand, segmentation_loss(logits, y), rtol=1e-5)
print("the mean over", f"{of_right_class.numel():,}", "pixels is the package's loss")

# %% [markdown]
# **Predict.** The weights are random and nothing has been learned. A model that knows nothing, and says so, gives each of eight classes the probability 1/8. What is its loss? Is ours higher, lower, or the same?

# %%
prediction = ...

# %%
print(f"knows nothing and says so: {math.log(8):.1f}")
print(f"ours: about {by_hand.item():.0f}")

# %% [markdown]
# Ours knows nothing and does not say so. Its logits are random, and far apart, so it is often quite sure of a wrong class, and the logarithm punishes that hard. The first thing that training does is to make it modest. (A classifier that began with small weights would begin near ln 8.)
#
# ### What is ignore_index for?
#
# Some pixels have no label: the margin that a crop left empty, a border that two people drew differently, the fur that is neither cat nor carpet. They get a number that is no class, by habit `255`, and the loss leaves them out.
#
# **Predict.** We take the labels of the left half of every picture away. Then we change the logits of the left half to nonsense. What happens to the loss?

# %%
prediction = ...

# %%
half = y.clone()
half[:, :, :48] = 255
nonsense = wide.detach().clone()
nonsense[:, :, :, :48] = 1000 * torch.randn(16, 8, 96, 48)
same = segmentation_loss(wide, half), segmentation_loss(nonsense, half)
assert same[0].item() == same[1].item()
print("no difference at all")

# %%
wide_leaf = wide.detach().requires_grad_()
segmentation_loss(wide_leaf, half).backward()
gradient = wide_leaf.grad.abs().sum(dim=(0, 1, 2))  # one number for each column of pixels
print("columns that learn:", gradient.nonzero().flatten().min().item(), "to 95")

# %% [markdown]
# Nothing flows back from an ignored pixel: the model may say there what it likes, and is neither praised nor blamed. And the mean is taken over the pixels that *count*. That the sum is divided by the right number is easily forgotten; "Break it" below shows what that does.
#
# ### Shall all pixels count the same?
#
# In a plain mean, eleven pixels of road outvote one of person. The package weighs a class by 1/√frequency: rare ones more, though not so much more that the model sees persons everywhere.

# %%
class_weights = balanced_weights(training)
for name, weight in zip(CLASSES, class_weights, strict=True):
    print(f"{name:<11} {weight:.1f}")

# %% [markdown]
# ## 3 · What is a segmentation worth?
#
# The obvious answer is the share of pixels that are right, **pixel accuracy**. Here is a picture of 3×3 pixels: sky, a road, and a pole two pixels high.

# %%
true = torch.tensor([[0, 0, 2], [0, 0, 2], [1, 1, 1]])  # 0 sky, 1 road, 2 pole
said = torch.tensor([[0, 0, 0], [0, 0, 0], [1, 1, 1]])
print(f"pixel accuracy {(said == true).sum()}/{true.numel()}")

# %% [markdown]
# Seven of nine, and it has not seen the pole.
#
# **IoU**, intersection over union, asks class by class: of all pixels that *are* this class *or were called* it, how many are both? **mIoU** is the mean over the classes, each of the same worth, however few its pixels.
#
# **Predict.** Work out the three IoUs with a pencil, and their mean.

# %%
prediction = ...  # sky, road, pole, mean

# %%
for k, name in enumerate(("sky", "road", "pole")):
    both, either = ((true == k) & (said == k)).sum(), ((true == k) | (said == k)).sum()
    print(f"{name}: {both} of {either}")

# %% [markdown]
# 4/6, 3/3, 0/2: a mean of 5/9. Look at the sky. Each of its pixels was found, and yet it is not at 1: it has swallowed the pole. IoU counts both what is missed and what is invented.
#
# For a data set, the pairs are counted into a **confusion matrix**: a row for what a pixel is, a column for what it was called. What both agree on lies on the diagonal; the union is row plus column, less the diagonal, which would be counted twice.

# %%
matrix = confusion_matrix(said, true, num_classes=3)
union = matrix.sum(dim=0) + matrix.sum(dim=1) - matrix.diagonal()
print(matrix.tolist())
print("IoU", [f"{both}/{either}" for both, either in zip(matrix.diagonal(), union, strict=True)])

# %% [markdown]
# **Check it** against scikit-learn, where it has the name of Paul Jaccard, who compared the plants of alpine meadows with it ([Jaccard 1912](https://doi.org/10.1111/j.1469-8137.1912.tb05611.x)).

# %%
theirs = jaccard_score(true.flatten(), said.flatten(), average="macro")
assert math.isclose(scores(matrix).miou, theirs) and math.isclose(theirs, 5 / 9)
print("mIoU agrees: 5/9")

# %% [markdown]
# ### Why pixel accuracy flatters
#
# **Predict.** Somebody sells you a model of streets that is never wrong, except that it calls every person and every pole a building. What are its pixel accuracy and its mIoU on our unseen scenes?

# %%
prediction = ...

# %%
blind = unseen_labels.clone()
blind[(blind == CLASSES.index("person")) | (blind == CLASSES.index("pole"))] = 1  # building
found = scores(confusion_matrix(blind, unseen_labels, 8))
print(f"pixel accuracy {found.pixel_accuracy:.0%}, mIoU {found.miou:.0%}")

# %% [markdown]
# A car that is blind to people, with an accuracy that sounds like an examination passed with distinction. mIoU sees the two zeros. Two things to keep in mind about it:
#
# - **Sum first, divide once.** The confusion matrix of the data set is the sum over its pictures; IoU comes after. The mean of the pictures' mIoUs is another number, which depends on which classes happen to be in which picture, and on the batch size if it is taken over batches. It is reported by mistake again and again ([one of many](https://github.com/IvLabs/stagewise-knowledge-distillation/issues/12)).
# - A class that is neither there nor called has IoU 0/0. It has to be left out of the mean; 0 would punish, and 1 reward, for nothing.

# %%
each = [scores(confusion_matrix(a, b, 8)).miou for a, b in zip(blind, unseen_labels, strict=True)]
print(f"sum first: {found.miou:.2f}; mean of the pictures' mIoUs: {np.mean(each):.2f}")

# %% [markdown]
# ## 4 · How good could it be?
#
# The decoder answers at a quarter of the size (H/4). A pole that is one pixel wide has to come through that. So we ask what a perfect model of this shape would get: shrink the *true* labels to H/4, as shares of each class, and bring them back as `predict` does.

# %%
one_hot = F.one_hot(unseen_labels, 8).permute(0, 3, 1, 2).float()  # (200, 8, 96, 96)
quarter = F.avg_pool2d(one_hot, 4)  # (200, 8, 24, 24)
back = F.interpolate(quarter, size=(96, 96), mode="bilinear").argmax(dim=1)
ceiling = scores(confusion_matrix(back, unseen_labels, 8))
print(f"mIoU {ceiling.miou:.2f}")

# %%
photos = [unseen.picture(i)[0] for i in range(200)]
truth = unseen_labels.byte().numpy()
wrong = np.where(back.numpy() == truth, 255, truth)
plots.show(
    plots.label_rows(
        photos[2:4],
        {
            "true labels": truth[2:4],
            "through H/4 and back": back[2:4].byte().numpy(),
            "what is lost": wrong[2:4],
        },
        CLASSES,
        "Even true labels do not come through whole",
    ),  # fmt: skip
    alt="Two scenes with their labels, the labels after shrinking to a quarter and back, and the "
    "pixels that changed: specks along the borders, feet and hands, and the post of a thin lamp.",
)

# %% [markdown]
# *Look at the last column.* Borders are rounded off, and what is thin breaks. This is a ceiling of a kind: the logits of a model need not be shares, so a model could in principle beat it, by overdoing a thin class where it suspects one. None here comes near. It is drawn beside the results from now on.
#
# ## 5 · Which way is down?
#
# The gradient says for every weight whether more or less of it lowers the loss. How long the step should be, it does not say. Look at three of the {{tensors}} weight tensors, from the last layer, the one before it, and the first block.

# %%
loss = segmentation_loss(model.train()(x), y, class_weights=class_weights)
loss.backward()
attention = "encoder.stages.0.blocks.0.attention.query.weight"
for name in ("decoder.classifier.weight", "decoder.fuse.weight", attention):
    size = model.get_parameter(name).grad.square().mean().sqrt()
    print(f"{name:<50} about 10^{math.log10(size):.0f}")

# %% [markdown]
# The classifier's gradient is thousands of times as long as that of the first queries. Plain gradient descent steps in proportion: long enough for the queries is a leap for the classifier, right for the classifier leaves the queries where they are.
#
# **Adam** ([Kingma and Ba 2014](https://arxiv.org/abs/1412.6980)) keeps two running averages for each weight, of its gradient (nine tenths of what it was and one tenth of what is new) and of the gradient's square (0.999 and 0.001). A weight moves by learning rate · mean / (√square + ε), where ε is there only against a division by zero, and both averages are corrected for having begun at zero (exercise 08.7). So each weight's step is divided by the usual size of its own gradient, and all move at the same pace. **AdamW** ([Loshchilov and Hutter 2017](https://arxiv.org/abs/1711.05101)) adds a pull of all weights towards zero that is not divided by anything.
#
# **Predict.** After a single step the "usual size" has been seen once. With a learning rate of `0.008`, how far does a weight move whose gradient is `0.1`? And one whose gradient is `0.00001`?

# %%
prediction = ...  # two lengths


# %% tags=["mirror"]
# segformer_edu.training.optimizer.make_optimizer

# %% [markdown]
# Norms and biases get no decay: pulled towards zero they are not simpler, only smaller. And five vectors of biases are left out altogether, those that BatchNorm subtracts again. Their gradient is nothing but rounding, and Adam would make full steps of it.

# %%
optimizer = make_optimizer(model, learning_rate=8e-3)
before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
optimizer.step()
for name in ("decoder.classifier.weight", "decoder.fuse.weight", attention):
    moved = (model.get_parameter(name) - before[name]).abs().median()
    print(f"{name:<50} moved {moved:.4f}, of a typical {before[name].std():.2f}")

# %% [markdown]
# All by the whole learning rate: g divided by |g|. On the first step Adam looks at the *sign* of the gradient and nothing else. For the queries, which begin at about `0.02`, that is two fifths of what they are, on the word of one batch.
#
# Hence the **warm-up**: the learning rate rises in a line over the first steps, while the averages fill. After it the rate falls in a line to nothing ("poly", with power 1), so that the last steps settle what the first have found.


# %% tags=["mirror"]
# segformer_edu.training.optimizer.learning_rate_factor

# %%
STEPS = 1000  # of the minute
steps = list(range(STEPS))
plots.show(
    plots.step_curves(
        {
            "learning rate": {
                name: (steps, [8e-3 * learning_rate_factor(s, STEPS, warm) for s in steps])
                for name, warm in {"warm-up of 50 steps": 50, "none": 0}.items()
            }
        },
        finding="Up in a line, then down to nothing",
    ),
    alt="The learning rate over a thousand steps: it rises from nothing within the first fifty, "
    "and falls in a straight line to zero at the end. Without warm-up it begins at its height.",
)

# %% [markdown]
# ### And without?
#
# This was not run here, but by a command that you can run too (it stands in the README, and takes some minutes): `python -m experiments.training optimizers`. Each run has {{few_steps}} steps on pictures of 64×64; for plain gradient descent with momentum you see the best of three learning rates.
#
# **Predict.** Order them: AdamW with warm-up, AdamW without, SGD.

# %%
prediction = ...


# %%
written = Path(plots.__file__).parents[2] / "experiments" / "training.json"  # by the command


def measured(part):
    return json.loads(written.read_text(encoding="utf-8"))[part]


compared = measured("optimizers")["rows"]
kinds = {
    "AdamW, warm-up": [row for row in compared if row["warm-up"] and row["optimizer"] == "AdamW"],
    "AdamW, no warm-up": [row for row in compared if not row["warm-up"]],
    "SGD, best of three": sorted(compared, key=lambda row: (row["optimizer"], row["miou"]))[-1:],
}  # fmt: skip
for kind, rows in kinds.items():
    print(f"{kind:<19} mIoU", ", ".join(f"{row['miou']:.2f}" for row in rows))

# %%
plots.show(
    plots.step_curves(
        {
            "loss, mean of 20 steps": {
                kind: (list(range(1, len(rows[0]["losses"]) + 1)), rows[0]["losses"])
                for kind, rows in kinds.items()
            }
        },
        finding="AdamW ends lower than SGD; the warm-up hardly shows",
        smooth=20,
    ),
    alt="The loss over two hundred steps. AdamW without warm-up falls fastest at first; from step "
    "100 on both AdamW curves run together, and SGD with momentum stays above them.",
)

# %% [markdown]
# Adam is ahead, and plain gradient descent needs a learning rate {{sgd_over_adam}} times as high to come near it. (That is the highest of the three; SGD had one seed.)
#
# And the warm-up? Without it the loss falls *faster* at first, for the steps are longer; with it the run ends a little better. Its gain has one sign in both seeds, and is small: {{warmup_gains}}. Two seeds are too few to call that more than a hint, and nothing blows up without it. Here it is an insurance, and its price is fifty slow steps.
#
# ## 6 · The loop
#
# You have seen all its parts. Two are left, on the side of the pictures: batches in a random order, every picture once before any comes twice; and half of the pictures flipped, since a street seen in a mirror is a street.


# %% tags=["mirror"]
# segformer_edu.training.minute.batches


# %% tags=["mirror"]
# segformer_edu.training.minute.some_flipped

# %%
row = torch.arange(4.0).expand(1, 3, 1, 4), torch.arange(4).expand(1, 1, 4)
flips = [some_flipped(*row, torch.Generator().manual_seed(seed)) for seed in range(20)]
assert all(torch.equal(image[:, 0].long(), label) for image, label in flips)
print("image and labels always turn together")

# %% [markdown]
# And the loop itself. Read it aloud: choose pictures, set the rate, ask for the loss, find the gradient, cut it if it is too long, step, forget the gradient.


# %% tags=["mirror"]
# segformer_edu.training.minute.training_steps

# %% [markdown]
# `clip_grad_norm_` shortens a gradient that is longer than 1 and keeps its direction, against the odd batch that would throw the model far off. `yield` makes the loop a generator: it trains for as long as somebody asks for the next loss. So the minute can be taken in four parts, with a look at the pictures in between.
#
# The package's command, `python -m segformer_edu train`, runs the same steps with all that this loop leaves out: several GPUs, checkpoints, validation, a log.


# %% tags=["mirror"]
# segformer_edu.training.minute.predictions

# %%
model = fresh(0)
run = training_steps(model, make_optimizer(model, 8e-3), images, labels, class_weights, steps=STEPS)
losses, said, found, seconds = [], {}, {}, 0.0  # the dicts have the number of steps as keys


def judge():
    said[len(losses)] = predictions(model, unseen_images)
    found[len(losses)] = scores(confusion_matrix(said[len(losses)], unseen_labels, 8))


def train_to(*stops):
    """Train on to the last of the stops, and judge the model at each."""
    global seconds
    start, more = time.perf_counter(), stops[-1] - len(losses)
    for loss in progress(itertools.islice(run, more), "steps", more):
        losses.append(loss)
        if len(losses) in stops:
            judge()
    seconds += time.perf_counter() - start


judge()

# %% [markdown]
# **Predict.** Which class will it know first, and which last? After how many of the {{minute_steps}} steps will you be able to tell what the street looks like?

# %%
prediction = ...

# %%
train_to(25, 100, 250)
assert found[250].miou > found[25].miou > found[0].miou
print(f"mIoU is above 40%: {found[250].miou > 0.4}")


# %%
def look(*stops, rows=(0, 3, 8), finding):
    columns = {f"after {stop} steps": said[stop][list(rows)].byte().numpy() for stop in stops}
    columns["labels"] = truth[list(rows)]
    return plots.label_rows([photos[i] for i in rows], columns, CLASSES, finding)


plots.show(
    look(0, 25, 100, 250, finding="First the sky and the road, then things"),
    alt="Three unseen scenes, what the model says of them after 0, 25, 100 and 250 steps, and "
    "their labels. From noise it goes to bands, sky on top and road below, then to blots of trees, "
    "vehicles and persons.",
)

# %% [markdown]
# *Follow one row from left to right.* Before training there is noise. After 25 steps it has found what any street has: sky above, road below. What lies between them is guesswork still. Colour and height in the picture give those two away. Things come later, first as blots.

# %%
train_to(550)

# %%
train_to(850)

# %%
train_to(STEPS)
assert found[STEPS].miou > 0.67
print(f"mIoU {found[STEPS].miou:.1f}")

# %% tags=["nbval-ignore-output"]
print(f"{seconds:.0f} seconds, {found[STEPS].miou:.3f} mIoU")

# %% [markdown]
# Does it learn in a minute? It does: from random numbers to two thirds of the mIoU scale and more, on streets it has not seen. (With other work on the machine the minute is longer. What counts is the steps.)

# %%
plots.show(
    look(100, 550, STEPS, finding="Then edges, persons and poles"),
    alt="The same three scenes after 100, 550 and 1000 steps, and their labels. Outlines get "
    "sharper, and persons and poles appear where there were none.",
)

# %%
at = list(found)
plots.show(
    plots.step_curves(
        {
            "loss, mean of 20 steps": {"loss": (list(range(1, STEPS + 1)), losses)},
            "on unseen scenes": {
                "pixel accuracy": (at, [found[stop].pixel_accuracy for stop in at]),
                "mIoU": (at, [found[stop].miou for stop in at]),
            },
        },
        levels={"mIoU of true labels through H/4": ceiling.miou},
        finding="Pixel accuracy comes early, mIoU climbs to the end",
        smooth=20,
    ),
    alt="Left, the loss: steep at first, then ever flatter. Right, pixel accuracy and mIoU at "
    "seven moments. Accuracy is high after a hundred steps; mIoU climbs to the end, and stays well "
    "below the line of the ceiling.",
)

# %% [markdown]
# *Compare the two curves on the right.* Pixel accuracy rises fast and early, on sky and road. mIoU climbs to the end: the last hundreds of steps go into classes that pixel accuracy hardly notices. Even at the end, with the learning rate nearly gone, mIoU still gains.
#
# ## 7 · What has it learned, and what not?

# %%
mine = found[STEPS]
plots.show(
    plots.grouped_bars(
        {
            name: {"this model": 100 * ours, "true labels through H/4": 100 * best}
            for name, ours, best in zip(CLASSES, mine.iou, ceiling.iou, strict=True)
        },
        "IoU, %",
        "What is thin or small is hardest, and not only because of H/4",
    ),
    alt="For each class the IoU of the model, and that of true labels shrunk to a quarter. Sky "
    "comes nearest; persons and poles fall furthest short, further than their ceilings explain.",
)

# %%
order = sorted(range(8), key=lambda k: mine.iou[k])
print("worst two:", sorted(CLASSES[k] for k in order[:2]))
print("best:", CLASSES[order[-1]])

# %% [markdown]
# *Compare the gaps.* The ceiling explains a part: thin things suffer at H/4, and for the rest of the gap the model has itself to blame, or its minute. What is taken for what?

# %%
matrix = confusion_matrix(said[STEPS], unseen_labels, 8).double()
plots.show(
    plots.number_grid(
        (matrix / matrix.sum(dim=1, keepdim=True)).numpy(),
        CLASSES,
        CLASSES,
        "Where the pixels of each class go",
        "is",
        "was called",
    ),
    alt="A grid of eight by eight shares, one row for each true class. The diagonal is bright; "
    "most missed persons are called road or sidewalk, and missed poles building more than anything "
    "else.",
)

# %% [markdown]
# *Read a row.* The diagonal is the share of a class that was found (its recall). Off it, errors are no accident: a class is taken for what stands *behind* it or *beside* it. So errors lie at borders?
#
# **Predict.** What share of the wrong pixels is at most two pixels from a true border?

# %%
prediction = ...

# %%
down = unseen_labels[:, 1:] != unseen_labels[:, :-1]
across = unseen_labels[:, :, 1:] != unseen_labels[:, :, :-1]
border = F.pad(down, (0, 0, 0, 1)) | F.pad(down, (0, 0, 1, 0))  # on both sides of it
border = border | F.pad(across, (0, 1)) | F.pad(across, (1, 0))
near = F.max_pool2d(border[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
errors = said[STEPS] != unseen_labels
print(f"near a border lie {near.double().mean():.0%} of all pixels,")
print(f"and of the wrong ones about {round(10 * near[errors].double().mean().item())} in 10")

# %% [markdown]
# ### Look at the worst
#
# A mean hides its cases. These are the scenes with the most wrong pixels.

# %%
worst = errors.flatten(1).double().mean(dim=1).argsort(descending=True)[:4].tolist()
missed = np.where(errors.numpy(), truth, 255)
at_border = (errors & near).flatten(1).sum(dim=1) / errors.flatten(1).sum(dim=1)
assert (at_border > 0.5).double().mean() > 0.9  # of the scenes
plots.show(
    plots.label_rows(
        [photos[i] for i in worst],
        {
            "labels": truth[worst],
            "the model": said[STEPS][worst].byte().numpy(),
            "wrong, and what it is": missed[worst],
        },
        CLASSES,
        "The four scenes with the most wrong pixels",
    ),
    alt="The four scenes with the most wrong pixels: photograph, labels, prediction, and the wrong "
    "pixels in the colour of what they are. Whole regions are wrong in them, not only borders.",
)

# %% [markdown]
# *Look at the last column.* In nearly every scene most wrong pixels lie near a border. In these, whole regions are wrong as well. Look what the four have in common, and you know what to draw more of.
#
# ## 8 · Was that luck?
#
# One run proves little. The same minute from three random beginnings, by `python -m experiments.training seeds`:

# %%
print(measured("seeds")["machine"]["date"], measured("seeds")["machine"]["processor"])
for row in measured("seeds")["rows"]:
    print(
        f"seed {row['seed']}: mIoU {row['miou']:.3f}, pixel accuracy {row['pixel accuracy']:.3f}, "
        f"{row['seconds']:.0f} s"
    )

# %% [markdown]
# The spread between beginnings is about {{seed_spread}}. A change that gains less than that in one run has gained nothing that you could know of. Keep it in mind with the next table.
#
# The learning rate says how long a step is, the batch size how sure of its direction. Each run below sees {{grid_pictures}} pictures of 64×64: many steps on small batches, or few on large ones.
#
# **Predict.** Which batch size does best with the same number of pictures: 4, 16 or 64? And should larger batches have a higher or a lower learning rate?

# %%
prediction = ...

# %%
cells = measured("grid")["rows"]
rates = sorted({row["learning rate"] for row in cells})
sizes = sorted({row["batch size"] for row in cells})
table = {(row["batch size"], row["learning rate"]): row["miou"] for row in cells}
plots.show(
    plots.number_grid(
        np.array([[table[size, rate] for rate in rates] for size in sizes]),
        [f"batch {size}" for size in sizes],
        [f"{rate:g}" for rate in rates],
        "mIoU, one seed each",
        column_label="learning rate",
    ),
    alt="A grid of mIoU values: three batch sizes by three learning rates. Batch 64 is "
    "behind in every column; along a row the differences are smaller.",
)

# %%
for size in sizes:
    best = max(rates, key=lambda rate: table[size, rate])
    cost = next(row["seconds"] for row in cells if row["batch size"] == size)
    print(f"batch {size:>2}: best at {best:g}, mIoU {table[size, best]:.2f}, {cost:.0f} s each")

# %% [markdown]
# Two things show, and one does not.
#
# - For the same pictures, batches of 64 lose at every rate: they take a sixteenth of the steps that batches of 4 take, and steps are what is short here. Batches of 4 beat those of 16 too, except at the highest rate, where the two are level.
# - Small batches cost more: those of 4 took twice as long as those of 16. A processor works better on many pictures at a time, and each step has the optimizer to pay. Sixteen is a compromise.
# - That larger batches want higher rates cannot be read from this: the best rate rises from 4 to 16, and falls again at 64. At 16 it leads by no more than the two seeds without warm-up were apart in section 5.
#
# ## 9 · More than a minute
#
# The package ships a model trained for longer: `nano`, two blocks a stage, on larger pictures. Its card, `segformer_edu/weights/nano/README.md`, holds the command, the seed and the scores. Here it is on our {{unseen_scenes}} unseen scenes, beside yours.

# %%
shipped = SegFormer.from_pretrained("nano")
theirs = scores(confusion_matrix(predictions(shipped, unseen_images), unseen_labels, 8))
assert mine.miou < theirs.miou < ceiling.miou
plots.show(
    plots.grouped_bars(
        {
            name: {"your minute": 100 * a, "nano": 100 * b, "true labels through H/4": 100 * c}
            for name, a, b, c in zip(CLASSES, mine.iou, theirs.iou, ceiling.iou, strict=True)
        },
        "IoU, %",
        "More time goes where the minute fell short",
    ),
    alt="For each class three bars: this lesson's model, the shipped nano, and the ceiling. Nano "
    "is ahead everywhere, most for persons and poles.",
)

# %% [markdown]
# *Look at the small classes.* They gain most, and are still furthest from the ceiling. (Nano was trained at 128×128. At that size, and at twice that, it scores higher, as its card says: what is thin is then wider.)
#
# Between your minute and nano lies a **ten-minute recipe**: nano's shape, 96×96, {{ten_steps}} steps on three times as many scenes, which are resized and recoloured at random, and an average of the weights that follows the run. It reached {{ten_miou}} on the same {{unseen_scenes}} scenes, in {{ten_minutes}} minutes on two cores, drawing included: `python -m experiments.training ten`. One seed.
#
# ## 10 · Can it learn a class that it has never seen?
#
# Somebody puts traffic cones on the road. Neither nano nor its training data know any. To train anew would cost all that again; **fine-tuning** keeps what has been learned, and adds to it.
#
# First the data: cones drawn onto the road of our scenes, smaller the further up they stand, with their pixels labelled as class 8.


# %%
def with_cones(image, labels, rng):
    """The scene with up to three traffic cones on its road, labelled 8."""
    rows, columns = np.nonzero(labels == CLASSES.index("road"))
    day, image, labels = image.max() / 255, Image.fromarray(image), Image.fromarray(labels)
    for i in sorted(rng.choice(len(rows), 3), key=lambda i: rows[i]):
        x, y, tall = columns[i], rows[i], 4 + 0.45 * (rows[i] - rows.min())
        cone = [(x - 0.3 * tall, y), (x + 0.3 * tall, y), (x, y - tall)]
        band = [(x - 0.18 * tall, y - 0.4 * tall), (x + 0.18 * tall, y - 0.4 * tall)]
        light = rng.uniform(0.5, 1) * day
        ImageDraw.Draw(image).polygon(cone, fill=tuple(int(light * c) for c in (240, 90, 20)))
        ImageDraw.Draw(image).line(band, fill=(230, 230, 230), width=max(1, int(tall / 8)))
        ImageDraw.Draw(labels).polygon(cone, fill=8)
    return np.array(image), np.array(labels)


class Cones(SegmentationDataset):
    """So many scenes with cones on the road."""

    class_names = (*CLASSES, "cone")

    def __init__(self, scenes):
        self.scenes = scenes

    def __len__(self):
        return len(self.scenes)

    def picture(self, index):
        return with_cones(*self.scenes.picture(index), np.random.default_rng(index))


# %%
cones, unseen_cones = Cones(Scenes(320, 96, seed=1)), Cones(Scenes(100, 96, seed=VALIDATION_SEED))
cone_images, cone_labels = in_memory(cones, workers=0, watch=with_bar)
test_images, test_labels = in_memory(unseen_cones, workers=0)
cone_photos = [unseen_cones.picture(i)[0] for i in range(6)]
plots.show(
    plots.label_rows(
        cone_photos[:2],
        {"labels": test_labels[:2].byte().numpy(),
         "nano": predictions(shipped, test_images[:2]).byte().numpy()},
        Cones.class_names,
        "What nano makes of things that it has no word for",
    ),  # fmt: skip
    alt="Two scenes with orange cones on the road, their labels with a ninth colour, and what nano "
    "says: it takes most of the cones for persons, two for a vehicle.",
)  # fmt: skip

# %% [markdown]
# *Look at the cones in the last column.* It has to call them something, and has eight words. Now give it a ninth. Only the classifier, the last 1×1 convolution, knows how many classes there are: its eight rows are kept, and a ninth is added.
#
# **Predict.** Which parts of the model have to change, to know a cone? The encoder, the decoder, or the classifier alone?

# %%
prediction = ...

# %%
config = shipped.config.replace(
    num_classes=9, class_names=Cones.class_names, drop_path_rate=0.0, decoder_dropout=0.0
)


def grown(seed=0):
    """Nano with a ninth row in its classifier, and all else as it was."""
    torch.manual_seed(seed)
    model = SegFormer(config)
    state = {**model.state_dict(), **shipped.state_dict()}
    for name in ("decoder.classifier.weight", "decoder.classifier.bias"):
        state[name] = torch.cat([shipped.state_dict()[name], model.state_dict()[name][8:]])
    model.load_state_dict(state)
    return model


nine = balanced_weights(cones)
tuned = grown()
run = training_steps(
    tuned, make_optimizer(tuned, 1e-3, head_lr_factor=5), cone_images, cone_labels, nine,
    steps=100, warmup_steps=10,
)  # fmt: skip
tuning = list(progress(run, "steps", 100))


# %%
def cone_scores(model):
    return scores(confusion_matrix(predictions(model, test_images), test_labels, 9))


after = cone_scores(tuned)
without_cones = scores(confusion_matrix(predictions(tuned, unseen_images), unseen_labels, 9))
assert after.iou[8] > 0.6
assert np.mean(without_cones.iou[:8]) > theirs.miou - 0.04
print("cones are found, and streets without any are hardly forgotten")

# %%
plots.show(
    plots.label_rows(
        cone_photos[2:5],
        {
            "labels": test_labels[2:5].byte().numpy(),
            "after 100 steps": predictions(tuned, test_images[2:5]).byte().numpy(),
        },
        Cones.class_names,
        "A hundred steps later it has the word",
    ),  # fmt: skip
    alt="Three unseen scenes with cones, their labels and the fine-tuned model's answer: cones "
    "have their own class now, and most of the street around them is right.",
)

# %% [markdown]
# In a hundred steps, and `320` scenes. Would a fresh model have learned as much in them? And would it have been enough to train the classifier alone? Both get the minute's rate, `8e-3`, where all of nano had a gentler one.


# %%
def after_tuning(model, learning_rate, frozen=False):
    if frozen:
        model.requires_grad_(False)
        model.decoder.classifier.requires_grad_(True)
    optimizer = make_optimizer(model, learning_rate)
    run = training_steps(
        model, optimizer, cone_images, cone_labels, nine, steps=100, warmup_steps=10
    )
    list(progress(run, "steps", 100))
    return cone_scores(model)


torch.manual_seed(0)
from_scratch = after_tuning(SegFormer(config), 8e-3)
classifier_only = after_tuning(grown(), 8e-3, frozen=True)
assert from_scratch.miou < after.miou and classifier_only.iou[8] < after.iou[8]

# %%
plots.show(
    plots.grouped_bars(
        {
            name: {"from scratch": 100 * a, "classifier only": 100 * b, "all of nano": 100 * c}
            for name, a, b, c in zip(
                Cones.class_names, from_scratch.iou, classifier_only.iou, after.iou, strict=True
            )
        },
        "IoU, %",
        "From scratch no street, with the classifier alone fewer cones",
    ),
    alt="IoU of nine classes for three ways to spend a hundred steps. From scratch all classes are "
    "behind but the cones. The classifier alone keeps up with all of nano on most classes, and is "
    "behind on cones and persons.",
)

# %% [markdown]
# *Look at the ninth class, then at the others.* Cones alone can be learned from scratch: nothing else in a street has that orange. The street cannot, not in a hundred steps. With the classifier alone, the model can only recombine the features that it has: they go a good part of the way, though nobody asked them for cones. Training all of it, gently and with the head faster, goes further and keeps nearly all of the old. The paper's models are made so too: their encoders were trained on ImageNet-1K first, their decoders start from random numbers (arXiv:2105.15203, Section 4.1).
#
# Your own photographs go the same way: `segformer_edu.data.folder.Folder` reads images and masks from two folders, and `python -m segformer_edu train --data folder --weights nano` trains on them.
#
# ## Play
#
# A saved run, the first of section 8: what it said of six unseen scenes at twelve moments, its curves and its classes. Both sliders answer to the arrow keys.

# %%
widgets.TrainingRun()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Three fifths of the pixels, and more, are right after {{three_fifths_step}} steps. By then {{hardly_known}} have an IoU of almost nothing: accuracy was well on its way without them.
#
# At the end scene {{worst_scene}} is worst, a street at night. Most wrong pixels of scene 1 are lines along borders; there they are whole things, the sign and the vehicle among them.
#
# </details>
#
# ## Break it
#
# This is how a widely used library computes the loss of a *binary* model, one logit a pixel: the SegFormer of Hugging Face transformers ([modeling_segformer.py, since pull request 20279](https://github.com/huggingface/transformers/pull/20279)), in our words. Ignored pixels are masked out.


# %%
def binary_loss_with_a_bug(logits, labels, ignore_index=255):  # (B, H, W) both
    valid = (labels != ignore_index).float()
    loss = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    return (loss * valid).mean()


def binary_loss(logits, labels, ignore_index=255):
    return segmentation_loss(logits[:, None], labels, ignore_index)  # one class: binary


torch.manual_seed(0)
pixel_logits, pixel_labels = torch.randn(2, 64, 64), torch.randint(0, 2, (2, 64, 64))
for loss_of in (binary_loss, binary_loss_with_a_bug):
    print(f"{loss_of(pixel_logits, pixel_labels):.4f}", loss_of.__name__)

# %% [markdown]
# They agree, and nothing is ignored. Here is an instrument: **pad the pictures with a margin that does not count.** Pixels that do not count must not change anything.
#
# **Predict.** The margin makes the picture twice as wide and twice as high. What should happen to the loss, and what will?

# %%
prediction = ...

# %%
wide_logits = F.pad(pixel_logits, (32, 32, 32, 32))
wide_labels = F.pad(pixel_labels, (32, 32, 32, 32), value=255)
for loss_of in (binary_loss, binary_loss_with_a_bug):
    print(f"{loss_of(wide_logits, wide_labels):.4f}", loss_of.__name__)

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# The masked losses are zero, and rightly so; but `mean` divides by *all* pixels, also by those that were masked. With three quarters ignored, loss and gradient are a quarter of what they should be.
#
# The mend is to divide by what counts: `(loss * valid).sum() / valid.sum()`, and to refuse a batch in which nothing does.
#
# Why is it not noticed? Adam divides each gradient by its usual size, so a factor that is always the same does nothing. It does something where it varies: a batch of pictures with little margin then counts more than one with much, and curves of two data sets cannot be compared. And with another optimizer it is a learning rate that depends on the padding.
#
# What would have caught it: a test that pads. *What does not count must not change anything.*
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("08.1")` gives a hint, and another one each time you ask; `solution("08.1")` the answer.
#
# ### Exercise 08.1 ★ 4 minutes · mIoU with a pencil
#
# `true = [[0, 0, 1], [0, 1, 1], [2, 2, 255]]`, `said = [[0, 1, 1], [0, 1, 1], [2, 0, 0]]`; `255` is ignored, and there is a class 3 of which there is no trace. What is the mIoU?

# %%
miou_by_hand = ...
check("08.1", miou_by_hand)

# %% [markdown]
# ### Exercise 08.2 ★ 5 minutes · IoU from a confusion matrix
#
# The matrix is `(K, K)`, a row for each true class. Return the K IoUs; nan, which is what 0/0 gives, for a class that neither knows.


# %%
def iou_of_classes(matrix):
    return ...


check("08.2", iou_of_classes)

# %% [markdown]
# ### Exercise 08.3 ★★ 8 minutes · A loss that leaves pixels out
#
# The mean cross-entropy over the pixels that count. Logits are `(B, K, H, W)`, labels `(B, H, W)` at the same size. Pixels labelled `255` do not count. Write it without `F.cross_entropy`.


# %%
def masked_cross_entropy(logits, labels):
    return ...


check("08.3", masked_cross_entropy)

# %% [markdown]
# ### Exercise 08.4 ★★ 8 minutes · The schedule of the reference recipe
#
# The share of the full learning rate at a step: poly, (1 − step/steps)^power, over the whole of training. During the first `warmup_steps` it is multiplied by a factor that rises in a line from `ratio` at step 0 to 1 at step `warmup_steps`.


# %%
def rate_share(step, steps, warmup_steps, ratio, power):
    return ...


check("08.4", rate_share)

# %% [markdown]
# ### Exercise 08.5 ★★ 8 minutes · What decays?
#
# The names, in the model's own order, of the parameters that weight decay should pull on: matrices and kernels, and no biases or norms. Take any `nn.Module`.


# %%
def decayed(model):
    return ...


check("08.5", decayed)

# %% [markdown]
# ### Exercise 08.6 ★★ 8 minutes · Weights of classes
#
# 1/√frequency, with a mean of 1, from labels of any shape. `255` is no class. Each class occurs.


# %%
def weights_of(labels, num_classes):
    return ...


check("08.6", weights_of)

# %% [markdown]
# ### Exercise 08.7 ★★★ 12 minutes · AdamW by hand
#
# One step for a single weight tensor, as section 5 describes it, with ε = `1e-8`. `mean` and `square` are the averages so far, zero before the first step; `step` counts from 1. They are too small at first: correct both for the step, and return the new weight and the two new averages without the correction. The decay pulls on the weight itself, by learning rate times decay.


# %%
def adamw_step(weight, gradient, mean, square, step, learning_rate, decay):
    return ...


check("08.7", adamw_step)

# %% [markdown]
# ## Recap
#
# - The loss is cross-entropy at every pixel that counts, on logits brought to full size. Ignored pixels count neither above the fraction bar nor below it.
# - Pixel accuracy lets the large classes speak; mIoU gives each class one voice. Counts are summed over the data set first, and divided once.
# - Adam gives every weight the same pace. On its first step it knows only signs, so the rate is warmed up.
# - An output at H/4 has a ceiling that can be measured before any training.
# - Seeds differ. What gains less than they do has gained nothing that you could know of.
# - A trained model learns a new class in a hundred steps, if all of it may move a little.
#
# **Can you answer without scrolling up?**
#
# 1. A class is found completely, and its IoU is 1/2. How?
# 2. Why is the first loss of our model higher than that of one that guesses evenly?
# 3. How far does Adam's first step move a weight?
# 4. A model has {{blind_accuracy}} pixel accuracy. What would you ask?
# 5. You add ignored pixels to every picture, and the loss falls. What is wrong?
#
# <details><summary>Answers</summary>
#
# 1. It was called in as many other places again: the union is twice the intersection.
# 2. Its random logits are far apart, so that it is sure of classes at random, and pays for being sure and wrong.
# 3. By the learning rate, whatever the gradient, since it is divided by its own size.
# 4. The IoU of each class. Persons and poles together have no more pixels than are wrong.
# 5. The sum is divided by all pixels, where it should be by those that count.
#
# </details>
#
# > **Where paper, code and posts differ**
# >
# > - *The recipe.* For ADE20K: crops of 512×512, random scale 0.5 to 2, flips, batch 16, 160 thousand iterations, AdamW with a learning rate of 6e-5 and a poly schedule of power 1 (arXiv:2105.15203, Section 4.1). Ours: 96×96, flips alone, batch 16, {{minute_steps}} steps, 8e-3. The rate is more than a hundred times higher since nothing is pretrained, the model small and the time short.
# > - *What the paper leaves to the code.* Released configs warm up over 1500 iterations, decay by 0.01 but not norms, and let the head learn at ten times the rate ([local_configs, README of the repository](https://github.com/NVlabs/SegFormer)). The factor 10 makes sense where the encoder is pretrained and the head is not. From scratch both begin with random numbers, and our factor is 1; in section 10 it was 5.
# > - *"Poly" in the paper has a default factor of 1* (arXiv:2105.15203, Section 4.1). That is a straight line; 0.9, which many configs of older models have, is nearly one.
# > - *Class weights.* The paper says that it uses neither OHEM nor auxiliary losses nor class balance loss (arXiv:2105.15203, Section 4.1). Ours weighs them, and gains little: in one run without weights (seed 0; put `None` in the place of `class_weights`) mIoU came out level, and the IoU of persons lower.
# > - *Mean of what.* mIoU of the data set comes from summed counts. Code that averages over batches or pictures is common ([here](https://github.com/yassouali/pytorch-segmentation/issues/58) both are discussed), and gives other numbers.
# > - *Luck.* "Training of SegFormer is not very stable, which is sensitive to random seeds", says another implementation's readme ([mmsegmentation](https://github.com/open-mmlab/mmsegmentation/pull/1707)).
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 4.1. D. Kingma and J. Ba, *Adam*, [arXiv:1412.6980](https://arxiv.org/abs/1412.6980). I. Loshchilov and F. Hutter, *Decoupled weight decay regularization*, [arXiv:1711.05101](https://arxiv.org/abs/1711.05101). P. Jaccard, *The distribution of the flora in the alpine zone*, [New Phytologist 1912](https://doi.org/10.1111/j.1469-8137.1912.tb05611.x).
#
# **Next:** lesson 09. The model works; what does it look at?
