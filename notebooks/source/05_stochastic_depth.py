# %% [markdown]
# # Lesson 05 · Why drop whole blocks?
#
# While SegFormer is trained, parts of it go missing: whole branches of its blocks, at random, now for this image and now for that one. The network that comes out has all of them, and is said to be the better for it.
#
# The idea was made for very deep ResNets ([Huang and others 2016](https://arxiv.org/abs/1603.09382)). On its way to SegFormer it changed, but people still say of SegFormer's form what was true only of the original. So we build both, and measure what each does.
#
# **After this lesson you will be able to**
#
# - say what dropout does to a number in training and in evaluation, and what else can be dropped in its place;
# - write stochastic depth as its paper has it, and say how deep the network was;
# - tell drop from survival probabilities, and say why what is kept is divided by its probability;
# - say which form saves time; and
# - find a block that has a DropPath and never calls it.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip what is marked *further*, its cells too, because only later *further* parts need them. **You need** lesson 04, and to have seen a ResNet once.

# %%
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, product
from statistics import mean, stdev

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import MixFFN, OverlapPatchEmbedding, plots, widgets
from segformer_edu.analysis.depth import first_gradients, gradient_at
from segformer_edu.analysis.timing import seconds_in_turns
from segformer_edu.checks import check_choice, check_positive, check_rate
from segformer_edu.encoder import EncoderBlock
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.files import experiments_folder
from segformer_edu.layers import initialize
from segformer_edu.stochastic_depth import MODES, RULES

# %%
torch.set_num_threads(1)
experiments = experiments_folder()
generator = torch.Generator().manual_seed(5)

# %% [markdown]
# ## 1 · What does dropout drop?
#
# We begin with ordinary dropout ([Hinton and others 2012](https://arxiv.org/abs/1207.0580)). In training it sets each number to zero with probability p, independently of all the others, and draws anew in every pass. A network that cannot rely on any one number has to spread what it knows.
#
# **Predict.** Many ones go through `nn.Dropout(p=0.25)` in training. Which values come out, and what is their mean?

# %%
prediction = ...  # the values and the mean, such as ([0, 1], 0.5)

# %%
torch.manual_seed(0)
dropout, ones = nn.Dropout(p=0.25), torch.ones(100_000)
y = dropout(ones)
values, average = [round(v, 3) for v in y.unique().tolist()], round(y.mean().item(), 2)
print(f"training: values {values}, mean {average}; {(y == 0).double().mean():.2f} are zero")
compare(prediction, (values, average))

# %% [markdown]
# Three quarters of the ones are still there, and they have become 4/3. What is kept is **divided by the probability of being kept**, so that the mean stays what it was. (The first paper put the correction at the other end: for p = 1/2 it halved the outgoing weights at test time.)
#
# In evaluation nothing is dropped. But what switches dropout off?

# %%
with torch.no_grad():
    print(f"no_grad():   {(dropout(ones) == 0).double().mean():.2f} are zero")
print(f"eval():      {(dropout.eval()(ones) == 0).double().mean():.2f} are zero")
print(f"F.dropout(): {(F.dropout(ones, 0.25) == 0).double().mean():.2f} are zero")

# %% [markdown]
# It is `eval()`, alone. `no_grad()` only stops the bookkeeping for the gradient, so without `eval()` your predictions change from pass to pass. And a *function* does not know in which mode the model is: `F.dropout` drops in evaluation too, unless it is told `training=self.training`.
#
# ### What else can be dropped?
#
# A batch of feature maps has samples, channels and tokens. We can draw one random number for each entry, or for each channel, or for each sample. Only the *shape of the draw* differs:

# %%
drawn = {  # samples, channels, tokens: here a channel is a row, and a token a column
    "a number each: dropout": (4, 5, 20),
    "a number for a sample's channel": (4, 5, 1),
    "a number a sample: DropPath": (4, 1, 1),
}
kept = {
    name: (torch.rand(shape, generator=generator) >= 0.4).expand(4, 5, 20).numpy()
    for name, shape in drawn.items()
}
plots.show(
    plots.dropped_together(kept, "What is drawn together is dropped together"),
    alt="Three panels, each with four samples of 5 channels and 20 tokens. Left: single squares "
    "are missing, all over. Middle: whole rows, the channels. Right: whole samples.",
)

# %% [markdown]
# *Compare the left panel with the right one.* On the left something is missing from every sample. On the right a sample has everything or nothing. (The middle one sits in SegFormer's decoder, lesson 07.)
#
# A dropped sample is not lost, because DropPath acts on a **branch** alone, which is what a block adds to its input. Of `x + branch(x)` the sample keeps x.
#
# ## 2 · What if a block is not there at all?
#
# That is the idea of stochastic depth. A ResNet is a chain of blocks, and each block $f_l$ adds something to what came in:
#
# $$H_l = \mathrm{ReLU}\left(f_l(H_{l-1}) + H_{l-1}\right)$$
#
# For every mini-batch, give each block a gate $b_l$, which is 1 with probability $p_l$ and 0 otherwise (arXiv:1603.09382, eq. 2):
#
# $$H_l = \mathrm{ReLU}\left(b_l\, f_l(H_{l-1}) + H_{l-1}\right)$$
#
# Where the gate is closed, $H_l = \mathrm{ReLU}(H_{l-1})$. This is $H_{l-1}$ itself, because it is the result of a ReLU already, and has no negative numbers. So a block with a closed gate is the identity (eq. 3), and it need not be computed at all, neither forward nor backward. Dropout makes a network thinner; this makes it *shorter*, for one mini-batch.
#
# How likely should each block be to survive? The paper argues that the first blocks find what all the others build upon, so they should be there most of the time. It lets survival fall along a line (eq. 4):
#
# $$p_l = 1 - \frac{l}{L}\,(1 - p_L), \qquad l = 1 \dots L$$
#
# Mind the letter. The p of `nn.Dropout` is the probability of being *dropped*, but this one is that of *surviving*.
#
# **Predict.** Take 18 blocks and $p_L = 0.5$. What is the survival probability of the first block?

# %%
prediction = ...  # a number, such as 0.5

# %%
L, last = 18, 0.5
survival = [1 - block / L * (1 - last) for block in range(1, L + 1)]
print("p_1 …", [round(p, 3) for p in survival[:3]], "… p_L", survival[-1])
compare(prediction, round(survival[0], 3))

# %% [markdown]
# l = 0 is the *input*, $H_0$. The first block has l = 1, and goes missing in about one mini-batch of {{first_block_missing}}, the last one in half of them.
#
# ### Build it

# %% tags=["mirror"]
# experiments.stochastic_depth.StochasticDepthResNet

# %% [markdown]
# Look at the loop. In training `gates` are zeros and ones, one for the whole mini-batch, and where `b` is zero, `f` is not called. In evaluation every block runs, and `gates` are the $p_l$ themselves, because $f_l$ was there for that share of the training only (eq. 5):
#
# $$H_l^{\text{Test}} = \mathrm{ReLU}\left(p_l\, f_l(H_{l-1}^{\text{Test}}) + H_{l-1}^{\text{Test}}\right)$$
#
# ### Is a closed gate as good as no block? · *further*
#
# By eq. 3 it should be. So we take the blocks out, and compare bit for bit.

# %%
torch.manual_seed(0)
network = StochasticDepthResNet(survival).eval()
some_images, gates = torch.randn(5, 1, 8, 8), torch.bernoulli(network.survival)

shorter = copy.deepcopy(network)
shorter.blocks = nn.ModuleList(f for f, b in zip(network.blocks, gates, strict=True) if b)
open_gates = torch.ones(len(shorter.blocks))
assert torch.equal(network(some_images, gates), shorter(some_images, open_gates))
print(f"{int(L - gates.sum())} gates closed: the same as a network of {len(shorter.blocks)} blocks")

# %% [markdown]
# ## 3 · How deep is it, then?
#
# The network is as deep as the gates say, and that is another number for every mini-batch. Its mean is the sum of the survival probabilities, which for eq. 4 and $p_L = 0.5$ is $(3L - 1)/4$. A gate has the variance $p_l(1 - p_l)$, and because the gates are independent, their variances add up as well. For the paper's ResNet with L = 54 blocks and $p_L = 0.5$:

# %%
survival_54 = [1 - block / 54 * 0.5 for block in range(1, 55)]
print(f"expected: {sum(survival_54):.2f} of 54, and (3L - 1) / 4 = {(3 * 54 - 1) / 4}")
print(f"standard deviation: {sum(p * (1 - p) for p in survival_54) ** 0.5:.1f}")

# %% [markdown]
# The mean is {{expected_54}}, which the paper rounds to 40 (Section 3), so on average a quarter of the blocks is saved. A single mini-batch strays from that by about three blocks.
#
# ### How likely is each depth? · *further*
#
# The whole law of the depth can be had without drawing anything. We add the blocks one at a time. With one more block there are as many survivors as before if it is dropped, and one more if it is kept.

# %% tags=["mirror"]
# segformer_edu.analysis.depth.surviving_blocks

# %% [markdown]
# (A sum of coins that are not alike has a *Poisson-binomial* law.) **Check it** where everything can be counted: three blocks, eight networks, each with its own probability.

# %%
three = [0.9, 0.5, 0.2]
counted = np.zeros(4)
for gates in product((0, 1), repeat=3):
    counted[sum(gates)] += np.prod([p if b else 1 - p for p, b in zip(three, gates, strict=True)])
assert np.allclose(surviving_blocks(three), counted)
print("0, 1, 2, 3 survive:", counted.round(2))

# %%
torch.manual_seed(0)
draws = torch.rand(20_000, 54) < torch.tensor(survival_54)
law = surviving_blocks(survival_54)
plots.show(
    plots.survivors(law, draws.sum(dim=1).numpy(), "54 blocks: nearly always between 31 and 49"),
    alt="Bars of the share of 20,000 mini-batches in which so many blocks survive, a bell around "
    "40 from 28 to 51, and dots of the computed law, which sit on the bars' tops. A line marks "
    "the expected 40.25.",
)
print(f"31 to 49 blocks: {law[31:50].sum():.3f}, 27 or fewer: {law[:28].sum():.6f}")

# %% [markdown]
# *See how narrow the bell is.* That only half of the blocks survive, 27 or fewer, is very rare. The paper trains for 500 epochs of 45,000 images in mini-batches of 128 (arXiv:1603.09382, Section 4), but there are $2^{54}$ choices of gates, {{networks_54}} networks that share their weights. So nearly all of them were never trained even once. Section 8 asks whether the shorter ones are any good.
#
# ## 4 · Does it help?
#
# Three things are promised ([one summary](https://github.com/aleju/papers/blob/master/neural-nets/Deep_Networks_with_Stochastic_Depth.md) lists them): a better network, less time, and larger gradients in the early blocks. All three can be measured. We trained the network above on {{digits_trained}} handwritten digits, with every gate open ("constant depth") and with gates drawn ("stochastic depth"). Because another seed gives another number, `python -m experiments.stochastic_depth` trained each of the two from eight seeds. Here is what it wrote.

# %%
results = json.loads((experiments / "stochastic_depth.json").read_text(encoding="utf-8"))
print(results["machine"]["date"], results["machine"]["processor"])


def measured(network, what):  # one row a seed
    return np.array([run[what] for run in results["runs"] if run["network"] == network])


kinds = "constant depth", "stochastic depth"
axes = {"error": "test error, %", "seconds": "training, processor seconds"}
panels = {axis: {name: measured(name, what) for name in kinds} for what, axis in axes.items()}
plots.show(
    plots.seeds(panels, "Eight seeds: no better here, and less time"),
    alt="Eight dots for constant and eight for stochastic depth, joined seed by seed. Test error: "
    "0.6 to 1.5 percent, and 1.3 to 2.4, higher in six of eight. Seconds: lower for every seed.",
)

# %% [markdown]
# *Follow the lines, each of which is a seed.* (The bar beside the dots is their mean ± standard deviation, which is also what ± means below.) Is it **a better network**? Not here. {{constant_error}} % of the test images are wrong with constant depth, {{stochastic_error}} % with stochastic depth. Seed by seed the difference is {{error_difference}} points, {{error_difference_images}} of the {{digits_tested}} images, with a standard error of {{error_difference_se}}, and six of the eight seeds are worse. That is suggestive, and no more.
#
# Is it **less time**? Yes. A closed gate saves the whole block, forward and backward. The $p_l$ leave {{blocks_computed}} of the blocks to be computed, and the runs took {{time_share}} of the time. The time is saved because *one gate decides for the whole mini-batch*, and the next section takes that away.
#
# In the paper, whose network is three times as deep and trained for 500 epochs, error fell from 6.41 to 5.25 % on CIFAR-10, and time to 73 % (arXiv:1603.09382, Tables 1 and 2).
#
# The third promise, **larger gradients**, holds here on average from the second epoch on, but not at equal loss (second *further* part below).
#
# ### How was it trained? · *further*
#
# These are the data and the training of the script, and here is what they need.

# %%
from typing import Any

from sklearn.datasets import load_digits
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

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
# This is real handwriting, which ships with scikit-learn. The training is the paper's, made small: Nesterov's momentum, and a tenth of the learning rate after half and after three quarters of the steps. Batch, learning rate and number of epochs are smaller, and no image is altered.

# %% tags=["mirror"]
# experiments.stochastic_depth.sgd

# %% tags=["mirror"]
# experiments.stochastic_depth.train

# %% [markdown]
# Here is a part of it live: the first five epochs of the first seed, of both networks. Which of the two will have the lower *training* loss?

# %%
curves = {name: measured(name, "losses") for name in kinds}
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
        "While blocks are dropped, the loss stays higher",
        log=True,
    ),
    alt="Training loss over 15 epochs on a logarithmic axis, for eight seeds each, as curves with "
    "bands. Constant depth falls from about 1.4 to 0.003; stochastic depth stays above it all "
    "the way and ends several times higher. Two short curves, trained in the lesson, cover the "
    "first five epochs.",
)

# %% [markdown]
# *Find the two short curves among the long ones.* On the machine that wrote the file they are the beginnings of two of the sixteen runs, number for number. A network that changes for every mini-batch fits the training images less well. Its loss ends {{loss_factor}} times as high while blocks are dropped (a geometric mean; the eight seeds: {{loss_factors}}), and about three to seven times with every block at work (four seeds, which we trained with the script). That is what a *regulariser*, which holds a network back, is supposed to do, and it pays if the network had been fitting *too* well. If our gap in test error is real, a possible reason is that these digits leave little to overfit, that is, to learn by heart. (More epochs we have not tried.)
#
# ### Are the gradients of the early blocks larger? · *further*
#
# The promise is that in a shorter network gradients vanish less. Do they vanish at all? In a ResNet of 54 blocks before any training, how does the gradient of block 1 compare with that of block 54?

# %%
torch.manual_seed(0)
deep = StochasticDepthResNet(survival_54)
some = images[:100], labels[:100]
full = first_gradients(deep, *some, torch.ones(54))
draws = [torch.bernoulli(deep.survival) for _ in range(8)]
drawn = sum(first_gradients(deep, *some, gates) for gates in draws) / sum(draws)  # where open
plots.show(
    plots.bands(
        range(1, 55),
        {"all 54 blocks": full[None].numpy(), "mean of 8 draws": drawn[None].numpy()},
        ("block", "gradient norm, first convolution"),
        "At the start the gradient does not vanish: it grows towards block 1",
        log=True,
    ),
    alt="The norm of the gradient of the first convolution of each of 54 blocks of an untrained "
    "ResNet, on a logarithmic axis. It is smallest near the last block and rises towards the "
    "first. The curve for drawn gates has the same form, lies below it and meets it towards the "
    "end.",
)

# %% [markdown]
# *Read it from right to left*, as the gradient travels. It grows, because every skip connection hands most of it back and every branch adds to it. And with gates drawn (over the draws in which a block takes part) it is *smaller* in the early blocks, not larger.
#
# The paper looked *during* training, at the first convolution of block 1, and there stochastic depth had the larger gradient throughout (Figure 7). So it has here, on average over the seeds and but for the first epoch:

# %%
plots.show(
    plots.bands(
        range(1, 16),
        {name: measured(name, "gradients") for name in kinds},
        ("epoch", "mean absolute gradient of block 1"),
        "From the second epoch on, stochastic depth has the larger gradient on average",
        log=True,
    ),
    alt="Mean absolute gradient of the first block over 15 epochs, on a logarithmic axis. Both "
    "curves end far below their start. Stochastic depth begins a little below constant depth, is "
    "above it from the second epoch on, and ends several times higher.",
)

# %% [markdown]
# By the last epoch it is {{gradient_factor}} times as large (again a geometric mean; the eight seeds: {{gradient_factors}}). Is that because the way is shorter? There is another explanation: a gradient shrinks as the loss does, and the loss of stochastic depth is higher. To tell the two apart, we plot the gradient over the *loss*, for the seven epochs before the learning rate falls (which changes the gradient too). Which of the two clouds lies higher?

# %%
early = {name: [measured(name, what)[:, :7] for what in ("losses", "gradients")] for name in kinds}
clouds = {name: (losses.ravel(), gradients.ravel()) for name, (losses, gradients) in early.items()}
plots.show(
    plots.clouds(
        {"": clouds},
        ("training loss of the epoch", "mean absolute gradient of block 1"),
        "At the same loss stochastic depth does not have the larger gradient",
        log=True,
    ),
    alt="The first seven epochs of every seed as points, gradient over loss, both axes "
    "logarithmic. Two clouds rise together along one curve; at losses around 0.1 most points of "
    "stochastic depth lie a little below those of constant depth.",
)
for name in kinds:  # each run's points near that loss, read off a straight line through them
    at_a_tenth = [1000 * gradient_at(0.1, *run) for run in zip(*early[name], strict=True)]
    print(f"{name:<16}  {mean(at_a_tenth):.1f} ± {stdev(at_a_tenth):.1f} thousandths (8 seeds)")

# %% [markdown]
# *Pick a loss, for example `0.1`, and go straight up.* Near that loss, at the same learning rate, the gradient of stochastic depth is about a tenth *smaller*. So in *this* network the larger gradients go with the higher loss, and that the way is shorter adds nothing to them that we can see. Whether that holds for the paper's training, its figure cannot tell, because it has epochs on its axis.
#
# ## 5 · What does SegFormer do differently?
#
# SegFormer, the vision models Swin and ConvNeXt, and the ViT of timm, a library of image models, all have a layer called **DropPath**, for stochastic depth. Four things have changed.
#
# | | stochastic depth, as its paper has it | DropPath |
# |---|---|---|
# | a gate is drawn | once for the mini-batch | for **each sample** |
# | the scaling | multiply by $p_l$ at **test** time | divide by $p_l$ in **training** |
# | the rate of block l of L (r: that of the last, $1 - p_L$) | r · l / L | r · (l − 1) / (L − 1), which is `torch.linspace(0, r, L)` |
# | a gate closes | a whole block | one *branch*, and a transformer's block has two |
#
# The first change decides whether time is saved:

# %%
survival_12 = torch.linspace(1, 0.5, 12)
one_draw = (torch.rand(1, 12, generator=generator) < survival_12).expand(8, 12)
a_draw_each = torch.rand(8, 12, generator=generator) < survival_12
plots.show(
    plots.gates(
        {"one gate for the batch": one_draw.numpy(), "a gate for each sample": a_draw_each.numpy()},
        "Left one network is trained, right up to eight at once",
    ),
    alt="Two panels of 8 samples by 12 blocks, crossed where a block is dropped. Left: whole "
    "columns. Right: every row has its own crosses, more of them towards the last blocks.",
)

# %% [markdown]
# *Look for a column that is crossed from top to bottom.* On the left every closed gate makes one, and that block need not be computed. On the right a block is hardly ever dropped by all samples at once, so to save time we have to gather those that keep it (section 7).
#
# ### Build it
#
# First the plain form, which computes the branch and then masks it.


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
# From here on we use the package's `DropPath`, which does the same. (`mode="batch"` draws one gate for all.)
#
# ### What does the package's DropPath do better? · *further*
#
# The plain form is right until somebody asks for something unusual. At rate 1 it computes 0/0; a branch that has overflowed to infinity is not dropped, since 0 · ∞ is no number; and the rates `1.5` and `-0.1` pass without a word. In the package's form `check_rate` and `check_choice` raise a ValueError that says what is allowed, and `torch.where` puts zeros in the forward pass, whatever the branch holds (backwards, 0 · ∞ comes back; the way out is not to compute the branch, section 7):

# %% tags=["mirror"]
# segformer_edu.stochastic_depth.DropPath

# %% [markdown]
# `kept` draws on the CPU, so that the gates are the same on every device. **Check it**: from the same random numbers, the plain form and the package's must agree.

# %%
x = torch.rand(40_000, 3, 5) + 1  # nowhere zero
torch.manual_seed(1)
masked = MaskedDropPath(0.3).train()(x)
torch.manual_seed(1)
assert torch.allclose(DropPath(0.3).train()(x), masked)
print("the same draws, the same answer")

# %% [markdown]
# ### What can go wrong with the draw? · *further*
#
# Some libraries, transformers among them, make the mask with `floor(rand + keep)`, in the precision of x. Our `kept` draws in 32 bits, whatever x has, and here is why. In bfloat16, with a drop rate of `0.001`, how many of a million samples are dropped?

# %%
torch.manual_seed(0)
for precision in (torch.float32, torch.bfloat16):
    keep = torch.tensor(1 - 0.001, dtype=precision)
    mask = torch.floor(torch.rand(1_000_000, dtype=precision) + keep)
    shares = [f"{value}: {(mask == value).double().mean():.3f}" for value in (0, 1, 2)]
    print(f"{precision}, shares of the mask's values  {',  '.join(shares)}")

# %% [markdown]
# None. bfloat16 has 8 significant bits, and its nearest number to `0.999` is 1, so nothing is ever dropped. Worse, its largest number below 1, plus 1, is rounded to 2, so a few samples get their branch twice.
#
# Is our draw right? Torch's `F.dropout1d` drops whole channels of (samples, channels, length). If the samples stand where it expects channels, it has to do what DropPath does.

# %%
torch.manual_seed(0)
theirs = F.dropout1d(x.flatten(1)[None], p=0.3)[0].view_as(x)
ours = DropPath(0.3).train()(x)
for result in (theirs, ours):
    dropped = (result == 0).flatten(1).all(dim=1)
    assert torch.allclose(result[~dropped], x[~dropped] / 0.7)
    print(
        f"dropped {dropped.double().mean():.2f}, mean over x's mean {result.mean() / x.mean():.2f}"
    )

# %% [markdown]
# Both have the same two outcomes for a sample, and the same share of each.
#
# ### Which list holds which probability?
#
# The rates of the blocks rise from first to last. Two rules are common.

# %% tags=["mirror"]
# segformer_edu.stochastic_depth.drop_rates

# %% [markdown]
# **Predict.** `torch.linspace(0, 0.1, 8)` is the list for the eight blocks of B0. Suppose that it held probabilities of *survival*. How many of the eight blocks would survive on average?

# %%
prediction = ...  # a number of blocks, such as 5

# %%
linspace = drop_rates(0.1, 8)
print("linspace:", [f"{rate:.4f}" for rate in linspace], f"{8 - sum(linspace):.1f} blocks survive")
print(f"linspace taken for survival probabilities: {sum(linspace):.1f} blocks survive")
compare(prediction, round(sum(linspace), 1))

# %% [markdown]
# Less than half a block would be left, and never block 1, so the list holds **drop** probabilities. Look at the first entry of any such list: a 0 for the first block can only be a drop probability.
#
# The ramp runs through the whole network, over the borders of its stages. A block of SegFormer has *two* branches, attention and Mix-FFN (lesson 06 reads it line by line), and each has a gate of its own, of the same rate (one DropPath, which draws anew at each call). So B0 has sixteen gates for a sample, two of which never close.
#
# ### Which rule, and which rate? · *further*
#
# SegFormer takes `0.1` for all six sizes. In B0 {{b0_complete}} of the samples then find all gates open (the product of all $(1 - r_l)^2$). ConvNeXt's authors tried 0.3 to 0.5 for ADE20K, and say that it depends on model and data ([ConvNeXt, issue 100](https://github.com/facebookresearch/ConvNeXt/issues/100)). Our small nano scored a point less at `0.2` (one training of each, section 8). The two rules differ most at block 1, and end together:

# %%
paper = drop_rates(0.1, 8, rule="paper")
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
# ## 6 · Why divide by the probability of being kept?
#
# Dropping one sample should not touch another, so why change those that are kept ([timm, issue 887](https://github.com/huggingface/pytorch-image-models/issues/887))? Because in *evaluation* no gate is closed, and the next layer has to get numbers there like those that it learned from.
#
# **Predict.** A branch always gives 1. It is kept with probability $q = 0.1$, and divided by q. What are the mean and the variance of what the next layer sees in training?

# %%
prediction = ...  # mean and variance, such as (0.5, 1)

# %%
from segformer_edu import DropPath

torch.manual_seed(0)
branch = torch.ones(400_000, 1)
for q in (0.9, 0.5, 0.1):
    divided = DropPath(1 - q).train()(branch)
    raw = divided * q  # as if nobody had divided
    print(
        f"q = {q}: divided: mean {divided.mean():.1f}, variance {divided.var():.2g}; "
        f"not divided: mean {raw.mean():.1f}, variance {raw.var():.2g}"
    )
compare(prediction, (round(divided.mean().item(), 1), round(divided.var().item(), 1)))

# %% [markdown]
# Divided, the mean is 1 for every q, the same as in evaluation. Not divided, it is q, and in evaluation the branch is suddenly 1/q times as large.
#
# The variance is the price of dropping: $(1-q)/q$ for a branch of 1. At $q = 0.9$ it is a ninth. At $q = 0.1$ it is 9, because one sample in ten gets a branch ten times too large, and the others none.
#
# What if the correction is *forgotten*? The eight ResNets of section 4 were also tested with every gate at 1 instead of $p_l$:

# %%
for what in ("error", "error without p_l"):
    wrong = measured("stochastic depth", what)
    print(f"{what:<17}  {mean(wrong):.2f} ± {stdev(wrong):.2f} %   (8 seeds)")

# %% [markdown]
# All that was left out is the factor of eq. 5. There is no error message, but the mean error is {{without_p_l_factor}} times as high (the eight seeds: {{without_p_l_factors}} times).
#
# ### Divide now, or multiply later? · *further*
#
# The paper multiplies by $p_l$ at test time, DropPath divides in training. Is that a different method, or can you change the weights of one network so that the other convention gives the same numbers in training *and* in evaluation?


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
x = torch.randn(4, 8)
for b, training in ((0, True), (1, True), (1, False)):
    theirs, ours = by_the_paper(x, f, b, q, training), by_droppath(x, smaller, b, q, training)
    assert torch.allclose(theirs, ours, atol=1e-6)
print("same numbers, gate open or closed, in training and in evaluation")

# %% [markdown]
# Multiply the last layer of the branch by q, weight and bias (all our branches end in a layer that has both), and the two agree everywhere. So it is **one method in two conventions**: any network of the one is a network of the other. (They start from other weights, and a step of the optimiser is not the same in both, so a training run need not end in the same place.) The practical difference is that DropPath leaves nothing to do in evaluation, and so nothing to forget.
#
# That forgetting cost the ResNets so much is due to BatchNorm, which stores means and variances in training, here those of networks with fewer branches. With these taken anew, every gate at 1, the mean error was about that with $p_l$ again (four seeds).
#
# ## 7 · Does it save time?
#
# Section 4 promised less time, and the paper's gate kept the promise. Does DropPath? In `x + drop_path(mix_ffn(x))`, `mix_ffn(x)` is computed before anything is dropped, so a mask throws away work that is done. To save it, we have to drop *first*: gather the samples that are kept, compute the branch for them alone, and add it where they stand. A DropPath has three parts that we need for this: `active` says whether anything is dropped at all, `kept` draws the gates, and `scale` is 1 / (1 − rate).

# %% tags=["mirror"]
# segformer_edu.stochastic_depth.residual

# %% [markdown]
# `x[rows]` gathers the kept samples. `index_add` adds `alpha` times what the branch makes of them to x, the skip path, each in its own row.
#
# Ten samples meet a drop rate of one half. For how many of them is the branch computed, with the mask and with `residual`? We count the samples that it is handed.

# %%
mix_ffn, half = MixFFN(16, 64), DropPath(0.5).train()
x = torch.randn(10, 6, 6, 16, generator=generator, requires_grad=True)
handed = []


def counting(rows):
    handed.append(len(rows))
    return mix_ffn(rows)


torch.manual_seed(3)
residual(x, counting, half)  # drop, then compute
half(counting(x))  # compute, then drop
print(f"samples computed: skip {handed[0]}, mask {handed[1]}")

# %% [markdown]
# (Five would be kept on average; these gates kept four.) So "blocks are removed, and training gets faster" is true of the paper's gate, and not of a DropPath that masks. If only the kept samples are computed, it is true again at high rates. But gathering costs time as well. A comment in the code of DINOv2, a vision transformer, says that it pays only above a rate of 0.1 ([timm, issue 1836](https://github.com/huggingface/pytorch-image-models/issues/1836)). SegFormer's ramp ends at that rate, so at 512×512 pixels {{least_saved}} (B0) to {{most_saved}} (B4) of the blocks' work could be saved at best.
#
# ### Does skipping change the answer? · *further*
#
# From the same draws, the mask and `residual` must give the same values, and the same gradients of x and of all parameters.

# %%
outcomes = []
for form in (lambda: x + half(mix_ffn(x)), lambda: residual(x, mix_ffn, half)):
    torch.manual_seed(3)
    y = form()
    outcomes.append([y, *torch.autograd.grad(y.square().sum(), [x, *mix_ffn.parameters()])])
for masked, skipped in zip(*outcomes, strict=True):
    assert torch.allclose(masked, skipped, rtol=1e-4, atol=1e-4)
print("the same values and gradients")

# %% [markdown]
# ### What does the clock say? · *further*
#
# We time forward and backward through a Mix-FFN: 16 samples of 16×16 tokens, one thread, processor seconds.

# %%
mix_ffn, x = MixFFN(64, 256), torch.randn(16, 16, 16, 64)


def mask(x, branch, drop_path):
    return x + drop_path(branch(x))


def train_once(form, drop_path):
    form(x, mix_ffn, drop_path).sum().backward()


rates = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8)
forms = {
    "mask": (mask, "sample"),
    "skip, a gate a sample": (residual, "sample"),
    "skip, one gate a batch": (residual, "batch"),
}
steps = {
    (name, rate): partial(train_once, form, DropPath(rate, mode).train())
    for (name, (form, mode)), rate in product(forms.items(), rates)
}
took = seconds_in_turns(steps, widgets.progress(range(8), "turns"), calls=4)

# %%
factor = took["mask", 0.8].mean() / took["skip, a gate a sample", 0.8].mean()
plots.show(
    plots.bands(
        rates,
        {name: 1000 * np.stack([took[name, r] for r in rates], axis=1) for name in forms},
        ("drop rate", "milliseconds for a step"),
        f"Measured here: at 0.8 the mask takes {factor:.1f} times as long as skipping",
    ),
    alt="Milliseconds of a training step through a Mix-FFN over the drop rate from 0 to 0.8. The "
    "mask's curve stays level. The curves of skipping, by sample and by batch, lie well below it "
    "at 0.6 and 0.8; the batch's has the widest band. The factor measured on the machine that "
    "made the picture stands in the title.",
)

# %% [markdown]
# *Follow the mask's curve: it does not fall.* (A point is the mean of eight turns of four steps, and the band shows their standard deviation. Where one gate decides for the batch, a turn is cheap or dear by luck.) *Then look at `0.1` and `0.2`.* Our runs do not agree whether skipping by sample saves time there or costs some. For timm somebody measured 5.4 instead of 8.8 seconds, with ViT-L and a rate of 0.4 ([timm, pull request 1835](https://github.com/huggingface/pytorch-image-models/pull/1835)).
#
# ### What if all samples are dropped? · *further*
#
# Then `residual` hands the branch an *empty* batch.

# %%
always = DropPath(1.0).train()
mix_ffn.zero_grad()
residual(x, mix_ffn, always).sum().backward()
print("gradients that are None:", sum(weight.grad is None for weight in mix_ffn.parameters()))
print("gradients that are zero:", sum(not weight.grad.any() for weight in mix_ffn.parameters()))

# %% [markdown]
# The gradients are zero, not None. That matters on several GPUs, where DistributedDataParallel waits for a gradient of every parameter, unless it is told otherwise, and would stop with an error when a block sits out.
#
# ## 8 · What is left of a network when blocks go? · *further*
#
# A network trained with dropped blocks is $2^L$ networks in one (half as many where block 1 is never dropped, more where each branch has its own gate). Two questions follow. At test time all blocks run: is that like asking all those networks, and averaging? And are the smaller ones any good by themselves?
#
# For this we take a small transformer of six of SegFormer's own blocks: attention and then Mix-FFN, each added to x. Their LayerNorms compute their means anew for each token. That matters, because a BatchNorm, as in the ResNets above, keeps running means over *all* the networks that it was part of, and they fit none in particular.

# %% tags=["mirror"]
# experiments.stochastic_depth.DigitTransformer

# %% [markdown]
# The script has trained it five times in each of three ways: with nothing dropped; with DropPath, rate `0.5` at the last block; and with LayerDrop, of which more below. The test images are those of *How was it trained?* (section 4), so run its cells first.

# %%
from safetensors.torch import load_file

weights = load_file(experiments / "stochastic_depth.safetensors")  # of seed 0


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
# We put only the DropPaths back into training mode, so that every pass asks other networks. Then we average more and more passes, and watch how far the average is from evaluation (half the sum of the absolute differences: 0 is agreement, 1 is none at all). Does the distance go to zero?

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
    print(f"{n:>2} networks averaged: distance {distance[n].mean():.4f}, {wrong:.0%} wrong")

# %% [markdown]
# It falls, and then it all but stops. So one pass through the whole network is not quite the average over all the networks in it, but about as near to it as the mean of four drawn networks. With nothing but linear layers after a branch it would be exact, for that is what dividing by q is for. But softmax, GELU and LayerNorm are not linear. As to the errors, the single pass is as good here as the average of 64, at a 64th of the price.
#
# ### Are the smaller networks any good?
#
# **LayerDrop** asks for that on purpose ([Fan and others 2019](https://arxiv.org/abs/1909.11556)): train a large Transformer with whole layers missing, so that *afterwards* you may cut layers out and use the shorter network as it is. It drops the whole block, attention and all, for the mini-batch, with the same rate everywhere (0.2 in the paper), and its code does not scale.
#
# Six blocks make 64 networks, few enough to test them *all*. They share their beginnings, so a short recursion goes through them.


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
# Take any three of the six blocks away. What does each of the three trainings leave: a network that is wrong in 5, 20, 50 or 90 of a hundred cases? (Guessing is wrong in 90.)

# %%
found = {name: all_errors(network) for name, network in networks.items()}
for name, (depths, errors) in found.items():
    half = [error for depth, error in zip(depths, errors, strict=True) if depth == 3]
    print(f"{name:<16} 3 of 6: {min(half):>2.0f} to {max(half):.0f} % wrong, mean {mean(half):.0f}")

# %%
plots.show(
    plots.clouds(
        {  # the recursion gives the 32 networks without block 1 first
            name: {"without block 1": (d[:32], e[:32]), "with block 1": (d[32:], e[32:])}
            for name, (d, e) in found.items()
        },
        ("blocks left", "test error, %"),
        "The 64 networks in each (seed 0): shorter ones work if training practised it",
    ),
    alt="Three panels, one a training; in each 64 points, test error over the number of blocks "
    "left, 0 to 6. All three are near 3 percent with 6 blocks and above 70 with none. Between, "
    "the points of the network trained with nothing dropped lie high and far apart, those of "
    "LayerDrop low and close together. Those of DropPath form two groups, high without block 1 "
    "and low with it.",
)

# %% [markdown]
# *Compare the columns at 3 blocks.* Where nothing was dropped in training, each block relies on the others being there: on average three of its blocks are wrong in a third of the cases or more, but three of LayerDrop's in less than a tenth. With DropPath there are two groups, with block 1 and without. Does any other block matter as much? We take out one at a time:

# %%
for name, network in networks.items():
    answers = [
        network(test_images, [block != missing for block in range(6)]).argmax(dim=-1)
        for missing in range(6)
    ]
    wrong = [100 * (each != test_labels).double().mean().item() for each in answers]
    print(f"{name:<16} without block 1, 2, … 6: {[round(each) for each in wrong]} % wrong")

# %% [markdown]
# Under the linspace rule block 1 is never dropped, so the others never had to do without it. Any one of *them* can be spared. With LayerDrop, which drops block 1 too, losing it costs far less. Where nothing was dropped, every block is missed. (Three more seeds look alike.)
#
# Which blocks should one cut out, then? LayerDrop's answer needs no search: at even distances, so every other one for half (Section 3.2.2). Our version of it never takes block 1, unless all go.

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
        "Five seeds: every other block can go where training has practised it",
        log=True,
    ),
    alt="Test error, on a logarithmic axis, over the number of blocks removed, 0 to 5, with bands "
    "over five seeds. All begin near 3 percent. With nothing dropped in training the error climbs "
    "at once, to about 25 percent at 3 removed. The curves of DropPath and LayerDrop stay under 7 "
    "percent up to there, LayerDrop a little above DropPath.",
)

# %% [markdown]
# *Look at 3 removed.* (The curves are geometric means over the seeds.) Half of the network is gone, and nothing was trained again. Where training has practised it, the network errs on average less than twice as often as with all its blocks; where it has not, about {{unpractised_factor}} times (the five seeds: {{unpractised_factors}}).
#
# LayerDrop errs a little more than DropPath there, in each of the five seeds. But that comparison is not fair, because DropPath's rates are {{drop_path_mean}} on average here, LayerDrop's 0.2 (its paper recommends 0.5 if very little is to be kept, arXiv:1909.11556, Section 3.2), and a DropPath drops half of a block at a time.
#
# ### And of a trained SegFormer?
#
# Two trained *nanos* ship with the package, small SegFormers that label drawn street scenes (lesson 08). One was trained with nothing dropped, the other in the same way, but with DropPath of rate `0.2`. Their mIoU (how well the area labelled with a class matches the true one, averaged over the classes) on a hundred unseen scenes is {{nano_miou}} and {{nano_drop_path_miou}}, a point (a hundredth) less with DropPath, in one training of each. What does each lose without one of its blocks? `python -m experiments.branches` has measured it.

# %%
lost = json.loads((experiments / "branches.json").read_text(encoding="utf-8"))
trainings = {"nano": "nothing dropped", "nano-drop-path": "DropPath"}
blocks = {
    f"stage {stage + 1}\nblock {block + 1}": row["lost"]
    for row in lost["choices"][17:25]
    for stage, block, _ in row["missing"][:1]  # the first of its two branches
}
points = {
    place: {training: 100 * each[name][0] for name, training in trainings.items()}
    for place, each in blocks.items()
}
plots.show(
    plots.grouped_bars(
        points, "points of mIoU lost", "After DropPath every block is missed less, except the first"
    ),
    alt="Two bars for each of eight blocks, the points of mIoU that are lost without it. Block 1 "
    "of stage 1: 14 where nothing was dropped in training, 27 after DropPath. The others, in "
    "order: 13 and 3, 8 and 3, 5 and 2, 2 and 1, 3 and 1, 1 and 0, 0 and 0.",
)

# %% [markdown]
# *Compare the two bars of each block.* After DropPath, block 1, which it never drops, is missed more, and each other block less (the {{interval}} interval of the difference, over scenes, excludes 0 in all eight). But is that a strength? Without *both* blocks of stage 4 the network trained with nothing dropped loses {{stage_4_lost}} points, the other {{stage_4_lost_drop_path}}. So in the first these blocks stand in for each other, and in the other they do next to nothing.
#
# Now several branches are missing at once, drawn as in training (so never in block 1), but at a rate of `0.6`.

# %%
from segformer_edu import SegFormer
from segformer_edu.analysis.branches import drawn_branches, without_branches
from segformer_edu.data.scenes import CLASSES, Scenes

nanos = [SegFormer.from_pretrained(name) for name in trainings]
scenes = Scenes(4, 128, seed=2026)
(image, _), (picture, _) = scenes[2], scenes.picture(2)
said = {}
for draw in range(5):
    gone = drawn_branches(nanos[0], 0.6, draw) if draw else []
    caption = f"draw {draw}: {16 - len(gone)} of 16" if draw else "all 16 branches"
    pair = [without_branches(nano, gone) for nano in nanos]
    said[caption] = [shorter.predict(image[None])[0].numpy() for shorter in pair]

# %%
plots.show(
    plots.label_rows(
        [picture, picture],
        said,
        CLASSES,
        "Draw 3: only the nano trained with DropPath (below) keeps the car",
    ),
    alt="A street scene and its labels, twice: by all 16 branches, and by 12, 12, 10 and 10 of "
    "them. The two label maps of all branches are nearly alike. In the upper row the third draw "
    "takes much of the road for a building and loses the car. In the lower row all draws keep road "
    "and car.",
)

# %% [markdown]
# *Look down each column*, where the same branches are missing. Over 40 draws the lower nano loses {{drawn_lost_drop_path}} points on average, the upper one {{drawn_lost}}; the difference is {{drawn_spared}} ({{interval}}, over scenes and draws). But each was trained once, so how another pair would differ we cannot say.
#
# Now leave out branches of your own choice, and see what each nano loses. Your task is above the sliders.

# %%
widgets.Branches()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Both miss the first Mix-FFN most ({{first_mix_ffn}} and {{first_mix_ffn_drop_path}} points), and neither much misses the attention of stages 3 and 4 (here at most {{late_attention}}). In draw 3 they part at once: at rate `0.2` they lose {{draw_3_early}} points, and at `0.6` {{draw_3_late}}.
#
# </details>
#
# One draw says little, so look at many: in [segformer.html](../segformer.html), which a double-click opens in a browser, *Roll the dice* draws sixteen such networks from the first nano at once, on any scene or on a photograph of yours.
#
# ## Play
#
# The lines are the ways of the samples through the blocks. Your task is above the sliders, all of which answer to the arrow keys.

# %%
widgets.StochasticDepth()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# For 4 blocks to lose a quarter on average, the paper's rule needs a rate of {{task_paper}}, and linspace {{task_linspace}}. The mean of the paper's rates is r·(L + 1)/(2L), which for few blocks is well above the r/2 of linspace. Only the paper's rule can leave out block 1. With one gate for the batch, its eight samples train one network at a time. With a gate for each they train up to eight.
#
# </details>
#
# ## Break it
#
# Here are two faults of a published library, transformers, put into a few lines by us: one in DINOv2 ([issue 29140](https://github.com/huggingface/transformers/issues/29140)), one in Swin ([issue 33974](https://github.com/huggingface/transformers/issues/33974)). Read the code before you run it: what is wrong?


# %%
class Block(nn.Module):
    def __init__(self, dim, drop_path_rate):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x):  # (B, N, C)
        return x + self.mlp(self.norm(x))


class Stage(nn.Sequential):
    def __init__(self, dim, depth, rates, config_rate):
        super().__init__(*(Block(dim, config_rate) for _ in range(depth)))


asked = [0.0, 0.2, 0.4, 0.6]
stage = Stage(8, depth=4, rates=asked, config_rate=0.6).train()
print(stage(torch.randn(2, 5, 8)).shape, stage[3].drop_path)

# %% [markdown]
# The shape is right, `print` shows the last block's DropPath with the right rate, and the loss will fall, because dropping too little is no error. So we need an instrument: send many samples through each block, and count for how many it is the identity.
#
# **Predict.** Which share will it find for each of the four blocks?

# %%
prediction = ...  # four shares, such as [0.0, 0.2, 0.4, 0.6]


# %%
@torch.no_grad()
def measured_rates(blocks):
    """For each block the share of samples that come out as they went in."""
    x = torch.randn(4000, 5, 8)
    return [
        round((block(x) == x).flatten(1).all(dim=1).double().mean().item(), 1) for block in blocks
    ]


torch.manual_seed(0)
found = measured_rates(stage)
print(f"asked    {asked}\nmeasured {found}")
compare(prediction, found)

# %% [markdown]
# Nothing is ever dropped. Mend what you see, and ask again.


# %%
def forward(self, x):
    return residual(x, lambda x: self.mlp(self.norm(x)), self.drop_path)


Block.forward = forward  # mended: the DropPath is used
print(f"asked    {asked}\nmeasured {measured_rates(stage)}")

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# There were two faults, and the first one hid the second. `forward` never called `self.drop_path`: that is DINOv2's, and the first measurement. And `Stage` never looked at its `rates`, but handed every block the rate from the configuration, which is meant for the *last* one: that is Swin's, and the second measurement.
#
# The mend is `Block(dim, rate) for rate in rates`.
#
# What would have caught the first? Not the shape, the loss, or `assert block.drop_path.rate == rate`, which finds the second. But at the rates 0 and 1 nothing is random: **a block of rate 1 must give back its input, bit for bit**. Exercise 05.5 makes a test of it.
#
# </details>

# %%
stage = nn.Sequential(*(Block(8, rate) for rate in asked)).train()
print(f"asked    {asked}\nmeasured {measured_rates(stage)}")

# %% [markdown]
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("05.1")` gives a hint, and another one each time you ask; `solution("05.1")` the answer.
#
# ### Exercise 05.1 ★ 4 minutes · Drop, or survival?
#
# In a SegFormer each branch of a block has its own gate. Return the probability that a branch of block number `block` survives (1 is the first), where there are `depth` blocks and the last one has this drop `rate`. One block alone is never dropped.


# %%
def survival_of(block, depth, rate):
    return ...


check("05.1", survival_of)

# %% [markdown]
# ### Exercise 05.2 ★ 6 minutes · How deep is it on average?
#
# Return the expected number of surviving blocks under the *paper's* rule, for any number of blocks and any survival probability of the last.


# %%
def expected_depth(depth, last_survival):
    return ...


check("05.2", expected_depth)

# %% [markdown]
# ### Exercise 05.3 ★★ 8 minutes · DropPath by hand
#
# x is `(B, ...)` with any number of axes, `kept` is `(B,)` of True and False. Return what a DropPath of this rate makes of x. At rate 1 nothing is kept, and zeros are wanted.


# %%
def drop_path(x, kept, rate):
    return ...


check("05.3", drop_path)

# %% [markdown]
# ### Exercise 05.4 ★★ 12 minutes · How likely is a network of k blocks?
#
# Return the probability that exactly `count` blocks survive, when each has a survival probability of its own. (Think of one block more: with it there are as many survivors as before, or one more.) Write it out, without `surviving_blocks` of section 3, and try it before you read that part.


# %%
def chance_of(count, survival):
    return ...


check("05.4", chance_of)

# %% [markdown]
# ### Exercise 05.5 ★★ 15 minutes · The test that finds it
#
# `make(rate)` builds a residual block with that drop rate, and all blocks that it builds have the same weights. Return True if such blocks drop as they should, and False if not. In training they should drop the whole branch of a sample and nothing else, each sample by itself, at the rate that was asked for, and divide what is kept by 1 − rate. In evaluation they should drop nothing. x may be `torch.randn(1000, 4, 6)`.


# %%
def drops_as_it_should(make):
    return ...


check("05.5", drops_as_it_should)

# %% [markdown]
# ### Exercise 05.6 ★★★ 15 minutes · Do not compute what is dropped
#
# Write the whole residual step: x plus the scaled branch for the samples that are kept, x alone for the others. It is a step of training, so gradients have to get through. Hand the branch kept samples only. `kept` is `(B,)` of True and False, some of each.


# %%
def skip(x, branch, kept, rate):
    return ...


check("05.6", skip)

# %% [markdown]
# ### Exercise 05.7 ★★ 10 minutes · On in training, off in evaluation
#
# Write a module with the parts of a perceptron: `first`, a ReLU, dropout of single numbers with this `rate` (between 0 and 1), and `second`. The two Linears are given. The dropout should act after `.train()` and do nothing after `.eval()`, however often the mode changes. (The `dropout_p` of `F.scaled_dot_product_attention` needs the same care.)


# %%
class Perceptron(nn.Module):
    def __init__(self, first, second, rate):
        super().__init__()
        ...

    def forward(self, x):
        return ...


check("05.7", Perceptron)

# %% [markdown]
# ## Recap
#
# - Dropout, channel dropout and DropPath differ in what shares one random number: nothing, a channel, or all of a sample's branch. `eval()` switches them off, `no_grad()` does not.
# - Stochastic depth, as its paper has it, draws one gate a block and mini-batch. A closed block is not computed, and at test time branches are multiplied by $p_l$. The depth is a random number around the sum of the $p_l$.
# - DropPath draws a gate a sample, and divides kept branches by the probability of being kept. `linspace` holds *drop* probabilities, and block 1 has 0.
# - A mask saves no time. Computing only the kept samples saves time at high rates; at SegFormer's `0.1` there is little to save.
# - Our ResNets saved time with stochastic depth, but their test error was no better. What dropping did bring, in all five seeds, is a transformer that goes on working with every other block cut out (*further*, section 8).
# - Rates 0 and 1 leave nothing to chance, so test there.
#
# **Can you answer without scrolling up?**
#
# 1. In the paper, why is a block with a closed gate exactly the identity, although there is a ReLU after the sum?
# 2. `[0, 0.02, 0.04, 0.06, 0.08]` comes out of somebody's model. Which of the two rules made it, and what are the survival probabilities?
# 3. Why are the samples that are *kept* changed?
# 4. A colleague sets the drop-path rate to `0.4` to train faster, with a masking DropPath. What happens?
# 5. Under `no_grad()` your predictions change from pass to pass. What did you forget?
#
# <details><summary>Answers</summary>
#
# 1. What comes in is itself the result of a ReLU, so it has no negative numbers for the next ReLU to change.
# 2. linspace, because it begins with 0 and rises in equal steps to the rate of the last block, `0.08`. Survival: `1, 0.98, 0.96, 0.94, 0.92`.
# 3. In evaluation the branch is always there. Dividing by the probability of being kept makes its mean in training the same as in evaluation.
# 4. The step takes as long as before, because what is dropped has been computed. The network is held back more, wanted or not.
# 5. `eval()`: dropout and DropPath go on dropping.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *Per mini-batch or per sample.* The paper says "for each mini-batch we randomly select sets of layers" (arXiv:1603.09382, Section 3). Asked which of the two stochastic depth is, the author of timm answered that it is per sample ([timm, issue 2118](https://github.com/huggingface/pytorch-image-models/issues/2118)); Swin and SegFormer do as timm does. torchvision has both, as `mode="batch"` and `mode="row"`.
# - *The schedule.* The paper has r·l/L, so block 1 is dropped with r/L. Code has r·(l − 1)/(L − 1), so block 1 is never dropped. Whoever takes l = 0 for the first layer finds that the paper never skips it either; but l = 0 is the input (Section 3, Figure 2). DeiT III has one rate for all blocks, with "not much difference in terms of performance", says its author ([deit, issue 184](https://github.com/facebookresearch/deit/issues/184)).
# - *A better network.* On ImageNet the paper's was slightly *worse*: 23.38 against 23.06 % after 90 epochs, and 21.98 against 21.78 after 120 (arXiv:1603.09382, Section 4).
# - *Who.* Stochastic depth is by Huang, Sun, Liu, Sedra and Weinberger, and not by ResNet's authors, [He, Zhang, Ren and Sun](https://arxiv.org/abs/1512.03385).
# - *The names.* "DropPath" is from FractalNet ([Larsson and others 2016](https://arxiv.org/abs/1605.07648)), which drops the inputs of a join of paths. EfficientNet's code calls DropPath "drop connect", which is the name of something else: single *weights* that are dropped ([EfficientNet-PyTorch, issue 104](https://github.com/lukemelas/EfficientNet-PyTorch/issues/104)).
#
# **References.** G. Huang and others, *Deep Networks with Stochastic Depth*, [arXiv:1603.09382](https://arxiv.org/abs/1603.09382), Sections 3 and 4, eq. 1 to 5, Figures 2 and 7, Tables 1 and 2. A. Fan and others, *Reducing Transformer Depth on Demand with Structured Dropout*, [arXiv:1909.11556](https://arxiv.org/abs/1909.11556), Section 3.2. G. Hinton and others, *Improving neural networks by preventing co-adaptation of feature detectors*, [arXiv:1207.0580](https://arxiv.org/abs/1207.0580). G. Larsson and others, *FractalNet*, [arXiv:1605.07648](https://arxiv.org/abs/1605.07648). E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203).
#
# **Next:** lesson 06. All parts of a block are built. How do blocks make stages, and stages an encoder?
