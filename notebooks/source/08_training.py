# %% [markdown]
# # Lesson 08 · Can it learn in a minute?
#
# Lesson 07 ended with a whole SegFormer whose weights came from elsewhere. Now you make your own. A small model begins with random numbers, and about a minute later it finds most of the sky, the buildings and the road in streets that it has never seen.
#
# **After this lesson you will be able to**
#
# - say what the loss of a segmentation is, pixel by pixel, and what `ignore_index` does to it;
# - compute IoU and mIoU by hand, and say why pixel accuracy flatters;
# - say what AdamW divides by, and what a warm-up is for;
# - write the training loop, run it, read its curves, and tell a gain from luck;
# - (*further*) say what the small output could cost, and teach a trained model a new class.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip what is *further*. The cells compute for about two minutes. **You need** lesson 07. No GPU.

# %%
import itertools
import json
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import SegFormer, SegFormerConfig, plots, segmentation_loss, widgets
from segformer_edu.analysis.map_contents import near_a_border
from segformer_edu.data.cones import Cones
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.decoder import AllMLPDecoder
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.files import experiments_folder
from segformer_edu.training import balanced_weights, confusion_matrix, make_optimizer, scores
from segformer_edu.training.minute import batches, in_memory, some_flipped
from segformer_edu.training.optimizer import set_learning_rate
from segformer_edu.training.pictures import VALIDATION_SEED
from segformer_edu.widgets import progress

# %%
experiments = experiments_folder()
measured = json.loads((experiments / "training.json").read_text(encoding="utf-8"))

# %% [markdown]
# ## 1 · What is there to learn from?
#
# Labelled photographs are expensive, because somebody has to draw round every pole. So the package draws its own streets from a seed, and knows what each pixel is because it has painted it. There are eight classes, and some trouble of real streets: things hide each other, poles are thin, it rains or gets dark.

# %%
training, unseen = Scenes(2000, size=96, seed=0), Scenes(200, size=96, seed=VALIDATION_SEED)
some = [training.picture(i) for i in range(6)]
plots.show(
    plots.labelled_pictures(
        *zip(*some, strict=True), CLASSES, finding="Six streets, and what each pixel is"
    ),
    alt="Six small street scenes by day, at dusk and at night, each with a map of its labels "
    "below. Sky, buildings and road fill most of nearly every map; persons are small, and some "
    "poles are one or two pixels wide.",
)

# %% [markdown]
# *Look for the poles* (posts, lamps, signs, traffic lights), which are easier to find in the labels. The percentages are the classes' shares of these six. The {{unseen_scenes}} scenes on which we judge the model come from another seed, so it has met none of them.
#
# To count the pixels of persons and poles, we draw all scenes once and keep them in memory.

# %%
images, labels = in_memory(training, watch=lambda parts: progress(parts, "batches of 20 scenes"))
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
        "Persons are in most pictures, but have few of the pixels",
    ),
    alt="Two bars for each of eight classes. Sky, building, vegetation, road, sidewalk and vehicle "
    "are in at least 95 percent of the pictures, persons in 77, poles in 74. Buildings and road "
    "have 26 percent of the pixels each, persons 2 and poles 4.",
)

# %% [markdown]
# *Compare the two bars of a class.* Most classes are in nearly every picture, and persons and poles are in about three of four. But for each pixel of a person there are eleven of road. This matters for what the model should minimise, and for how we say how good it is.
#
# ## 2 · What is a wrong pixel worth?
#
# For each pixel the model gives eight numbers, one for each class, its logits. The loss is the **cross-entropy** that you know from classifying images, taken at every pixel: minus the logarithm of the probability that the softmax gives to the right class. The logits come at a quarter of the size, so they are first enlarged to the size of the labels (lesson 07). Shrinking the labels instead would lose what is thin.
#
# Our model has the widths of the package's `nano`, but one block a stage, and it drops nothing.


# %%
def fresh(seed):
    torch.manual_seed(seed)
    return SegFormer(
        SegFormerConfig.named("nano", depths=(1, 1, 1, 1), drop_path_rate=0.0, decoder_dropout=0.0)
    )


model = fresh(0)
x, y = images[:16], labels[:16]
logits = model(x)  # (16, 8, 24, 24)
parameters = sum(weight.numel() for weight in model.parameters())
print(tuple(logits.shape), f"{parameters:,} parameters")

# %%
wide = F.interpolate(logits, size=(96, 96), mode="bilinear")  # (16, 8, 96, 96)
log_probability = wide.log_softmax(dim=1)
of_right_class = log_probability.gather(1, y[:, None])[:, 0]  # at each pixel its class's entry
by_hand = -of_right_class.mean()
assert torch.allclose(by_hand, segmentation_loss(logits, y), rtol=1e-5)
print("the mean over", f"{of_right_class.numel():,}", "pixels is the package's loss")

# %% [markdown]
# **Predict.** The weights are random, so the model knows nothing. If it said so, it would give each of the eight classes the probability 1/8. What would its loss be? And is ours higher, lower, or the same?

# %%
prediction = ...  # a loss, and how ours compares: such as (1.0, "lower")

# %%
knows_nothing = math.log(8)
print(f"knows nothing and says so: {knows_nothing:.1f}")
print(f"ours: about {by_hand.item():.0f}")
compare(prediction, (round(knows_nothing, 1), "higher" if by_hand > knows_nothing else "lower"))

# %% [markdown]
# Ours knows nothing and does not say so. Its random logits lie far apart, so it is often confident of a wrong class, and the logarithm punishes that hard. So a first loss above ln K is no sign of wrong labels. (With a hundredth of its classifier's weights it begins close to ln 8.)
#
# ### What is ignore_index for?
#
# Some pixels have no label, for example the margin that a crop left empty, or a border that two people drew differently. They get a number that is no class, by habit `255`, and the loss leaves them out. *Background* is something else: a class with a logit of its own, which the model is asked to find.
#
# To see what that means, we ignore the left half of every picture.

# %%
half = y.clone()
half[:, :, :48] = 255
loss = segmentation_loss(wide, half)
assert torch.allclose(loss, segmentation_loss(wide[..., 48:], y[..., 48:]))  # of the right half
(gradient,) = torch.autograd.grad(loss, wide)
learning = gradient.abs().sum(dim=(0, 1, 2)).nonzero()  # columns with any gradient
print(f"columns that learn: {learning.min()} to {learning.max()}")

# %% [markdown]
# No gradient comes from an ignored pixel, so the model may say anything there. It still sees the pixel, as surroundings of others. If you ignore a whole class, its logit stays in the softmax of all other pixels. So training pushes that logit down, and the pixels of the class get other names.
#
# So the loss is a mean over the pixels that *count*.
#
# ### And if no pixel counts? · *further*
#
# All crops of a batch may lack labels.

# %%
nothing = torch.full_like(y, 255)
print("PyTorch:", F.cross_entropy(wide, nothing, ignore_index=255).item())
try:
    segmentation_loss(wide, nothing)
except ValueError as error:
    print("the package:", error)

# %% [markdown]
# A mean over nothing is 0/0. PyTorch's loss is then `nan`, and so is every average that it enters, although its gradient is zero. If you multiply by a mask and divide by its sum, the gradient is `nan` too, and after one step so are the weights. The package refuses such a batch.
#
# ### Should all pixels count the same?
#
# In a plain mean, eleven pixels of road outvote one of a person. So the package weighs a class by 1/√frequency, and divides by the sum of the weights instead of the number of pixels.

# %%
class_weights = balanced_weights(training)
for name, weight in zip(CLASSES, class_weights, strict=True):
    print(f"{name:<11} {weight:.1f}")

# %% [markdown]
# This helps in short runs, but little over a minute (section 8, *further*).
#
# ## 3 · What is a segmentation worth?
#
# The first idea is the share of pixels that are right, the **pixel accuracy**. Here is a picture of 3×3 pixels: sky, a road, and a pole two pixels high.

# %%
true = torch.tensor([[0, 0, 2], [0, 0, 2], [1, 1, 1]])  # 0 sky, 1 road, 2 pole
said = torch.tensor([[0, 0, 0], [0, 0, 0], [1, 1, 1]])
print(f"pixel accuracy {(said == true).sum()}/{true.numel()}")

# %% [markdown]
# Seven of nine pixels are right, although the pole was not seen at all.
#
# **IoU**, intersection over union (or *Jaccard index*), takes one class at a time. Of all pixels that *are* this class or *were called* it, how many are both? **mIoU** is the mean over the classes, so each class counts the same, however few its pixels are.
#
# **Predict.** Work out the three IoUs and their mean with a pencil.

# %%
prediction = ...  # sky, road, pole, mean, not reduced: such as ("3/6", "1/4", "2/4", "3/9")

# %%
matrix = confusion_matrix(said, true, num_classes=3)
union = matrix.sum(dim=0) + matrix.sum(dim=1) - matrix.diagonal()
ious = [f"{both}/{either}" for both, either in zip(matrix.diagonal(), union, strict=True)]
print(matrix.tolist())
print("IoU", ious)
compare(prediction, (*ious, "5/9"))

# %% [markdown]
# The mean of 4/6, 3/3 and 0/2 is 5/9. Look at the sky: each of its pixels was found, and still its IoU is not 1, because the pole was called sky too. IoU counts both what is missed and what is invented.
#
# The cell counts with a **confusion matrix**, which has a row for what a pixel is and a column for what it was called. Agreement lies on the diagonal. The union is row plus column, less the diagonal, which would be counted twice.
#
# ### What does IoU become where pixels are ignored? · *further*
#
# Suppose that a model calls *everything* a pole. We score it with all labels, and with those of the pole alone.

# %%
everywhere = torch.full_like(true, 2)
for kind, given in {"all labels": true, "only the pole": true.where(true == 2, 255)}.items():
    print(f"{kind}: IoU of the pole {scores(confusion_matrix(everywhere, given, 3)).iou[2]:.2f}")

# %% [markdown]
# Where everything else is ignored, nobody counts the poles that were invented. IoU has turned into *recall*, the share of true pole pixels that were found. So do not label the background `255` to get a mean without it. Keep its pixels in the matrix, and leave its IoU out of the mean.
#
# ### Why pixel accuracy flatters
#
# **Predict.** Somebody sells you a model of streets that is never wrong, except that it calls every person and every pole a building. What are its pixel accuracy and its mIoU on our unseen scenes?

# %%
prediction = ...  # two percentages, such as (50, 50)

# %%
blind = unseen_labels.clone()
blind[(blind == CLASSES.index("person")) | (blind == CLASSES.index("pole"))] = 1  # building
found = scores(confusion_matrix(blind, unseen_labels, 8))
print(f"pixel accuracy {found.pixel_accuracy:.0%}, mIoU {found.miou:.0%}")
compare(prediction, (round(100 * found.pixel_accuracy), round(100 * found.miou)))

# %% [markdown]
# A car that is blind to people would pass with distinction. mIoU notices, because two of its eight numbers are zero. Two rules keep mIoU honest:
#
# - **Sum first, divide once.** Add up the confusion matrices of all pictures, and compute the IoUs from the sum. The mean of the pictures' (or batches') mIoUs is another number, which depends on which classes happen to appear together. Ask a library which it reports.
# - **Leave out 0/0.** A class that is neither there nor called has no IoU, and no place in the mean. (One that is called and not there has IoU 0.)

# %%
each = [scores(confusion_matrix(a, b, 8)).miou for a, b in zip(blind, unseen_labels, strict=True)]
print(f"sum first: {found.miou:.2f}; mean of the pictures' mIoUs: {np.mean(each):.2f}")

# %% [markdown]
# ## 4 · What does a quarter of the size cost? · *further*
#
# The decoder answers at a quarter of the size (H/4), and a pole may be one pixel wide. As in lesson 06, we give each token the **shares** of the classes under it, enlarge them, and take the largest. Then we *fit* a score for each token and class to the true labels, through the same enlarging and with the loss of section 2.

# %%
one_hot = F.one_hot(unseen_labels, 8).permute(0, 3, 1, 2).float()  # (200, 8, 96, 96)
shares = F.avg_pool2d(one_hot, 4)  # (200, 8, 24, 24)
fitted = (shares + 0.01).log().requires_grad_()
optimizer = torch.optim.SGD([fitted], lr=0.25, momentum=0.9, nesterov=True)
for _ in progress(range(30), "steps"):
    optimizer.zero_grad()
    (segmentation_loss(fitted, unseen_labels) * unseen_labels.numel()).backward()
    optimizer.step()


# %%
def given_back(maps):
    return F.interpolate(maps.detach(), size=(96, 96), mode="bilinear").argmax(dim=1)


through = {"shares": given_back(shares), "fitted scores": given_back(fitted)}
for kind, back in through.items():
    found = scores(confusion_matrix(back, unseen_labels, 8))
    print(f"{kind:<13} mIoU {found.miou:.0%}, persons {found.iou[6]:.0%}, poles {found.iou[7]:.0%}")

# %%
plots.show(
    plots.label_rows(
        [unseen.picture(i)[0] for i in (2, 3)],
        {
            "true labels": unseen_labels[2:4].byte().numpy(),
            **{f"through {kind}": back[2:4].byte().numpy() for kind, back in through.items()},
        },
        CLASSES,
        "Shares break what is thin; fitted scores keep more of it",
    ),
    alt="Two scenes with their labels, as they come back from shares and from fitted scores on a "
    "quarter of the size. Shares lose the post of a thin lamp, and feet and hands; fitted scores "
    "keep most of it, but not the foot of the post, nor hands.",
)

# %% [markdown]
# *Compare the last two columns with the labels.* Fitted scores bring back most of what shares lose, but of persons only half, and longer fits add little. So a map of this size can express nearly all, persons least. But these scores know the true labels, so they do not say what a model loses that has to guess them.
#
# ## 5 · Which way is down?
#
# The gradient says for every weight whether a little more or a little less of it lowers the loss. It does not say how long the step should be. Look at three of the {{tensors}} weight tensors: the last layer, the one before it, and the first queries.

# %%
loss = segmentation_loss(model.train()(x), y, class_weights=class_weights)
loss.backward()
attention = "encoder.stages.0.blocks.0.attention.query.weight"
for name in ("decoder.classifier.weight", "decoder.fuse.weight", attention):
    size = model.get_parameter(name).grad.square().mean().sqrt()
    print(f"{name:<50} about 10^{math.log10(size):.0f}")

# %% [markdown]
# Before the first step, a weight of the classifier has a gradient thousands of times as large as one of the queries. (After fifty steps the ratio is far smaller.) Gradient descent steps in proportion to that, so at first the queries hardly move, or the classifier leaps.
#
# **Adam** ([Kingma and Ba 2014](https://arxiv.org/abs/1412.6980)) keeps two running averages for each weight, of its gradient $g$ and of the gradient's square:
#
# $$m \leftarrow 0.9\,m + 0.1\,g \qquad v \leftarrow 0.999\,v + 0.001\,g^2 \qquad w \leftarrow w - \text{learning rate} \cdot \frac{\hat m}{\sqrt{\hat v} + \varepsilon}$$
#
# Both begin at zero, so they are too small at first. That is why $\hat m = m / (1 - 0.9^\text{step})$ and $\hat v = v / (1 - 0.999^\text{step})$ are used. (ε prevents a division by zero.) So each step is divided by the usual size of that weight's gradient, $\sqrt{\hat v}$. A gradient that stays the same moves its weight by the learning rate at each step, however large it is, and one that keeps changing its sign moves it far less. **AdamW** ([Loshchilov and Hutter 2017](https://arxiv.org/abs/1711.05101)) adds *weight decay*, a pull towards zero that does not go through the division.
#
# **Predict.** On the first step both averages hold one gradient. With a learning rate of `0.008`, how far does a weight move whose gradient is `0.1`? And one whose gradient is `0.00001`?

# %%
prediction = ...  # two lengths, such as (0.5, 0.25)

# %%
two = torch.zeros(2, requires_grad=True)
two.grad = torch.tensor([0.1, 0.00001])
torch.optim.AdamW([two], lr=0.008).step()
print("moved", [round(abs(weight), 3) for weight in two.tolist()])
compare(prediction, tuple(round(abs(weight), 3) for weight in two.tolist()))

# %% [markdown]
# Both move by the whole learning rate, because g is divided by |g|: on its first step Adam knows only the *sign* of a gradient. The same happens in the model. `make_optimizer` gives us AdamW, without decay for norms and biases.

# %%
optimizer = make_optimizer(model, learning_rate=8e-3)  # this rate was found by trying
before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
optimizer.step()
for name in ("decoder.classifier.weight", "decoder.fuse.weight", attention):
    moved = (model.get_parameter(name) - before[name]).abs().median()
    print(f"{name:<50} median step {moved:.4f}, standard deviation {before[name].std():.2f}")

# %% [markdown]
# A single batch has moved the queries by two fifths of their size. That is a reason for a **warm-up**: the rate is multiplied by a line that rises to 1 over the first steps, while the averages rest on few gradients. It is also multiplied by a second line, which falls from 1 almost to 0 over the whole of training ("poly", with power 1), so that the last steps are short, and the noise of single batches moves the weights less.


# %% tags=["mirror"]
# segformer_edu.training.optimizer.learning_rate_factor

# %% [markdown]
# ### What else does make_optimizer do? · *further*
#
# It can let the decoder learn faster (section 10), and decides by shape what decays: not norms and biases, which have one axis. (By names such as `norm`, as in the released recipe, other biases decay, and so would a norm called `bn`. By shape a table of positions would, which SegFormer lacks.)


# %% tags=["mirror"]
# segformer_edu.training.optimizer.make_optimizer

# %% [markdown]
# Five vectors of biases are not trained at all, those of the four projections and of the last norm, because BatchNorm subtracts them again. Their gradient is nothing but rounding errors, which Adam would turn into full steps.

# %%
kept = sum(x.numel() for state in optimizer.state.values() for x in state.values() if x.ndim)
print(f"AdamW keeps {kept / parameters:.1f} numbers for each weight")

# %% [markdown]
# So a training checkpoint is about three times as large as its weights. To *use* a model, weights and BatchNorm's averages are enough. But to *go on training* you need Adam's averages and the step, or it begins anew and knows only signs.
#
# ### And without Adam, or without a warm-up? · *further*
#
# `python -m experiments.training optimizers` measured this in short runs, {{few_steps}} steps on scenes of 64×64. SGD is gradient descent with momentum, at the best of four learning rates.

# %%
compared = measured["optimizers"]["rows"]
kinds = {
    "AdamW, warm-up": [row for row in compared if row["warm-up"] and row["optimizer"] == "AdamW"],
    "AdamW, no warm-up": [row for row in compared if not row["warm-up"]],
    "SGD, warm-up": sorted(compared, key=lambda row: (row["optimizer"], row["miou"]))[-1:],
}  # fmt: skip
for kind, rows in kinds.items():
    print(f"{kind:<17} mIoU", ", ".join(f"{row['miou']:.2f}" for row in rows))

# %%
falling = {kind: np.mean([row["losses"] for row in rows], axis=0) for kind, rows in kinds.items()}
plots.show(
    plots.step_curves(
        {"loss, mean of 20 steps": {k: (range(1, 201), losses) for k, losses in falling.items()}},
        finding="One run of SGD ends above the means of six of AdamW",
        smooth=20,
    ),
    alt="The loss over two hundred steps, for AdamW a mean of six runs. Without warm-up it falls "
    "faster at first, and from step 100 on the curve with warm-up is slightly lower. In the second "
    "half SGD lies above both.",
)

# %% [markdown]
# SGD's best learning rate is {{sgd_over_adam}} times AdamW's. (AdamW's was not searched here.) Its one run lies below all six of AdamW with warm-up.
#
# Without a warm-up the loss falls *faster* at first, for the steps are longer. But with it each of the six seeds ends better, by {{warmup_gain}} mIoU on average (± standard error).
#
# ## 6 · The loop
#
# The loop needs two more parts. `batches` chooses pictures in a random order, each of them once before any comes twice. `some_flipped` mirrors about half of a batch, labels included, because a street in a mirror is still a street. Read the loop aloud: choose pictures, set the rate, ask for the loss, find the gradient, shorten it if it is longer than 1, step, and forget the gradient, which would otherwise be added to the next.


# %% tags=["mirror"]
# segformer_edu.training.minute.training_steps

# %% [markdown]
# `yield` makes the loop a generator, which trains only as far as somebody asks for the next loss. So we can take the minute in parts, and look at the model in between. (`python -m segformer_edu train --out run --config experiments/minute.yaml` has this recipe, with checkpoints, validation, a log, several GPUs.)


# %% tags=["mirror"]
# segformer_edu.training.minute.predictions

# %% [markdown]
# `predictions` needs two switches. `eval()` stops dropout and drop path and lets BatchNorm use its running averages; `no_grad()` keeps nothing for a gradient, which saves memory.
#
# Now we train. `train_to` goes on to a step, and notes what the model then says of the unseen scenes.

# %%
STEPS = 1000  # of the minute
model = fresh(0)
run = training_steps(model, make_optimizer(model, 8e-3), images, labels, class_weights, steps=STEPS)
losses, said = [], {0: predictions(model, unseen_images)}


def train_to(step):
    more = step - len(losses)
    losses.extend(progress(itertools.islice(run, more), "steps", more))
    said[step] = predictions(model, unseen_images)


# %%
for step in (25, 100, 250):
    train_to(step)

# %% [markdown]
# While it computes: which class will it know first, and which last?

# %%
train_to(550)

# %%
train_to(850)

# %%
train_to(STEPS)
found = {step: scores(confusion_matrix(each, unseen_labels, 8)) for step, each in said.items()}
assert found[STEPS].miou > 0.67
print(f"mIoU {found[STEPS].miou:.1f}")

# %% [markdown]
# So it can: from random numbers to an mIoU above two thirds, on streets that it has not seen.

# %%
photos, truth = [unseen.picture(i)[0] for i in range(200)], unseen_labels.byte().numpy()
rows = [0, 3, 8]
columns = {f"{n} steps": said[n][rows].byte().numpy() for n in (0, 25, 100, 250, STEPS)}
columns["labels"] = truth[rows]
finding = "First what is large, then things, then their edges"
plots.show(
    plots.label_rows([photos[i] for i in rows], columns, CLASSES, finding),
    alt="Three unseen scenes, what the model says of them after 0, 25, 100, 250 and 1000 steps, "
    "and their labels. From noise it goes to bands, with road below and too much vehicle above "
    "it, then to blots of trees, vehicles and persons, some of them where none is. Of the sign "
    "there is nothing at 100 steps, and a blot at 250. At last there are shapes with outlines.",
)

# %% [markdown]
# *Follow one row from left to right.* After 25 steps the model has found what is large: road below, building and sky above. (The band of vehicle between them is a guess, about twice as large as all vehicles.) Things come later, first as blots. So the sky is known first. After a hundred steps poles are known least, but later persons.

# %%
at = list(found)
plots.show(
    plots.step_curves(
        {
            "loss, mean of 20 steps": {"loss": (list(range(1, STEPS + 1)), losses)},
            "on unseen scenes": {
                "mIoU": (at, [found[step].miou for step in at]),
                "pixel accuracy": (at, [found[step].pixel_accuracy for step in at]),
            },
        },
        finding="Pixel accuracy is ahead, and both climb to the end",
        smooth=20,
    ),
    alt="Left, the loss: steep at first, then ever flatter. Right, pixel accuracy and mIoU at "
    "seven moments. After 100 steps accuracy has about four fifths of its last value and mIoU "
    "three fifths. Both still rise at the end.",
)

# %% [markdown]
# *Compare the two curves on the right.* After a tenth of the steps pixel accuracy has about four fifths of what it will get, and mIoU three fifths. About seven tenths of what mIoU gains later come from the four smallest classes, which have a fifth of the pixels.
#
# ### How are pictures chosen and turned? · *further*
#
# If only the picture were mirrored, the labels would be wrong for about half of the pictures. So we check a picture whose pixels are their labels.

# %%
order = batches(5, 2, torch.Generator().manual_seed(0))
print("five pictures in twos, then again:", [next(order).tolist() for _ in range(6)])
row = torch.arange(4.0).expand(1, 3, 1, 4), torch.arange(4).expand(1, 1, 4)
flips = [some_flipped(*row, torch.Generator().manual_seed(seed)) for seed in range(20)]
assert all(torch.equal(image[:, 0].long(), label) for image, label in flips)
print("image and labels are always mirrored together")


# %% tags=["mirror"]
# segformer_edu.training.minute.batches


# %% tags=["mirror"]
# segformer_edu.training.minute.some_flipped

# %% [markdown]
# ### What does clip_grad_norm_ do? · *further*
#
# It is often called a guard against a rare bad batch, whose step it does shorten. But in six short runs (section 5) it cut {{cut_first}} of the first fifty gradients and {{cut_later}} of the rest. So many cuts make Adam's later steps longer, because without them its average of squares would remember the long early gradients.
#
# ### What do eval() and no_grad() do? · *further*
#
# We try them one at a time, on a model with dropout.

# %%
shaky = SegFormer(SegFormerConfig.named("nano"))  # drop path and dropout at 0.1
averages = shaky.decoder.norm.running_mean.clone()
with torch.no_grad():
    twice = shaky.train()(x), shaky.train()(x)
print("no_grad() alone: the same twice", torch.equal(*twice), end=", ")
print("averages moved", not torch.equal(averages, shaky.decoder.norm.running_mean))
twice = shaky.eval()(x), shaky.eval()(x)
print("eval() alone: the same twice", torch.equal(*twice), end=", ")
print("gradients recorded", twice[0].requires_grad)

# %% [markdown]
# Without `eval()` the dropout stays on, so the answer changes from call to call. BatchNorm's averages move too, so the test changes the model that it tests. If a model does better without `eval()`, its averages do not fit: they are stale after few steps, or the pictures differ from those of training.
#
# ## 7 · What has it learned, and what not?

# %%
mine = found[STEPS]
plots.show(
    plots.grouped_bars(
        {
            name: {"% of all pixels": 100 * float(share), "IoU, %": 100 * iou}
            for name, iou, share in zip(CLASSES, mine.iou, of_pixels, strict=True)
        },
        "percent",
        "The rarest classes are known least",
    ),
    alt="For each class its share of the pixels and its IoU. Sky is known best, at about 90 "
    "percent, with 17 percent of the pixels. Persons and poles have 2 and 4 percent of the pixels, "
    "and the lowest IoUs, about 43, and a little over 50.",
)

# %%
order = sorted(range(8), key=lambda k: mine.iou[k])
print("worst two:", sorted(CLASSES[k] for k in order[:2]))
print("best:", CLASSES[order[-1]])

# %% [markdown]
# Persons and poles are rare, small and thin, and they are known least. The model calls them too often, perhaps because of the class weights (below, *further*).
#
# ### What is taken for what? · *further*
#
# We divide each row of the confusion matrix by its sum, and leave out the diagonal, so that the errors show.

# %%
matrix = confusion_matrix(said[STEPS], unseen_labels, 8).double()
shares = (matrix / matrix.sum(dim=1, keepdim=True)).fill_diagonal_(torch.nan)  # errors only
plots.show(
    plots.number_grid(
        shares.numpy(),
        CLASSES,
        CLASSES,
        "Missed persons are most often called road or sidewalk, poles building",
        "what it is",
        "what it was called",
    ),
    alt="A grid of eight by eight shares, one row for each true class, with an empty diagonal. "
    "Missed persons are called road or sidewalk more than anything else, missed poles building.",
)

# %% [markdown]
# *Read a row.* Its numbers add up to what was missed of a class. The rest was found, and is its recall. But a row does not show what was *invented*, for example road that was called person.

# %% tags=["nbval-ignore-output"]
invented, missed = (matrix.sum(dim=axis) - matrix.diagonal() for axis in (0, 1))
for k in order[:2]:
    assert invented[k] > missed[k]
    of_100 = 100 / matrix[k].sum()
    print(f"{CLASSES[k]}: of 100 pixels {of_100 * missed[k]:.0f} are missed,", end=" ")
    print(f"and {of_100 * invented[k]:.0f} elsewhere are invented")

# %% [markdown]
# So both are called too often. What is called person and is none is most often road.
#
# ### Where are the errors? · *further*
#
# **Predict.** What share of the wrong pixels has another class within two pixels?

# %%
prediction = ...  # a percentage, such as 50

# %%
near = near_a_border(unseen_labels)  # another class is within two pixels
errors = said[STEPS] != unseen_labels
quarters = round(4 * near[errors].double().mean().item())
print(f"near a border lie {near.double().mean():.0%} of all pixels,")
print(f"and of the wrong ones about {quarters} in 4")
compare(prediction, f"about {25 * quarters}")

# %% [markdown]
# So most wrong pixels lie along borders. But a mean hides its cases, so we look at the worst scenes.

# %%
worst = errors.flatten(1).double().mean(dim=1).argsort(descending=True)[:4].tolist()
missed = np.where(errors.numpy(), truth, 255)
plots.show(
    plots.label_rows(
        [photos[i] for i in worst],
        {
            "labels": truth[worst],
            "the model": said[STEPS][worst].byte().numpy(),
            "wrong, and what it is": missed[worst],
        },
        CLASSES,
        "In the four worst scenes whole regions are wrong",
    ),
    alt="The four scenes with the most wrong pixels: picture, labels, prediction, and the wrong "
    "pixels in the colour of what they are. Whole regions are wrong in them, not only borders.",
)

# %% [markdown]
# *Look at the last column.*
#
# ## 8 · Was that luck?
#
# One run proves little. `python -m experiments.training seeds` took the same minute from three random beginnings:

# %%
print(measured["seeds"]["machine"]["date"], measured["seeds"]["machine"]["processor"])
for row in measured["seeds"]["rows"]:
    print(
        f"seed {row['seed']}: mIoU {row['miou']:.3f}, pixel accuracy {row['pixel accuracy']:.3f}, "
        f"{row['seconds']:.0f} s"
    )

# %% [markdown]
# Their standard deviation is {{minute_spread}}. Both runs vary, so their difference varies √2 times as much. So on these scenes a gain below {{minute_trust}}, twice that of a difference, may well be luck, which rarely gives more. Three runs tell the spread only roughly, and which scenes were drawn is luck too. So repeat what you compare. (Yours was seed 0, but on another processor it may end elsewhere.)
#
# We also compare learning rates on scenes of this seed, so they are *validation* scenes, and may flatter what is chosen by them. The last score belongs on *test* scenes, which decided nothing.
#
# ### And on other scenes? · *further*

# %% tags=["nbval-ignore-output"]
others, other_labels = in_memory(Scenes(200, size=96, seed=2026))
elsewhere = scores(confusion_matrix(predictions(model, others), other_labels, 8))
assert abs(elsewhere.miou - mine.miou) < 0.03
print(f"mIoU {mine.miou:.3f} on the unseen scenes, {elsewhere.miou:.3f} on 200 others")

# %% [markdown]
# So our few choices flatter little here, if at all.
#
# ### Do the class weights help? · *further*
#
# In short runs mIoU is {{root_miou}} with the weights of section 2, {{equal_miou}} without, and {{inverse_miou}} with 1/frequency. Over the whole minute little of this is left ({{minute_root_miou}} and {{minute_equal_miou}}, on two machines). Persons still gain, and pixel accuracy pays for it ({{minute_root_accuracy}} instead of {{minute_equal_accuracy}}).
#
# Elsewhere you meet *balanced* (inverse frequency times a constant, which cancels in the mean), *median frequency* ([Eigen and Fergus 2014](https://arxiv.org/abs/1411.4734)), 1/ln(1.02 + frequency) ([ENet](https://arxiv.org/abs/1606.02147)) and *effective number* ([Cui and others 2019](https://arxiv.org/abs/1901.05555)).
#
# ### How large a batch, how high a rate? · *further*
#
# The learning rate says how long a step is, and the batch size how sure its direction. Each run sees {{grid_pictures}} pictures of 64×64.

# %%
cells = measured["grid"]["rows"]
rates = sorted({row["learning rate"] for row in cells})
sizes = sorted({row["batch size"] for row in cells})
table = {(row["batch size"], row["learning rate"]): row["miou"] for row in cells}
plots.show(
    plots.number_grid(
        np.array([[table[size, rate] for rate in rates] for size in sizes]),
        [f"batch {size}" for size in sizes],
        [f"{rate:g}" for rate in rates],
        "The smallest batches lead, at 0.002 and 0.008",
        column_label="learning rate",
    ),
    alt="mIoU, one seed each, of three batch sizes at the learning rates 0.002, 0.008 and 0.032. "
    "Batch 4 has 0.52, 0.55 and 0.50, batch 16 has 0.42, 0.49 and 0.50, and batch 64 has 0.35, "
    "0.38 and 0.34.",
)
for size in sizes:
    cost = [row["seconds"] for row in cells if row["batch size"] == size]
    print(f"batch {size:>2}: {np.mean(cost):.0f} s each")

# %% [markdown]
# Of two short runs, a gain below {{short_trust}} may well be luck. Batches of 64 are far behind, with a sixteenth of the steps of those of 4. Batches of 4 lead those of 16 at the two lower rates, but took twice as long. Batches of 4 and 64 do best at the middle rate, so nothing here says that larger batches want higher rates.
#
# If memory holds only 2, add up the gradients of eight parts before a step (`train --accumulation 8`). Divide their summed losses by all that counts, once, because a mean of means weighs the parts wrongly. The step is then that of 16, but BatchNorm still sees 2. Where that hurts, keep a pretrained one in `eval()` (after each `train()`), use GroupNorm, or let GPUs share averages (SyncBatchNorm).
#
# ## 9 · More than a minute · *further*
#
# The package's `nano` has two blocks a stage, and was trained for longer, on larger pictures. (Its card, `segformer_edu/weights/nano/README.md`, holds the command and the scores.)

# %%
shipped = SegFormer.from_pretrained("nano")
longer = scores(confusion_matrix(predictions(shipped, unseen_images), unseen_labels, 8))
assert mine.miou < longer.miou
plots.show(
    plots.grouped_bars(
        {
            name: {"your minute": 100 * a, "nano": 100 * b}
            for name, a, b in zip(CLASSES, mine.iou, longer.iou, strict=True)
        },
        "IoU, %",
        "In points, nano is ahead most where the minute fell short",
    ),
    alt="For each class two bars: this lesson's model, and the shipped nano. Nano is ahead "
    "everywhere, most for persons, poles and sidewalks.",
)
print(f"nano: mIoU {longer.miou:.2f}")

# %% [markdown]
# Of what each class lacked, most gain about a quarter. Nano had more blocks, pictures, pixels and steps, so this does not say which of them helped.
#
# In time, a **ten-minute recipe** lies in between (`python -m experiments.training ten`, one seed): nano's shape, 96×96, {{ten_steps}} steps on three times as many scenes, resized and recoloured at random, and a running average of the weights. In {{ten_minutes}} minutes on two cores it reached {{ten_miou}}, more than nano, which was trained for larger pictures.
#
# ## 10 · Can it learn a class that it has never seen? · *further*
#
# **Fine-tuning** keeps what has been learned and adds to it. `Cones` are our scenes with traffic cones on the road, which nano has never seen, labelled as class 8.

# %%
cones, unseen_cones = Cones(Scenes(320, 96, seed=1)), Cones(Scenes(100, 96, seed=VALIDATION_SEED))
cone_images, cone_labels = in_memory(cones, workers=0)
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
# Only the classifier, the last 1×1 convolution, knows how many classes there are. So we keep its eight rows, add a ninth, and train all weights: gently, but the decoder with the new row five times as fast.

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


def after_tuning(model, learning_rate, head_lr_factor=1.0):
    """The scores on unseen cones after a hundred steps."""
    optimizer = make_optimizer(model, learning_rate, head_lr_factor)
    run = training_steps(model, optimizer, cone_images, cone_labels, nine, 100, warmup_steps=10)
    list(progress(run, "steps", 100))
    return scores(confusion_matrix(predictions(model, test_images), test_labels, 9))


# %%
tuned = grown()
after = after_tuning(tuned, 1e-3, head_lr_factor=5)
without_cones = scores(confusion_matrix(predictions(tuned, unseen_images), unseen_labels, 9))
assert after.iou[8] > 0.6 and np.mean(without_cones.iou[:8]) > longer.miou - 0.04
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
# A hundred steps and some three hundred scenes were enough, and on streets without cones mIoU fell by less than four points. Would a fresh model have learned as much, or the classifier alone? Both train at the minute's rate.

# %%
torch.manual_seed(0)
from_scratch = after_tuning(SegFormer(config), 8e-3)
frozen = grown().requires_grad_(False)
frozen.decoder.classifier.requires_grad_(True)
classifier_only = after_tuning(frozen, 8e-3)
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
        "From scratch the street is poorer; the classifier alone finds fewer cones",
    ),
    alt="IoU of nine classes for three ways to spend a hundred steps. From scratch all classes "
    "but the cones are far behind. The classifier alone keeps up with all of nano on most classes, "
    "and is behind on cones and persons.",
)

# %% [markdown]
# *Look at the ninth class, then at the others.* From scratch, a hundred steps are enough for most cones. The classifier alone recombines features that were not made for cones, and finds fewer. (BatchNorm's averages still move in this "frozen" model, because the loop calls `train()`.) This is one seed and one rate each.
#
# You can fine-tune on your own photographs: `segformer_edu.data.folder.Folder` reads images and masks from two folders, and `python -m segformer_edu train --help` shows a command that trains on them. Resize a mask with *nearest*, because labels are names and have no mean.
#
# ## Play · *further*
#
# Here is the first run of section 8. *At which of twelve moments are three fifths of all pixels right for the first time, and which class is hardly known by then? How does the worst scene at the end differ from scene 1?*

# %%
widgets.TrainingRun()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# After {{three_fifths_step}} steps seven tenths of the pixels are right. By then {{hardly_known}} have an IoU of almost nothing, so accuracy came this far without them.
#
# At the end scene {{worst_scene}} is worst, a street at night. Most wrong pixels of scene 1 are lines along borders; in scene {{worst_scene}} whole things are wrong as well, the sign and the vehicle among them.
#
# </details>
#
# ## Break it
#
# This is how the SegFormer of Hugging Face transformers computes the loss of a *binary* model ([modeling_segformer.py, since pull request 20279](https://github.com/huggingface/transformers/pull/20279), in our words). Such a model has one logit a pixel, whose sigmoid is the probability of class 1.


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
# The two agree as long as nothing is ignored. To test them, **pad logits and labels with a margin that does not count.** A loss must not change by that.
#
# **Predict.** The margin makes the picture twice as wide and twice as high. By which factor should the loss change, and by which will it?

# %%
prediction = ...  # two factors, such as (2, 2)

# %%
wide_logits = F.pad(pixel_logits, (32, 32, 32, 32))
wide_labels = F.pad(pixel_labels, (32, 32, 32, 32), value=255)
factors = []
for loss_of in (binary_loss, binary_loss_with_a_bug):
    padded = loss_of(wide_logits, wide_labels)
    factors.append(round((padded / loss_of(pixel_logits, pixel_labels)).item(), 2))
    print(f"{padded:.4f}", loss_of.__name__)
compare(prediction, tuple(factors))

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# The masked losses are zero, as they should be, but `mean` divides by *all* pixels. With three quarters ignored, loss and gradient are a quarter of what they should be.
#
# The mend is to divide by what counts, `(loss * valid).sum() / valid.sum()`, and to refuse a batch in which nothing does.
#
# </details>
#
# ### Why is it not noticed? · *further*
#
# Adam alone divides each gradient by its usual size, so a factor that is always the same does next to nothing. (It would matter in our loop, which also cuts gradients by their length.) But where the factor varies, a batch with little margin counts more than one with much.
#
# ### And if your own loss looks odd? · *further*
#
# | the loss | a likely reason |
# |---|---|
# | becomes `nan` | a batch in which no pixel counts (section 2), or too high a learning rate |
# | is always 0 | a softmax over a single logit, which is always 1: use a sigmoid, or two classes |
# | is negative | binary labels 0 and `255` instead of 0 and 1 |
# | stops with "out of bounds" | a label that is no class: print `labels.unique()` |
# | stays above {{softmax_twice}} (8 classes) | a softmax before the cross-entropy, which has its own |
#
# ## Exercises
#
# Replace the `...`, run the cell, and read the answer. `hint("08.1")` gives a hint, and another each time you ask; `solution("08.1")` gives the answer.
#
# ### Exercise 08.1 ★ 4 minutes · mIoU with a pencil
#
# `true = [[0, 0, 1], [0, 1, 1], [2, 2, 255]]`, `said = [[0, 0, 1], [1, 1, 1], [0, 2, 0]]`; `255` is ignored, and there is a class 3 of which there is no trace. What is the mIoU, to two digits?

# %%
miou_by_hand = ...
check("08.1", miou_by_hand)

# %% [markdown]
# ### Exercise 08.2 ★ 5 minutes · IoU from a confusion matrix
#
# The matrix is `(K, K)`, with a row for each true class. Return the K IoUs. For a class that neither is there nor is called, return nan, which is what 0/0 gives.


# %%
def iou_of_classes(matrix):
    return ...


check("08.2", iou_of_classes)

# %% [markdown]
# ### Exercise 08.3 ★★ 8 minutes · A loss that leaves pixels out
#
# Return the mean cross-entropy over the pixels that count. Logits are `(B, K, H, W)`, labels `(B, H, W)` of the same size. Pixels labelled `255` do not count, and at least one pixel does. Write it without `F.cross_entropy`.


# %%
def masked_cross_entropy(logits, labels):
    return ...


check("08.3", masked_cross_entropy)

# %% [markdown]
# ### Exercise 08.4 ★★ 8 minutes · The schedule of the reference recipe
#
# Return the share of the full learning rate at a step. It is poly, (1 − step/steps)^power, over the whole of training. During the first `warmup_steps` it is also multiplied by a factor that rises in a line from `ratio` at step 0 to 1 at step `warmup_steps`. Without a warm-up (`warmup_steps` 0) the factor is 1.


# %%
def rate_share(step, steps, warmup_steps, ratio, power):
    return ...


check("08.4", rate_share)

# %% [markdown]
# ### Exercise 08.5 ★★ 8 minutes · What decays?
#
# Return the names, in the model's own order, of the parameters on which weight decay should pull: matrices and kernels, but no biases or norms. Take any `nn.Module` whose norms have one scale for each channel.


# %%
def decayed(model):
    return ...


check("08.5", decayed)

# %% [markdown]
# ### Exercise 08.6 ★★ 8 minutes · Weights of classes
#
# Return 1/√frequency of each class, divided by the mean of these K weights, from labels of any shape. `255` is no class. Each class occurs.


# %%
def weights_of(labels, num_classes):
    return ...


check("08.6", weights_of)

# %% [markdown]
# ### Exercise 08.7 ★★★ 12 minutes · AdamW by hand
#
# Do one step for a single weight tensor, as section 5 describes it, with ε = `1e-8`. `mean` and `square` are the averages so far, zero before the first step; `step` counts from 1. Return the new weight, and the two new averages without the correction. The decay pulls on the weight as it was before the step, by learning rate times decay.


# %%
def adamw_step(weight, gradient, mean, square, step, learning_rate, decay):
    return ...


check("08.7", adamw_step)

# %% [markdown]
# ### Exercise 08.8 ★★ 10 minutes · A look in the middle of training
#
# Between two steps of training you want to see what the model says about a few images. Return its logits as they are in evaluation, with nothing kept for a gradient. Afterwards every module (of `model.modules()`) should be in the mode in which it was (`module.training`), also one that is kept in evaluation while the others train.


# %%
def logits_meanwhile(model, images):
    return ...


check("08.8", logits_meanwhile)

# %% [markdown]
# ## Recap
#
# - The loss is the cross-entropy at every pixel that counts, on logits enlarged to full size. Ignored pixels count neither above the fraction bar nor below it.
# - Pixel accuracy follows the large classes, and mIoU counts each class the same. Sum the counts over the data set, and divide once.
# - Adam divides each gradient by its usual size. On its first step it knows only signs, so each weight moves by the learning rate, which is a reason to warm up.
# - Seeds differ. Measure by how much before you trust a gain.
#
# **Can you answer without scrolling up?**
#
# 1. A class is found completely, and its IoU is 1/2. How?
# 2. Why is the first loss of our model higher than that of one that guesses evenly?
# 3. A model has {{blind_accuracy}} pixel accuracy. What would you ask?
#
# <details><summary>Answers</summary>
#
# 1. It was called in as many wrong places as right ones, so the union is twice the intersection.
# 2. Its random logits are far apart, so it is confident of classes at random, and pays where it is wrong.
# 3. The IoU of each class. Persons and poles make up under {{rare_share}} of the pixels, so a model could miss both and still score that.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *The recipe.* For ADE20K: an encoder from ImageNet-1K, crops of 512×512 (B5: 640×640), random scale 0.5 to 2, flips, batch 16, 160 thousand iterations, AdamW with a learning rate of 6e-5 and a poly schedule of power 1 (arXiv:2105.15203, Section 4.1).
# - *What the paper leaves to the code.* Released configs warm up over 1500 iterations, decay by 0.01 but not norms, and let the head learn at ten times the rate, perhaps because only the encoder is pretrained ([local_configs, README of the repository](https://github.com/NVlabs/SegFormer)).
# - *Class weights.* The paper uses neither OHEM nor auxiliary losses nor class balance loss (arXiv:2105.15203, Section 4.1). Ours weighs the classes.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 4.1.
#
# **Next:** lesson 09. What does a trained model look at, and does that tell us why it answers as it does?
