# %% [markdown]
# # Lesson 05 · Why drop whole blocks?
#
# While SegFormer is trained, parts of it go missing. Not a few numbers here and there: whole branches of its blocks, at random, now for this image and now for that one. The network that comes out has all of them, and is said to be the better for it.
#
# The idea is from 2016 and was made for very deep ResNets ([Huang and others 2016](https://arxiv.org/abs/1603.09382)). On its way to SegFormer it has changed in three places, and what was true of the original is still said of the copy. This lesson builds both, and measures what each of them does.
#
# **After this lesson you will be able to**
#
# - say what dropout does to a number in training and in evaluation, and what else can be dropped in its place;
# - write stochastic depth as its paper has it, train with it, and say how deep the network was;
# - tell drop probabilities from survival probabilities, and the two schedules from each other;
# - say why what is kept is divided by its probability, and what happens if you forget;
# - say which form of it saves time, and skip what SegFormer would compute and throw away;
# - cut blocks out of a trained network, and say which training it survives;
# - find a block that has a DropPath and never calls it.
#
# **Time** 80 minutes, and 57 for the exercises. **You need** lesson 03, and to have seen a ResNet once. No GPU.

# %%
import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

import segformer_edu
from segformer_edu import MixFFN, OverlapPatchEmbedding, SegFormer, SegFormerConfig, plots, widgets
from segformer_edu.checks import check_choice, check_positive, is_real
from segformer_edu.encoder import EncoderBlock
from segformer_edu.exercises import check, hint, solution
from segformer_edu.layers import initialize
from segformer_edu.stochastic_depth import MODES, RULES

torch.set_num_threads(1)
experiments = Path(segformer_edu.__file__).parents[1] / "experiments"
generator = torch.Generator().manual_seed(5)

# %% [markdown]
# ## 1 · What does dropout drop?
#
# Ordinary dropout first ([Hinton and others 2012](https://arxiv.org/abs/1207.0580)). In training it sets numbers to zero: each with probability p, for itself, and anew in every pass. A network that cannot rely on any one number has to spread what it knows.
#
# **Predict.** Many ones go through `nn.Dropout(p=0.25)` in training. Which values come out, and what is their mean? And in evaluation?

# %%
prediction = ...  # the values and the mean, twice

# %%
torch.manual_seed(0)
dropout, ones = nn.Dropout(p=0.25), torch.ones(100_000)
y = dropout(ones)
print(f"training:   values {[round(v, 3) for v in y.unique().tolist()]}, mean {y.mean():.2f}")
print(f"            {(y == 0).double().mean():.2f} of them are zero")
print(f"evaluation: values {dropout.eval()(ones).unique().tolist()}")

# %% [markdown]
# Three quarters of the ones are still there, and they have become 4/3. What is kept is **divided by the probability of being kept**, so that the mean stays what it was. So "it zeroes" is only half of what dropout does. In evaluation the layer does nothing.
#
# The first paper put the correction at the other end: the outgoing weights are halved at test time, for p = 1/2 ([Hinton and others 2012](https://arxiv.org/abs/1207.0580)). Both conventions come back below, and so does what happens when one forgets them.
#
# ### What else can be dropped?
#
# A batch of feature maps has samples, channels and tokens. Draw one random number for each entry, or for each channel, or for each sample: only the *shape of the draw* differs.

# %%
batch, channels, tokens = 4, 5, 20
drawn = {
    "a number each: dropout": (batch, channels, tokens),
    "a number a channel": (batch, channels, 1),
    "a number a sample: DropPath": (batch, 1, 1),
}
kept = {
    name: (torch.rand(shape, generator=generator) >= 0.4).expand(batch, channels, tokens).numpy()
    for name, shape in drawn.items()
}

# %%
plots.show(
    plots.dropped_together(kept, "What is drawn together is dropped together"),
    alt="Three panels, each with four samples of 5 channels and 20 tokens; dark squares are kept, "
    "crossed ones dropped. Left: single squares are missing, scattered all over. Middle: whole "
    "rows are missing, the channels. Right: whole samples are missing, and the others complete.",
)

# %% [markdown]
# *Compare the left panel with the right one.* A row of squares is a channel, a column a token. On the left something is missing from every sample. On the right a sample has everything or nothing. The middle one, whole channels, sits in SegFormer's decoder (lesson 07).
#
# To lose everything sounds like the end of the sample. It is not, because of where this is done: on a **branch**. In `x + branch(x)` the sample loses what the branch would have added, and x goes on.
#
# ## 2 · What if a block is not there at all?
#
# That is the idea of stochastic depth. A ResNet is a chain of blocks, and each adds something to what came in:
#
# $$H_l = \mathrm{ReLU}\left(f_l(H_{l-1}) + H_{l-1}\right)$$
#
# For every mini-batch, give each block a gate $b_l$, 1 with probability $p_l$ and 0 otherwise (arXiv:1603.09382, eq. 2):
#
# $$H_l = \mathrm{ReLU}\left(b_l\, f_l(H_{l-1}) + H_{l-1}\right)$$
#
# **Predict.** Where the gate is closed, $H_l = \mathrm{ReLU}(H_{l-1})$. What does that ReLU do?

# %%
prediction = ...  # one word

# %%
H = F.relu(torch.randn(4, 16, 8, 8, generator=generator))  # what a block gives
print("ReLU changes", int((F.relu(H) != H).sum()), "of", H.numel(), "numbers")

# %% [markdown]
# Nothing: $H_{l-1}$ is itself the result of a ReLU. So a block with a closed gate is the identity (eq. 3), and need not be computed at all, neither forward nor backward. Where dropout makes a network thinner, this makes it *shorter*, for one mini-batch.
#
# How likely is each block to survive? The first ones find what all the others build upon, so they should be there most of the time. The paper lets survival fall along a line (eq. 4):
#
# $$p_l = 1 - \frac{l}{L}\,(1 - p_L), \qquad l = 1 \dots L$$
#
# Mind the letter: the p of `nn.Dropout` is the probability of being *dropped*, this one that of *surviving*.
#
# **Predict.** 18 blocks, $p_L = 0.5$. Is the first block ever left out? What is its survival probability?

# %%
prediction = ...  # a number

# %%
L, last = 18, 0.5
survival = [1 - block / L * (1 - last) for block in range(1, L + 1)]
print("p_1 …", [round(p, 3) for p in survival[:3]], "… p_L", survival[-1])

# %% [markdown]
# l = 0 is the *input*, $H_0$; the first block has l = 1, and goes missing in about one mini-batch of {{first_block_missing}}, the last one in half of them. So the early blocks also get the most training. The rule under which the first block never does is another one, and it is the one that SegFormer uses: section 5.
#
# ### Build it

# %% tags=["mirror"]
# experiments.stochastic_depth.StochasticDepthResNet

# %% [markdown]
# Look at the loop. In training `gates` are zeros and ones, one for the whole mini-batch; where `b` is zero, `f` is not called. In evaluation every block runs, and `gates` are the $p_l$ themselves, because $f_l$ was there for that share of the training only (eq. 5):
#
# $$H_l^{\text{Test}} = \mathrm{ReLU}\left(p_l\, f_l(H_{l-1}^{\text{Test}}) + H_{l-1}^{\text{Test}}\right)$$
#
# **Check it.** A closed gate should be as good as a missing block. So take the blocks out with your own hands, and compare, bit for bit. And count how often a block is called.


# %%
torch.manual_seed(0)
network = StochasticDepthResNet(survival).eval()
images = torch.randn(5, 1, 8, 8, generator=generator)
gates = (torch.rand(L, generator=generator) < torch.tensor(survival)).float()

shorter = copy.deepcopy(network)
shorter.blocks = nn.ModuleList(f for f, b in zip(network.blocks, gates, strict=True) if b)
open_gates = torch.ones(len(shorter.blocks))
assert torch.equal(network(images, gates), shorter(images, open_gates))
print(f"{int(L - gates.sum())} gates closed: the same as a network of {len(shorter.blocks)} blocks")

# %%
calls = []
for f in network.blocks:
    f.register_forward_hook(lambda *_: calls.append(1))
network.train()(images, gates)
assert len(calls) == gates.sum()
print("blocks computed:", len(calls))

# %% [markdown]
# ## 3 · How deep is it, then?
#
# As deep as the gates say, and that is another number for every mini-batch. On average it is the sum of the survival probabilities.
#
# **Predict.** The paper's ResNet has L = 54 blocks and $p_L = 0.5$. How many survive on average? And how far from that does a single mini-batch stray? Would half of them, 27, be a surprise?

# %%
prediction = ...  # two numbers, and yes or no

# %%
survival_54 = [1 - block / 54 * 0.5 for block in range(1, 55)]
print(f"expected: {sum(survival_54):.2f} of 54, and (3L - 1) / 4 = {(3 * 54 - 1) / 4}")
print(f"standard deviation: {sum(p * (1 - p) for p in survival_54) ** 0.5:.1f}")

# %% [markdown]
# {{expected_54}}; the paper rounds it to 40 (Section 3). A quarter of the blocks is saved. And a mini-batch strays from that by about three blocks: the gates are independent, so their variances $p_l(1 - p_l)$ add up. The whole law can be had exactly as well, without drawing anything. Add the blocks one at a time: with one more block there are as many survivors as before if it is dropped, and one more if it is kept.

# %% tags=["mirror"]
# segformer_edu.analysis.depth.surviving_blocks

# %% [markdown]
# A sum of coins that are not alike: its law is called Poisson-binomial. **Check it** where everything can be counted: three blocks, eight networks, each with its own probability.

# %%
three = [0.9, 0.5, 0.2]
counted = np.zeros(4)
for gates in product((0, 1), repeat=3):
    counted[sum(gates)] += np.prod([p if b else 1 - p for p, b in zip(three, gates, strict=True)])
assert np.allclose(surviving_blocks(three), counted)
print("0, 1, 2, 3 survive:", counted.round(2))

# %%
draws = torch.rand(20_000, 54, generator=generator) < torch.tensor(survival_54)
law = surviving_blocks(survival_54)
plots.show(
    plots.survivors(law, draws.sum(dim=1).numpy(), "54 blocks: nearly always between 31 and 49"),
    alt="Bars of the share of 20,000 mini-batches in which 29 to 51 blocks survive, a bell around "
    "40, and dots of the computed law, which sit on the bars' tops. A line marks the expected "
    "40.25.",
)

# %%
print(f"31 to 49 blocks: {law[31:50].sum():.3f}, 27 or fewer: {law[:28].sum():.6f}")

# %% [markdown]
# *See how narrow the bell is.* Each block is a coin, but the *number* of blocks moves little: it is the *choice* that changes. There are $2^{54}$ choices, {{networks_54}} networks that share their weights. The paper trains for 500 epochs of 45,000 images in mini-batches of 128 (arXiv:1603.09382, Section 4): nearly all of those networks were never
# trained even once. That training should do them good all the same is what sharing weights is for. Section 8 asks whether it does.
#
# ## 4 · Does it help?
#
# Three things are promised ([a summary that many begin with](https://github.com/aleju/papers/blob/master/neural-nets/Deep_Networks_with_Stochastic_Depth.md) lists them): a better network, larger gradients in the early blocks, and less time. You can measure all three. What is missing is a data set that fits into a lesson:

# %% tags=["mirror"]
# experiments.stochastic_depth.digits

# %%
images, labels, test_images, test_labels = digits()
plots.show(
    plots.pictures(
        [image[0].numpy() for image in images[:10]],
        [str(label.item()) for label in labels[:10]],
        f"{len(images):,} digits to train on, {len(test_images)} to test on, 8×8 pixels each",
    ),
    alt="Ten handwritten digits of 8 by 8 pixels in a row, each with its label above it.",
)

# %% [markdown]
# Real handwriting, which ships with scikit-learn: nothing to download. The training is the paper's, made small: Nesterov's momentum, and a tenth of the learning rate after half and after three quarters of the steps. Batch, learning rate and number of epochs are smaller.

# %% tags=["mirror"]
# experiments.stochastic_depth.sgd

# %% tags=["mirror"]
# experiments.stochastic_depth.train

# %% [markdown]
# One training proves nothing: another seed, another number. So this was run eight times for each kind of network, by a command that you can run too (it takes some minutes, and stands in the README): `python -m experiments.stochastic_depth`. Here is what it wrote.

# %%
results = json.loads((experiments / "stochastic_depth.json").read_text(encoding="utf-8"))
print(results["machine"]["date"], results["machine"]["processor"])


def measured(network, what):  # one row a seed
    return np.array([run[what] for run in results["runs"] if run["network"] == network])


for name in ("constant depth", "stochastic depth"):
    wrong, seconds = measured(name, "error"), measured(name, "seconds")
    print(f"{name:<16}  seeds {len(wrong)}  error {mean(wrong):.2f} ± {stdev(wrong):.2f} %", end="")
    print(f"  processor {mean(seconds):.1f} ± {stdev(seconds):.1f} s")

# %% [markdown]
# And a part of it live: the first five epochs of the first seed, of both networks.
#
# **Predict.** Which of the two has the lower *training* loss after five epochs?

# %%
prediction = ...  # "constant" or "stochastic"

# %%
curves = {name: measured(name, "losses") for name in ("constant depth", "stochastic depth")}
for name, probabilities in {"constant": [1.0] * L, "stochastic": survival}.items():
    torch.manual_seed(0)
    network = StochasticDepthResNet(probabilities)
    run = islice(train(network, images, labels, sgd, epochs=15), 5)
    epochs = list(widgets.progress(run, "epochs", 5))
    curves[f"{name}, live"] = np.array([[loss for loss, _ in epochs] + 10 * [np.nan]])

# %%
plots.show(
    plots.bands(
        range(1, 16),
        curves,
        ("epoch", "training loss"),
        "What is dropped at random is harder to fit",
        log=True,
    ),
    alt="Training loss over 15 epochs on a logarithmic axis, for eight seeds each, as curves with "
    "bands. Constant depth falls from about 1.4 to 0.003; stochastic depth stays above it all "
    "the way and ends several times higher. Two short curves, trained in the lesson, cover the "
    "first five epochs.",
)

# %% [markdown]
# *Find the two short curves among the long ones.* On the machine that wrote the file they are the beginnings of two of the sixteen runs, number for number. A network that changes for every mini-batch fits the training images less well: its loss, that of the networks drawn, ends {{loss_factor}} times as high (the eight seeds: {{loss_factors}}). That is what a regulariser is supposed to do. It pays if the network had been fitting *too* well.

# %%
panels = {}
for what, label in (("error", "test error, %"), ("seconds", "training, processor seconds")):
    panels[label] = {name: measured(name, what) for name in ("constant depth", "stochastic depth")}
plots.show(
    plots.seeds(panels, "Eight seeds: no better here, and less time"),
    alt="Two panels with eight dots for constant and eight for stochastic depth, joined seed by "
    "seed, and bars for mean and standard deviation. Left, test error: both near one percent, "
    "stochastic depth a little higher, the bars overlap. Right, processor seconds: stochastic "
    "depth is lower for every seed.",
)

# %% [markdown]
# ### A better network?
#
# Not here. {{constant_error}} % of the test images are wrong with constant depth, {{stochastic_error}} % with stochastic depth. Compared seed by seed, the difference is {{error_difference}} points, {{error_difference_images}} of the {{digits_tested}} images, with a standard error of {{error_difference_se}}; six of the eight seeds are worse. That is suggestive, and no more. If the gap is real, the likely reason is that these digits leave little to overfit, so regularising costs more than it brings.
#
# The paper's own numbers are no contradiction. Its network is three times as deep and is trained for 500 epochs; error fell from 6.41 to 5.25 % on CIFAR-10 (arXiv:1603.09382, Table 1). On ImageNet it was slightly *worse*: after 90 epochs 23.38 against 23.06 %, after 120 epochs 21.98 against 21.78 (Section 4).
# Whether more epochs would turn our result round we have not tried. You could: it is one number in the script.
#
# ### Larger gradients in the early blocks?
#
# The promise is that a shorter network has vanishing gradients to a lesser degree. Then there would have to be vanishing gradients.
#
# **Predict.** A ResNet of 54 blocks, before any training. How does the gradient of block 1 compare with that of block 54: much smaller, equal, larger?

# %%
prediction = ...  # one word


# %%
def gradients(network, gates):
    """The norm of the gradient of each block's first weight; zero where its gate is closed."""
    network.train().zero_grad()
    F.cross_entropy(network(images[:100], gates), labels[:100]).backward()
    found = [f[0].weight.grad for f in network.blocks]
    return torch.tensor([0.0 if each is None else each.norm() for each in found])


torch.manual_seed(0)
deep = StochasticDepthResNet(survival_54)
full = gradients(deep, torch.ones(54))
some = [torch.bernoulli(deep.survival) for _ in range(8)]
drawn = sum(gradients(deep, gates) for gates in some) / sum(some)

# %%
plots.show(
    plots.bands(
        range(1, 55),
        {"all 54 blocks": full[None].numpy(), "gates drawn, mean of 8": drawn[None].numpy()},
        ("block", "norm of the gradient"),
        "At the start the gradient does not vanish: it grows towards block 1",
    ),
    alt="The norm of the gradient of each of 54 blocks of an untrained ResNet. It is smallest at "
    "the last block and rises towards the first, where it is more than twenty times as large. The "
    "curve for drawn gates has the same form and lies below, but for the last few blocks.",
)

# %% [markdown]
# *Read it from right to left*, as the gradient travels. It grows: every skip connection hands it back, and every branch adds to it. And with gates drawn it is *smaller* in the early blocks, not larger.
#
# The paper measured something else: the gradient *during* training, of the first convolution of the first block, and there stochastic depth had the larger one throughout (Figure 7). So it has here, on average over the seeds and but for the first epoch:

# %%
curves = {name: measured(name, "gradients") for name in ("constant depth", "stochastic depth")}
plots.show(
    plots.bands(
        range(1, 16),
        curves,
        ("epoch", "mean absolute gradient of block 1"),
        "From the second epoch on, stochastic depth has the larger gradient",
        log=True,
    ),
    alt="Mean absolute gradient of the first block over 15 epochs, on a logarithmic axis. Both "
    "curves end far below their start. Stochastic depth begins a little below constant depth, is "
    "above it from the "
    "second epoch on, and ends several times higher.",
)

# %% [markdown]
# By the last epoch it is {{gradient_factor}} times as large (the eight seeds: {{gradient_factors}}). Is that because the way is shorter? There is another explanation, and you have seen it already. A gradient shrinks as the loss does, and the loss of stochastic depth is higher.
#
# **Predict.** Plot the gradient over the *loss* instead of the epoch. Which of the two clouds lies higher?

# %%
prediction = ...  # "constant", "stochastic" or "neither"

# %%
clouds = {
    name: (measured(name, "losses").ravel(), measured(name, "gradients").ravel())
    for name in ("constant depth", "stochastic depth")
}
plots.show(
    plots.clouds(
        {"": clouds},
        ("training loss of the epoch", "mean absolute gradient of block 1"),
        "At the same loss stochastic depth does not have the larger gradient",
        log=True,
    ),
    alt="Every epoch of every seed as a point, gradient over loss, both axes logarithmic. Two "
    "clouds rise together along one curve; at losses around 0.1 most points of stochastic depth "
    "lie a little below those of constant depth.",
)

# %% [markdown]
# *Pick a loss, for example `0.1`, and go straight up.* To put a number on it, lay a straight line through each run's points in this picture, and read it there:


# %%
def gradient_at(loss, losses, gradients):
    """Where the line through a run's epochs near this loss passes it, both in logarithms."""
    near = (losses > loss / 10) & (losses < loss * 5)
    line = np.polyfit(np.log(losses[near]), np.log(gradients[near]), 1)
    return np.exp(np.polyval(line, np.log(loss)))


for name in ("constant depth", "stochastic depth"):
    runs = zip(measured(name, "losses"), measured(name, "gradients"), strict=True)
    at_a_tenth = [1000 * gradient_at(0.1, *run) for run in runs]
    print(f"{name:<16}  {mean(at_a_tenth):.1f} ± {stdev(at_a_tenth):.1f} thousandths (8 seeds)")

# %% [markdown]
# At the same loss the gradient of stochastic depth is the *smaller* one. So in *this* network the larger gradients go with the higher loss; that the way is shorter adds nothing to them that we can see. Whether that holds for the paper's training too cannot be told from its figure, which has epochs on its
# axis. The same plot over the loss would tell.
#
# ### Less time?
#
# Yes. A closed gate saves the whole block, forward and backward. The $p_l$ leave {{blocks_computed}} of the blocks to be computed, and the clock agrees:

# %%
ratios = measured("stochastic depth", "seconds") / measured("constant depth", "seconds")
computed = sum(survival) / L
print(f"blocks computed: {computed:.1%}, time: {mean(ratios):.0%} ± {stdev(ratios):.0%} (8 seeds)")

# %% [markdown]
# The paper found the same: 15 hours 7 minutes instead of 20 hours 42 minutes (Table 2). Remember how it comes about, *one gate for the whole mini-batch*, for the next section takes it away.
#
# ## 5 · What does SegFormer do differently?
#
# Swin, ConvNeXt, the ViT of timm and SegFormer all have a layer called **DropPath**, for stochastic depth. Three things have changed.
#
# | | stochastic depth, as its paper has it | DropPath |
# |---|---|---|
# | a gate is drawn | once for the mini-batch | for **each sample** |
# | the scaling | multiply by $p_l$ at **test** time | divide by $p_l$ in **training** |
# | block l of L is dropped with | r · l / L | r · (l − 1) / (L − 1), which is `torch.linspace(0, r, L)` |
#
# (r is the drop rate of the last block, $1 - p_L$.) The name comes from FractalNet ([Larsson and others 2016](https://arxiv.org/abs/1605.07648)), whose paths meet in joins: there the inputs of a join are dropped.

# %%
survival_12 = torch.linspace(1, 0.5, 12)
one_draw = (torch.rand(1, 12, generator=generator) < survival_12).expand(8, 12)
a_draw_each = torch.rand(8, 12, generator=generator) < survival_12
plots.show(
    plots.gates(
        {"one gate for the batch": one_draw.numpy(), "a gate for each sample": a_draw_each.numpy()},
        "Left one network is trained, right eight at once",
    ),
    alt="Two panels of 8 samples by 12 blocks, dark where a block runs, crossed where it is "
    "dropped. Left: all rows are alike, whole columns are crossed. Right: every row has its own "
    "crosses, more of them towards the last blocks.",
)

# %% [markdown]
# *Look for a column that is crossed from top to bottom.* On the left every closed gate makes one: that block need not be computed. On the right a block is hardly ever dropped by all samples at once.
#
# Which of the two is stochastic depth? Asked so, the author of timm answered that it is per sample ([timm, issue 2118](https://github.com/huggingface/pytorch-image-models/issues/2118)). The paper says, "for each mini-batch we randomly select sets of layers" (Section 3). Both are in use; know which one you have.
#
# ### Build it
#
# First the plain form: compute the branch, then mask it.


# %% tags=["stage"]
class MaskedDropPath(nn.Module):
    """Set a branch to zero for some samples, and scale it for the others."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate  # probability of being dropped

    def forward(self, x):  # (B, ...)
        if not self.training:
            return x
        kept = torch.rand(len(x)) >= self.rate  # one gate a sample
        scale = kept / (1 - self.rate)
        return x * scale.view(-1, *[1] * (x.ndim - 1))  # (B, 1, …, 1)


# %% [markdown]
# It is right, until somebody asks for something unusual. At rate 1 it computes 0/0. A branch that has overflowed to infinity is not dropped at all, since 0 · ∞ is no number. At rate `1.5` it drops everything, at `-0.1` it drops nothing and shrinks the branch, and neither says a word. A probability can be checked:

# %% tags=["mirror"]
# segformer_edu.checks.check_rate

# %% tags=["mirror"]
# segformer_edu.stochastic_depth.DropPath

# %% [markdown]
# `mode="batch"` draws one gate for all, as the paper does. `kept` draws on the CPU, so that the gates are the same on every device; and in 32 bits, whatever x has, for a reason.
#
# **Predict.** Some libraries, transformers among them, make the mask with `floor(rand + keep)`, in the precision of x. In bfloat16, with a drop rate of `0.001`: how many of a million samples are dropped?

# %%
prediction = ...  # a number

# %%
torch.manual_seed(0)
for precision in (torch.float32, torch.bfloat16):
    keep = torch.tensor(1 - 0.001, dtype=precision)
    mask = torch.floor(torch.rand(1_000_000, dtype=precision) + keep)
    shares = [f"{value}: {(mask == value).double().mean():.3f}" for value in (0, 1, 2)]
    print(f"{precision}, shares of the mask's values  {',  '.join(shares)}")

# %% [markdown]
# None. bfloat16 has 8 significant bits, and its nearest number to `0.999` is 1: nothing is ever dropped. It gets stranger. Its largest number below 1, plus 1, is rounded to 2, so a few samples even get their branch twice. Nobody would notice either.
#
# **Check it**, first against torch. `F.dropout1d` drops whole channels of (samples, channels, length). Put the samples where it expects channels, and it has to do what DropPath does: the same two outcomes for a sample, the same share of each.

# %%
torch.manual_seed(0)
x = torch.rand(40_000, 3, 5) + 1  # nowhere zero
theirs = F.dropout1d(x.flatten(1)[None], p=0.3)[0].view_as(x)
ours = DropPath(0.3).train()(x)
for result in (theirs, ours):
    dropped = (result == 0).flatten(1).all(dim=1)
    assert torch.allclose(result[~dropped], x[~dropped] / 0.7)
    print(
        f"dropped {dropped.double().mean():.2f}, mean over x's mean {result.mean() / x.mean():.2f}"
    )

# %% [markdown]
# And then against the plain form: from the same random numbers, the same result.

# %%
torch.manual_seed(1)
masked = MaskedDropPath(0.3).train()(x)
torch.manual_seed(1)
assert torch.allclose(DropPath(0.3).train()(x), masked)
print("the same draws, the same answer")

# %% [markdown]
# ### Which list holds which probability?
#
# The rates of the blocks rise from first to last. Two rules are in use.

# %% tags=["mirror"]
# segformer_edu.stochastic_depth.drop_rates

# %% [markdown]
# **Predict.** `torch.linspace(0, 0.1, 8)` is the list for the eight blocks of B0. Suppose that it held probabilities of *survival*: how many of the eight blocks would survive on average?

# %%
prediction = ...  # a number

# %%
linspace, paper = drop_rates(0.1, 8), drop_rates(0.1, 8, rule="paper")
print("linspace: dropped ", [f"{rate:.4f}" for rate in linspace])
print("          survives", [f"{1 - rate:.4f}" for rate in linspace])
print("paper:    dropped ", [f"{rate:.4f}" for rate in paper])
print(f"blocks on average: {8 - sum(linspace):.2f}; if the list held survival: {sum(linspace):.2f}")

# %% [markdown]
# Less than half a block, and block 1 never: there would be no network. The list holds **drop** probabilities, and survival is 1 minus each. Before you use any such list, look at its first entry. A 0 at the first block can only be a drop probability.

# %%
plots.show(
    plots.schedules(
        {"linspace: SegFormer, Swin, timm": linspace, "paper: Huang and others": paper},
        "Both end at 0.1. Only the paper's rule ever drops block 1",
    ),
    alt="Drop probability over blocks 1 to 8, two rising lines. The linspace rule begins at 0, the "
    "paper's at 0.0125; both reach 0.1 at block 8. The axis on the right shows survival, from 1 "
    "down to 0.9.",
)

# %% [markdown]
# *Compare the lines at block 1, then at block 8.* They differ most at the beginning and end together. The ramp runs through the whole network, over the borders of its stages:

# %%
b0 = SegFormer(SegFormerConfig.named("b0"))
for number, stage in enumerate(b0.encoder.stages, start=1):
    print(f"stage {number}:", [round(block.drop_path.rate, 4) for block in stage.blocks])

# %% [markdown]
# A block of SegFormer has *two* branches, attention and Mix-FFN (lesson 06 reads it line by line), with a gate for each, of the same rate. So B0 has sixteen gates for a sample, two of which never close, and {{b0_complete}} of the samples find all of them open.
#
# ## 6 · Why divide by the probability of being kept?
#
# It puzzles many readers. "Drop one path for one sample shouldn't have influence on another sample", someone wrote ([timm, issue 887](https://github.com/huggingface/pytorch-image-models/issues/887)): why touch those that are kept?
#
# It is not about the other samples. It is about *this* sample in *evaluation*, where no gate is closed. The next layer has to get numbers there like those it learned from.
#
# **Predict.** A branch gives 1, always. It is kept with probability q and divided by q. What are the mean and the variance of what the next layer sees in training, for $q = 0.9, 0.5, 0.1$?

# %%
prediction = ...  # three means, three variances

# %%
torch.manual_seed(0)
branch = torch.ones(400_000, 1)
for q in (0.9, 0.5, 0.1):
    divided = DropPath(1 - q).train()(branch)
    raw = divided * q  # as if nobody had divided
    print(f"q = {q}: divided: mean {divided.mean():.1f}, variance {divided.var():.2g}", end="")
    print(f"   not divided: mean {raw.mean():.1f}, variance {raw.var():.2g}")

# %% [markdown]
# Divided, the mean is 1 for every q, the same as in evaluation. Not divided, it is q, and in evaluation the branch is suddenly 1/q times as large.
#
# The variance is the price: $(1-q)/q$ for a branch of 1. At $q = 0.9$ a ninth. At $q = 0.1$ it is 9: one sample in ten gets a branch ten times too large, and the others none.
#
# ### Divide now, or multiply later?
#
# The paper multiplies by $p_l$ at test time, DropPath divides in training. Is that a different method?
#
# **Predict.** Can you change the weights of one network so that the other convention gives the same numbers in training *and* in evaluation?

# %%
prediction = ...  # yes or no, and how


# %%
def by_the_paper(x, f, b, q, training):
    return x + (b if training else q) * f(x)


def by_droppath(x, f, b, q, training):
    return x + (b / q if training else 1) * f(x)


f, q = nn.Linear(8, 8), 0.7
smaller = copy.deepcopy(f)
with torch.no_grad():
    smaller.weight *= q
    smaller.bias *= q
x = torch.randn(4, 8, generator=generator)
for b, training in ((0, True), (1, True), (1, False)):
    theirs, ours = by_the_paper(x, f, b, q, training), by_droppath(x, smaller, b, q, training)
    assert torch.allclose(theirs, ours, atol=1e-6)
print("same numbers, gate open or closed, in training and in evaluation")

# %% [markdown]
# Multiply the last layer of the branch by q, weight and bias, and the two agree everywhere. So it is **one method in two conventions**: any network of the one is a network of the other. (They start from other weights, and a step of the optimiser is not the same in both, so a training run need not end in the same place.) The practical difference is that DropPath leaves nothing to do in
# evaluation, and so nothing to forget.
#
# What if it *is* forgotten? Our eight ResNets of section 4 were also tested with every gate at 1 instead of $p_l$:

# %%
for what in ("error", "error without p_l"):
    wrong = measured("stochastic depth", what)
    print(f"{what:<17}  {mean(wrong):.2f} ± {stdev(wrong):.2f} %   (8 seeds)")

# %% [markdown]
# The same weights; only eq. 5 is missing. No error message, the network still works, and it is {{without_p_l_factor}} times as often wrong.
#
# ## 7 · Does it save time?
#
# Section 4 promised less time, and the paper's gate kept the promise. Does DropPath?
#
# **Predict.** A DropPath with rate `0.8` behind a Mix-FFN, `x + drop_path(mix_ffn(x))`. How much time does a training step save?

# %%
prediction = ...  # a share

# %% [markdown]
# None, since `mix_ffn(x)` is computed before anything is dropped. Look at the parentheses: a mask throws away work that is done. To save it, drop *first*: gather the samples that are kept, compute the branch for them alone, and add it where they stand.

# %% tags=["mirror"]
# segformer_edu.stochastic_depth.residual

# %% [markdown]
# `x[rows]` gathers, `index_add` puts back, and adds to what is there, the skip path. **Check it** against the masked form with the same draws: values and all gradients. And count the samples that the branch is handed.

# %%
mix_ffn, half = MixFFN(16, 64), DropPath(0.5).train()
x = torch.randn(10, 6, 6, 16, generator=generator, requires_grad=True)
handed = []


def counting(rows):
    handed.append(len(rows))
    return mix_ffn(rows)


outcomes = []
for form in (lambda: x + half(counting(x)), lambda: residual(x, counting, half)):
    torch.manual_seed(3)
    y = form()
    outcomes.append([y, *torch.autograd.grad(y.square().sum(), [x, *mix_ffn.parameters()])])
for masked, skipped in zip(*outcomes, strict=True):
    assert torch.allclose(masked, skipped, rtol=1e-4, atol=1e-4)
print(f"same values and gradients; samples computed: mask {handed[0]}, skip {handed[1]}")

# %% [markdown]
# Now the clock: forward and backward through a Mix-FFN, 16 samples of 16×16 tokens, one thread, processor seconds.

# %%
mix_ffn, x = MixFFN(64, 256), torch.randn(16, 16, 16, 64, generator=generator)


def mask(x, branch, drop_path):
    return x + drop_path(branch(x))


def seconds(step, drop_path, times):
    start = time.process_time()
    for _ in range(times):
        step(x, mix_ffn, drop_path.train()).sum().backward()
    return (time.process_time() - start) / times


rates = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8)
forms = {
    "mask": (mask, "sample"),
    "skip, a gate a sample": (residual, "sample"),
    "skip, one gate a batch": (residual, "batch"),
}
took = {name: np.zeros((8, len(rates))) for name in forms}
seconds(mask, DropPath(0.0), times=10)  # the first steps of all are slower
runs = list(product(range(8), forms.items(), range(len(rates))))
for turn, (name, (step, mode)), column in widgets.progress(runs, "measurements"):
    took[name][turn, column] = seconds(step, DropPath(rates[column], mode), times=4)

# %%
mask_time, skip_time = (took[name][:, -1].mean() for name in ("mask", "skip, a gate a sample"))
plots.show(
    plots.bands(
        rates,
        {name: 1000 * each for name, each in took.items()},
        ("drop rate", "milliseconds for a step"),
        f"At 0.8 the mask takes {mask_time / skip_time:.1f} times as long as skipping",
    ),
    alt="Milliseconds of a training step through a Mix-FFN over the drop rate from 0 to 0.8. The "
    "mask's curve stays level. The curves of skipping, by sample and by batch, lie well below it "
    "at 0.6 and 0.8; the batch's has the widest band. The factor measured on the machine that "
    "made the picture stands in the title.",
)

# %% [markdown]
# *Follow the mask's curve: it does not fall.* (A point is the mean of eight turns of four steps, the band their standard deviation. Where one gate decides for the batch, a turn is cheap or dear by luck.) So "blocks are removed, and training gets faster" is true of the paper's gate, and not of the layer that nearly everyone ships under its name. Skipped by sample it is true again at high rates. DINOv2 trains like this; for timm somebody measured 5.4 instead of 8.8 seconds, with ViT-L and a rate of 0.4
# ([timm, pull request 1835](https://github.com/huggingface/pytorch-image-models/pull/1835)). SegFormer's own rate is small: its ramp ends at `0.1`, so {{least_saved}} (B0) to {{most_saved}} (B4) of the blocks' work is there to be saved. *Look at 0.1 in the picture*: gathering the samples costs time as well, and our runs do not agree whether anything is left there.
#
# One more line of `residual` to understand. If all samples are dropped, the branch gets an *empty* batch, instead of not being called.

# %%
always = DropPath(1.0).train()
mix_ffn.zero_grad()
residual(x, mix_ffn, always).sum().backward()
print("gradients that are None:", sum(weight.grad is None for weight in mix_ffn.parameters()))
print("gradients that are zero:", sum(not weight.grad.any() for weight in mix_ffn.parameters()))

# %% [markdown]
# Zero, not None. (`zero_grad` had set them to None, so these zeros are new.) On several GPUs DistributedDataParallel waits for a gradient of every parameter, unless it is told otherwise, and would stop with an error when a block sits out.
#
# ## 8 · What is left of a network when blocks go?
#
# A network trained with dropped blocks is $2^L$ networks in one. Two questions. At test time all blocks run: is that like asking all those networks, and averaging? And: are the smaller ones any good by themselves?
#
# For this, a small transformer made of SegFormer's own blocks. (Its LayerNorms compute their means anew for each token. A BatchNorm keeps running means over *all* the networks it was part of, and they fit none of them in particular.)

# %% tags=["mirror"]
# experiments.stochastic_depth.DigitTransformer

# %% [markdown]
# The script has trained it five times in three ways: with nothing dropped; with DropPath, rate `0.5` at the last block; and with `layer_drop`, of which more below. The weights of seed 0 are in the repository.

# %%
weights = load_file(experiments / "stochastic_depth.safetensors")


def trained(name, **settings):
    network = DigitTransformer(**settings)
    own = {key.partition(".")[2]: value for key, value in weights.items() if key.startswith(name)}
    network.load_state_dict(own)
    return network.eval()


networks = {
    "nothing dropped": trained("nothing dropped"),
    "DropPath": trained("DropPath", drop_path_rate=0.5),
    "LayerDrop": trained("LayerDrop", layer_drop=0.2),
}


# %%
@torch.no_grad()
def probabilities(network):
    return network(test_images).softmax(dim=-1)


for name, network in networks.items():
    wrong = (probabilities(network).argmax(dim=-1) != test_labels).double().mean()
    print(f"{name:<16} all blocks: {wrong:.0%} wrong")

# %% [markdown]
# ### Is evaluation the average of all?
#
# Put only the DropPaths back into training mode: now every pass asks other networks. Average more and more passes, and watch how far the average is from evaluation (half the sum of the absolute differences: 0 is agreement, 1 none at all).
#
# **Predict.** As you average more and more networks, does the distance go to zero?

# %%
prediction = ...  # yes or no

# %%
network = networks["DropPath"]
evaluated = probabilities(network)
for block in network.blocks:
    block.drop_path.train()  # all the rest stays in evaluation
torch.manual_seed(0)
passes = torch.stack([probabilities(network) for _ in range(64)])  # (64, images, 10)
network = network.eval()

# %%
counts = (1, 2, 4, 8, 16, 32, 64)
groups = {n: passes.view(64 // n, n, *passes.shape[1:]).mean(dim=1) for n in counts}
distance = {n: (each - evaluated).abs().sum(-1).mean(-1) / 2 for n, each in groups.items()}
for n in counts:
    wrong = (groups[n].argmax(dim=-1) != test_labels).double().mean()
    print(f"{n:>2} networks averaged: distance {distance[n].mean():.3f}, {wrong:.0%} wrong")

# %% [markdown]
# No. It falls, and then it stops. One pass through the whole network is *nearly* the average over all the networks in it, and not quite. For one block with nothing but linear layers after it, it would be exact: that is what dividing by q is for. But softmax, GELU and LayerNorm are not linear, and the mean of a function is not the function of the mean. As to the errors, the single pass is as good here as the average of
# 64, at a 64th of the price.
#
# ### Are the smaller networks any good?
#
# **LayerDrop** asks for that on purpose ([Fan and others 2019](https://arxiv.org/abs/1909.11556)): train a large Transformer with whole layers missing, so that *afterwards* you may cut layers out and use the shorter network as it is. It drops the whole block, attention and all, for the mini-batch, with the same rate everywhere (0.2 in the paper), and its code does not scale.
#
# Six blocks make 64 networks: few enough to test them *all*. They share their beginnings, so a short recursion does.


# %%
def subnetworks(blocks, x, depth=0):
    """Each of the 2^L networks: how many blocks it has, and what comes out of them."""
    if not blocks:
        yield depth, x
        return
    yield from subnetworks(blocks[1:], x, depth)  # without the next block
    yield from subnetworks(blocks[1:], blocks[0](x), depth + 1)  # with it


@torch.no_grad()
def all_errors(network):
    depths, errors = [], []
    for depth, x in subnetworks(list(network.blocks), network.embed(test_images)):
        answers = network.classify(network.norm(x).mean(dim=(1, 2))).argmax(dim=-1)
        depths.append(depth)
        errors.append(100 * (answers != test_labels).double().mean().item())
    return depths, errors


# %% [markdown]
# **Predict.** Take three of six blocks away, any three. What does each of the three trainings leave: a network that is wrong in 5, 20, 50 or 90 of a hundred cases? (Guessing is wrong in 90.)

# %%
prediction = ...  # three numbers: nothing dropped, DropPath, LayerDrop

# %%
found = {name: all_errors(network) for name, network in networks.items()}
for name, (depths, errors) in found.items():
    half = [error for depth, error in zip(depths, errors, strict=True) if depth == 3]
    print(f"{name:<16} 3 of 6: {min(half):>2.0f} to {max(half):.0f} % wrong, mean {mean(half):.0f}")

# %%
plots.show(
    plots.clouds(
        {name: {name: cloud} for name, cloud in found.items()},
        ("blocks left", "test error, %"),
        "All 64 networks inside each: a short one works if training has practised it",
    ),
    alt="Three panels, one a training; in each 64 points, test error over the number of blocks "
    "left, 0 to 6. All three are near 3 percent with 6 blocks and above 70 with none. Between, "
    "the points of the network trained with nothing dropped lie high and far apart, those of "
    "LayerDrop low and close together, those of DropPath in two groups, one high and one low.",
)

# %% [markdown]
# *Compare the columns at 3 blocks.* Where nothing was dropped in training, each block relies on the others being there: the best three of them do worse than the worst three of LayerDrop. With DropPath there are two groups, and it is not hard to guess what parts them. Take out one block at a time:

# %%
for name in ("nothing dropped", "DropPath"):
    answers = [
        networks[name](test_images, [block != missing for block in range(6)]).argmax(dim=-1)
        for missing in range(6)
    ]
    wrong = [100 * (each != test_labels).double().mean().item() for each in answers]
    print(f"{name:<16} without block 1, 2, … 6: {[round(each) for each in wrong]} % wrong")

# %% [markdown]
# Under the linspace rule block 1 is never dropped, so the others never had to do without it. Any one of *them* can be missed. Where nothing was dropped, every block is missed. So none of these six blocks was superfluous until training had gone without it.
#
# Which blocks to cut out, then? LayerDrop's answer needs no search: at even distances, every other one for half (Section 3.2.2). Our version of it never takes block 1, unless all go.

# %% tags=["mirror"]
# experiments.stochastic_depth.evenly_cut

# %%
print("keep 3 of 6:", [block for block, keep in enumerate(evenly_cut(6, 3), start=1) if keep])
cuts = {name: measured(name, "errors after cuts")[:, :6] for name in networks}
for name, errors in cuts.items():
    cells = [f"{mean(e):.1f} ± {stdev(e):.1f}" for e in errors.T[[0, 1, 2, 3]]]
    print(f"{name:<16} 6, 5, 4, 3 blocks left: {', '.join(cells)} % wrong")

# %%
plots.show(
    plots.bands(
        range(6),
        cuts,
        ("blocks removed, of 6", "test error, %"),
        "Five seeds: block 1 kept, half of the blocks can go where training has practised it",
    ),
    alt="Test error over the number of blocks removed, from 0 to 5, with bands of one standard "
    "deviation over five seeds. With nothing dropped in training the error climbs at once, to "
    "about 28 percent at 3 removed. LayerDrop and DropPath stay under 7 percent up to there.",
)

# %% [markdown]
# *Look at 3 removed.* Half of the network is gone, though not block 1, and nothing was trained again. Where training has practised it, the network errs on average less than twice as often as with all its blocks; where it has not, about {{unpractised_factor}} times. This is no accident of a seed: in every one of the five, the network that had not practised is the worst.
#
# LayerDrop errs a little more than DropPath there, in each of the five seeds. To compare the two would not be fair, though: DropPath's rates are {{drop_path_mean}} on average here, LayerDrop's 0.2 (arXiv:1909.11556, Section 3.2.2), and a DropPath drops half of a block at a time. At full depth LayerDrop costs {{layerdrop_cost}} points of error in this short training, with a standard error of {{layerdrop_cost_se}} over the five pairs: too few seeds to say.
#
# ## Play
#
# The number of blocks, the rate, the rule, and who gets a gate. The lines are the ways of the samples through the blocks. All sliders answer to the arrow keys.

# %%
widgets.StochasticDepth()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# For 4 blocks to lose a quarter on average: under the paper's rule a rate of {{task_paper}}, under linspace {{task_linspace}}. The mean of the paper's rates is r·(L + 1)/(2L), which for few blocks is well above the r/2 of linspace. Only the paper's rule can leave out block 1.
#
# With one gate for the batch, its eight samples train one network at a time. With a gate for each they train up to eight.
#
# </details>
#
# ## Break it
#
# Two faults that a published library had, put into a few lines by us. Both were in transformers: one in DINOv2 ([issue 29140](https://github.com/huggingface/transformers/issues/29140)), one in Swin ([issue 33974](https://github.com/huggingface/transformers/issues/33974)). What is wrong here?


# %%
class Block(nn.Module):
    def __init__(self, dim, drop_path_rate):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x):  # (B, N, C)
        return x + self.mlp(self.norm(x))


class Stage(nn.Module):
    def __init__(self, dim, depth, drop_path, config_rate):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, config_rate) for _ in range(depth))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


asked = [0.0, 0.2, 0.4, 0.6]
stage = Stage(8, depth=4, drop_path=asked, config_rate=0.6).train()
print(stage(torch.randn(2, 5, 8)).shape, stage.blocks[3].drop_path)

# %% [markdown]
# The shape is right, `print` shows a DropPath with the right rate, the loss will fall. Nothing complains, ever: dropping too little is no error.
#
# An instrument: send many samples through each block, and count for how many it is the identity.
#
# **Predict.** What will it say of the four blocks?

# %%
prediction = ...  # four shares


# %%
@torch.no_grad()
def measured_rates(blocks):
    """For each block the share of samples that come out as they went in."""
    x = torch.randn(4000, 5, 8)
    return [
        round((block(x) == x).flatten(1).all(dim=1).double().mean().item(), 1) for block in blocks
    ]


torch.manual_seed(0)
print("asked   ", asked)
print("measured", measured_rates(stage.blocks))

# %% [markdown]
# Nothing is ever dropped. Mend what you see, and ask again.


# %%
def forward(self, x):
    return residual(x, lambda x: self.mlp(self.norm(x)), self.drop_path)


Block.forward = forward  # mended: the DropPath is used
print("asked   ", asked)
print("measured", measured_rates(stage.blocks))

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# There were two faults, and the first one hid the second. `forward` never called `self.drop_path`: that is DINOv2's, and the first measurement. And `Stage` never looked at its `drop_path`: it handed every block the rate from the configuration, which is meant for the *last* one. That is Swin's, and the second measurement. (There an editor had flagged the unused name. It would not have flagged
# the first: an attribute that is set counts as used.)
#
# The mend is `Block(dim, rate) for rate in drop_path`. Then the list is used, the number of blocks follows from it, and there is nothing left that could disagree.
#
# What would have caught it? Not the shape, not the loss, and not `assert block.drop_path.rate == rate`, which the first fault passes. At the rates 0 and 1 nothing is random: **a block of rate 1 must give back its input, bit for bit**. Exercise 05.5 makes a test of it.
#
# </details>

# %%
stage.blocks = nn.ModuleList(Block(8, rate) for rate in asked).train()
print("asked   ", asked)
print("measured", measured_rates(stage.blocks))

# %% [markdown]
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("05.1")` gives a hint, and another one each time you ask; `solution("05.1")` the answer.
#
# ### Exercise 05.1 ★ 4 minutes · Drop, or survival?
#
# The probability that block number `block` survives (1 is the first), in a SegFormer of `depth` blocks whose last one is dropped with `rate`. One block alone is never dropped.


# %%
def survival_of(block, depth, rate):
    return ...


check("05.1", survival_of)

# %% [markdown]
# ### Exercise 05.2 ★ 6 minutes · How deep is it on average?
#
# The expected number of surviving blocks under the *paper's* rule, for any number of blocks and any survival probability of the last.


# %%
def expected_depth(depth, last_survival):
    return ...


check("05.2", expected_depth)

# %% [markdown]
# ### Exercise 05.3 ★★ 8 minutes · DropPath by hand
#
# x is `(B, ...)` with any number of axes, `kept` is `(B,)` of True and False. Return what a DropPath of this rate makes of x; x itself stays as it is. At rate 1 nothing is kept, and zeros are wanted.


# %%
def drop_path(x, kept, rate):
    return ...


check("05.3", drop_path)

# %% [markdown]
# ### Exercise 05.4 ★★ 12 minutes · How likely is a network of k blocks?
#
# The probability that exactly `count` blocks survive, when each has a survival probability of its own. Write it out, without `surviving_blocks`.


# %%
def chance_of(count, survival):
    return ...


check("05.4", chance_of)

# %% [markdown]
# ### Exercise 05.5 ★★ 12 minutes · The test that finds it
#
# `make(rate)` builds a residual block with that drop rate; all blocks it builds have the same weights. Return True if such blocks drop as they should, and False if not: in training the branch and nothing else, at the rate that was asked for; in evaluation nothing. x may be `torch.randn(8, 4, 6)`.


# %%
def drops_as_it_should(make):
    return ...


check("05.5", drops_as_it_should)

# %% [markdown]
# ### Exercise 05.6 ★★★ 15 minutes · Do not compute what is dropped
#
# The whole residual step: x plus the scaled branch for the samples that are kept, x alone for the others. It is a step of training: gradients have to get through. The branch may be handed kept samples only, and x must stay as it is. `kept` is `(B,)` of True and False, some of each.


# %%
def skip(x, branch, kept, rate):
    return ...


check("05.6", skip)

# %% [markdown]
# ## Recap
#
# - Dropout, channel dropout and DropPath differ in what shares one random number: nothing, a channel, or all of a sample's branch.
# - Stochastic depth, as its paper has it: one gate a block and mini-batch; a closed block is not computed; at test time branches are multiplied by $p_l$. The depth is a random number with a narrow law around the sum of the $p_l$.
# - DropPath: a gate a sample, kept branches divided by the probability of being kept. The same method in another convention. `linspace` holds *drop* probabilities, and block 1 has 0.
# - A mask saves no time. Computing the kept samples only does, at high rates; at SegFormer's `0.1` there is little to save, and gathering may cost as much.
# - In our trainings stochastic depth saved time and fitted the training images less; the test error was no better, and at equal loss the gradients were no larger. What dropping did bring, in every seed: a network that goes on working when half of its blocks are cut out, as long as block 1 stays.
# - Rates 0 and 1 leave nothing to chance. Test there.
#
# **Can you answer without scrolling up?**
#
# 1. In the paper, why is a block with a closed gate exactly the identity, although there is a ReLU after the sum?
# 2. `[0, 0.02, 0.04, 0.06, 0.08]` comes out of somebody's model. Which rule made it, and what are the survival probabilities?
# 3. Why are the samples that are *kept* changed?
# 4. A colleague sets the drop-path rate to `0.4` to train faster, with a masking DropPath. What happens?
# 5. From the second epoch on stochastic depth gives the larger gradients in the first block, epoch for epoch. Why does that not show that a shorter way is the reason?
#
# <details><summary>Answers</summary>
#
# 1. What comes in is itself the result of a ReLU, so it has no negative numbers for the next ReLU to change.
# 2. linspace: it begins with 0 and rises in equal steps to the rate of the last block, `0.08`. Survival: `1, 0.98, 0.96, 0.94, 0.92`.
# 3. In evaluation the branch is always there. Dividing by the probability of being kept makes its mean in training the same as then.
# 4. The step takes as long as before; what is dropped has been computed. The network is regularised more, wanted or not.
# 5. At the same epoch its loss is higher, and gradients are larger where the loss is. Compared at the same loss ours were smaller.
#
# </details>
#
# > **Where paper, code and posts differ**
# >
# > - *Per mini-batch or per sample.* The paper draws a gate for the mini-batch (arXiv:1603.09382, Section 3); timm and Swin draw one a sample and call it stochastic depth, and SegFormer does as they do. torchvision has both, as `mode="batch"` and `mode="row"`.
# > - *Where the scaling is.* The paper multiplies at test time (eq. 5), DropPath divides in training. Equal up to a factor in the weights: section 6.
# > - *The schedule.* r·l/L in the paper, so block 1 is dropped with r/L. r·(l − 1)/(L − 1) in code, so block 1 is never dropped. Who takes l = 0 for the first layer finds that the paper never skips it either; but l = 0 is the input (Section 3, Figure 2).
# > - *Which list.* `torch.linspace(0, 0.1, 8)` holds drop probabilities. It has been printed as the probabilities of survival.
# > - *Superfluous layers.* That stochastic depth works does not show that many layers learn nothing: trained without dropping, each of our transformer's six blocks is missed.
# > - *Faster training*, as [the summary of section 4](https://github.com/aleju/papers/blob/master/neural-nets/Deep_Networks_with_Stochastic_Depth.md) says: true of the paper's gate, not of a mask.
# > - *Larger gradients.* Epoch for epoch, in the paper (Figure 7), and here from the second on. At equal loss not here.
# > - *Who.* Stochastic depth is by Huang, Sun, Liu, Sedra and Weinberger, and not by ResNet's authors, [He, Zhang, Ren and Sun](https://arxiv.org/abs/1512.03385).
# > - *Dropout zeroes*, and it scales the rest (section 1). So does DropPath.
# > - *The names.* EfficientNet's code calls DropPath "drop connect", which is the name of something else: single *weights* that are dropped ([EfficientNet-PyTorch, issue 104](https://github.com/lukemelas/EfficientNet-PyTorch/issues/104)).
#
# **References.** G. Huang and others, *Deep Networks with Stochastic Depth*, [arXiv:1603.09382](https://arxiv.org/abs/1603.09382), Section 3, eq. 1 to 5, Figure 7, Tables 1 and 2. A. Fan and others, *Reducing Transformer Depth on Demand with Structured Dropout*, [arXiv:1909.11556](https://arxiv.org/abs/1909.11556), Section 3.2. G. Hinton and others, *Improving neural networks by
# preventing co-adaptation of feature detectors*, [arXiv:1207.0580](https://arxiv.org/abs/1207.0580). G. Larsson and others, *FractalNet*, [arXiv:1605.07648](https://arxiv.org/abs/1605.07648). E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203).
#
# **Next:** lesson 06. All parts of a block are built. How blocks make stages, and stages an encoder.
