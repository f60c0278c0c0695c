# %% [markdown]
# # Lesson 06 · Why a pyramid?
#
# You have the parts: patches that overlap (01), attention (02) with fewer keys (03), a feed-forward layer that tells where the border is (04), and branches that may be left out (05). This lesson puts them together, twice: into a **block**, and the blocks into **four stages**, each with a coarser map and more channels than the one before.
#
# Why four? A plain Vision Transformer has one: one grid of tokens, as wide at the end as at the beginning ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929)). The shape is called *columnar*, and it is simpler. What does the pyramid buy?
#
# **After this lesson you will be able to**
#
# - say what a map loses by being coarse, and what it costs to be fine, in numbers;
# - read a Transformer block line by line, and tell it from one whose norm stands elsewhere;
# - build the encoder, and say the shape of each of its four maps for any photograph;
# - tell B0 from B5 by their configs, and say where their parameters and their multiply-adds are;
# - find out, from parameter counts alone, which of two published tables describes the released weights.
#
# **Time** 75 minutes, and 55 for the exercises. **You need** lessons 01 to 05. No GPU.

# %%
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segformer_edu import (
    DropPath,
    MixFFN,
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
    plots,
    residual,
    widgets,
)
from segformer_edu.analysis import cost
from segformer_edu.checks import check_images, check_map
from segformer_edu.config import check_config
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.exercises import check, hint, solution
from segformer_edu.layers import initialize
from segformer_edu.training import confusion_matrix, scores

# %%
torch.set_grad_enabled(False)  # nothing is trained in this lesson
generator = torch.Generator().manual_seed(0)
b0 = SegFormerConfig.named("b0")

# %% [markdown]
# ## 1 · What does a coarse map lose?
#
# Here is a street scene of the kind that you will train on in lesson 08. The package draws them from a seed, with the true class of every pixel.
#
# (The class "pole" holds all that stands on one leg: posts, lamps, signs.) Suppose a network understood everything, and its map knew for every token **which classes are under it, and in what shares**. To get a label for each pixel we enlarge the shares, and take the largest. What is lost then is lost to the grid, and to speaking in shares. The table below takes the two apart.

# %%
scenes = Scenes(20, 128, seed=6)
photo, truth = scenes.picture(3)


def shares_of(labels, stride):  # (H, W) → (1, K, H/stride, W/stride)
    ones = F.one_hot(torch.as_tensor(labels).long(), len(CLASSES)).permute(2, 0, 1)[None].float()
    return F.avg_pool2d(ones, stride)


def through_a_grid(labels, stride):
    """The labels as they come back from the shares of H/stride × W/stride tokens."""
    shares = shares_of(labels, stride)
    return F.interpolate(shares, size=labels.shape, mode="bilinear")[0].argmax(dim=0)


# %% [markdown]
# **Predict.** Strides 4, 8, 16 and 32: at which of them will the poles be gone? At which the road?

# %%
prediction = ...  # two strides

# %%
given_back = {
    f"through 1/{stride}": through_a_grid(truth, stride).numpy() for stride in (4, 8, 16, 32)
}
plots.show(
    plots.label_maps(
        photo,
        {"true labels": truth, **given_back},
        CLASSES,
        "In this scene the road survives any grid, the post only the finer two",
    ),
    alt="A drawn street with a lamp post and two people, its labels, and the labels as they come "
    "back through grids of 1/4, 1/8, 1/16 and 1/32 of its sides. The post is whole at 1/4, "
    "ragged at 1/8, gone but for a stub at 1/16, and gone at 1/32 with the two people; sky, "
    "buildings and road are there to the end, with rounded borders.",
)

# %% [markdown]
# *Follow the lamp post from left to right, then the border of the road.* What is large comes back from any grid. What is thinner than a token is outvoted by its neighbours, as long as shares do the voting.
#
# But a network may hand on any scores it likes. So we also *fit* a score for each token and class to the labels, through the same enlarging, and count again what comes back.
#
# One picture is an anecdote. Here are twenty scenes, scored as segmentation is: by the intersection over union (IoU) of true and given pixels, for each class (lesson 08 takes the score apart).


# %%
@torch.enable_grad()
def fitted_through_a_grid(labels, stride):
    """The same from scores that are fitted to the labels, by gradient descent with momentum."""
    fitted = (shares_of(labels, stride) + 0.01).log().requires_grad_()
    optimizer = torch.optim.SGD([fitted], lr=4 / stride**2, momentum=0.9, nesterov=True)
    for _ in range(30):
        enlarged = F.interpolate(fitted, size=labels.shape, mode="bilinear")
        optimizer.zero_grad()
        F.cross_entropy(enlarged, labels[None], reduction="sum").backward()
        optimizer.step()
    return F.interpolate(fitted, size=labels.shape, mode="bilinear")[0].argmax(dim=0)


# %%
labels = torch.stack([torch.as_tensor(scenes.picture(i)[1]).long() for i in range(len(scenes))])
pole = CLASSES.index("pole")
with_poles = (labels == pole).any(dim=(1, 2))
for stride in (4, 8, 16, 32):
    for kind, give_back in {"shares": through_a_grid, "fitted": fitted_through_a_grid}.items():
        returned = torch.stack([give_back(each, stride) for each in labels])
        found = scores(confusion_matrix(returned, labels, 8))
        iou = dict(zip(CLASSES, found.iou, strict=True))
        bare = with_poles & ~(returned == pole).any(dim=(1, 2))
        print(
            f"1/{stride:<2} {kind}  mean IoU {found.miou:.0%}   road {iou['road']:.0%}   pole "
            f"{iou['pole']:.0%}, none left in {bare.sum():>2} of {with_poles.sum()} scenes"
        )

# %% [markdown]
# (IoU counts pixels, and so mostly the poles close to the camera. That is why shares keep some at 1/32, where most scenes have lost theirs.)
#
# Shares are not the best that a map can say: fitted scores bring back more on every grid, and at 1/4 poles lose only a few points. Nor are these scores a ceiling, for somebody may find better ones. But the fitted scores too lose more on each coarser grid, and far more of the poles than of the road: **a token has to be small where things are small**.
#
# ## 2 · What does a fine map cost?
#
# Then let us have all blocks work on a map at 1/4, with as many channels as we can pay for. The budget is B0's encoder: its eight blocks, at 512×512.

# %%
budget = cost(b0, (512, 512)).encoder_multiply_adds


def column(stride, r, width, depth=8):
    """One stage: one map from the first block to the last."""
    patch_size = 7 if stride == 4 else stride + 1  # odd, as in the pyramid
    return SegFormerConfig(
        embed_dims=(width,),
        depths=(depth,),
        num_heads=(1,),
        reduction_ratios=(r,),
        mlp_ratios=(4,),
        patch_sizes=(patch_size,),
        strides=(stride,),
    )


print(f"B0's encoder: {budget / 1e9:.2f} G multiply-adds")

# %% [markdown]
# **Predict.** Every token asks every other (r = 1), on the 128×128 tokens of a map at 1/4. How many channels does the budget allow? B0 ends with {{b0_last_channels}}.

# %%
prediction = ...  # a number

# %%
one_channel = cost(column(stride=4, r=1, width=1), (512, 512))
print(f"with one channel: {one_channel.encoder_multiply_adds / 1e9:.2f} G multiply-adds")

# %% [markdown]
# Not even one. Eight blocks of attention over {{stage_1_tokens}} tokens cost more than all of B0's encoder while each token is a *single number*.
#
# So a column has to give something up: reduce its keys, as lesson 03 taught, or have fewer tokens. For each way, the widest column that B0's budget pays for:


# %%
def widest(stride, r):
    """Channels of the widest column that costs no more than B0's encoder."""
    widths = range(1, 400)
    return sum(
        cost(column(stride, r, width), (512, 512)).encoder_multiply_adds <= budget
        for width in widths
    )


columns = {(stride, r): widest(stride, r) for stride, r in [(4, 8), (8, 4), (16, 2), (32, 1)]}
for (stride, r), width in columns.items():
    bill = cost(column(stride, r, width), (512, 512))
    print(
        f"column at 1/{stride:<2} r = {r}: {bill.stages[0].tokens:>6,} tokens, "
        f"{bill.stages[0].keys} keys, {width:>3} channels, {bill.encoder_parameters / 1e6:>5.2f} "
        f"M parameters"
    )

# %%
pyramid = [(4, 8, 16, 32), b0.embed_dims]
plots.show(
    plots.equal_budgets(
        {
            "a column: one of these, for all blocks": (
                [stride for stride, _ in columns],
                list(columns.values()),
            ),
            "B0: all four, two blocks each": pyramid,
        },
        ("pixels between tokens", "channels of a token"),
        f"Each column costs as much as B0's whole encoder: {budget / 1e9:.1f} G multiply-adds",
    ),
    alt="Channels over the pixels between tokens, both logarithmic. Four columns of equal cost lie "
    "on a rising line: 27 channels at 4 pixels, 71 at 8, 158 at 16 and 323 at 32. The four "
    "stages of B0 lie close to the same line: 32, 64, 160 and 256. A column has one point of "
    "its line, the pyramid has one at every stride.",
)

# %% [markdown]
# *Compare the two lines.* They are nearly the same! For what a column spends on one point, B0's encoder has **all four**: a map as fine as the finest column's, with about as many channels, *and* one with eight times as many, where each token stands for a window of 32×32 pixels.
#
# What it pays is depth: two blocks at each point instead of eight. So the bargain reads: **few channels where there are many tokens, many channels where there are few.** Each step halves the sides, so it has a quarter of the tokens; doubling the channels makes a Linear four times as dear; and the product stays about the same. Whether two blocks
# at each scale are worth more than eight at one is no longer arithmetic. Section 8 tries it, and the answer may surprise you.
#
# ## 3 · What happens in a block?
#
# One block has two branches: attention, in which tokens hear from others, and Mix-FFN, in which each works on what it heard. Here it is, as the package has it.

# %% tags=["mirror"]
# segformer_edu.encoder.EncoderBlock

# %% [markdown]
# Read `forward` line by line.
#
# - `check_map` refuses what is no map of tokens, in a sentence.
# - `residual(x, branch, drop_path)` is `x + branch(x)`, where training may leave the branch out for a sample (lesson 05). The map itself is never replaced, only added to: **x runs from the first block of a stage to the last, and every branch leaves its note on it**.
# - `self.norm1(x)` stands *inside* the branch, before attention. Attention reads a normalised copy; x stays as it is. That order is called pre-norm.
# - `self.mix_ffn(self.norm2(x))` reads the x that attention has already added to. So the two branches run one after the other, and each has a norm of its own.
#
# **Check it** against a class that nobody here wrote. torch's own `nn.TransformerEncoderLayer` has the same plan, with a plain feed-forward layer. Ours becomes plain too if the 3×3 convolution of Mix-FFN is told to look at nothing but its own token: 1 in the middle of each kernel, 0 around it. Then the two must agree.


# %%
def torch_block(ours):
    """nn.TransformerEncoderLayer with the weights of ours, which becomes plain on the way."""
    attention, ffn = ours.attention, ours.mix_ffn
    ffn.depthwise.weight.zero_()[:, :, 1, 1] = 1
    dim, hidden = attention.dim, ffn.expand.out_features
    theirs = nn.TransformerEncoderLayer(
        dim, attention.num_heads, hidden, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True
    )
    parts = attention.query, attention.key, attention.value
    theirs.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    ffn.expand.bias += ffn.depthwise.bias  # two biases in a row are one
    ffn.depthwise.bias.zero_()
    pairs = {"norm1": ours.norm1, "norm2": ours.norm2, "linear1": ffn.expand}
    pairs |= {"linear2": ffn.contract, "self_attn.out_proj": attention.output}
    for name, part in pairs.items():
        theirs.get_submodule(name).load_state_dict(part.state_dict())
    return theirs.eval()


# %%
torch.manual_seed(0)
block = EncoderBlock(dim=64, num_heads=2, reduction_ratio=1).eval()
theirs = torch_block(block)
x = torch.randn(2, 6, 7, 64, generator=generator)  # (B, H, W, C)
assert torch.allclose(block(x).flatten(1, 2), theirs(x.flatten(1, 2)), atol=1e-5)
print("with a plain feed-forward layer: the same as torch's Transformer block")

# %% [markdown]
# (The other order, x ← norm(x + branch(x)), is that of the first Transformer, [Vaswani and others 2017](https://arxiv.org/abs/1706.03762). There x itself goes through every norm, and training needs more care at the start: [Xiong and others 2020](https://arxiv.org/abs/2002.04745) work it out. Exercise 06.2 tells the two apart.)
#
# ## 4 · Build the encoder
#
# A stage is a patch embedding, its blocks, and one more norm:


# %% tags=["stage"]
class SimpleStage(nn.Module):
    """A stage without stochastic depth."""

    def __init__(self, in_channels, dim, patch_size, stride, depth, num_heads, reduction_ratio):
        super().__init__()
        self.patch_embedding = OverlapPatchEmbedding(in_channels, dim, patch_size, stride)
        self.blocks = nn.Sequential(
            *(EncoderBlock(dim, num_heads, reduction_ratio) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x):  # (B, C_in, H, W)
        x = self.blocks(self.patch_embedding(x))  # (B, H/stride, W/stride, C)
        return self.norm(x).permute(0, 3, 1, 2)  # (B, C, H/stride, W/stride)


# %% [markdown]
# Why the norm at the end? Every branch read a normalised copy, but after the patch embedding's norm x itself was only added to. The package brings a small model that has learned, `nano`; watch x on its way through.
#
# **Predict.** Will the numbers in x be larger at the end of a stage than at its beginning, or smaller, or the same? Give the spread (standard deviation) a guess.

# %%
prediction = ...  # "larger", "smaller" or "the same"

# %%
nano = SegFormer.from_pretrained("nano")
large = Scenes(40, 256, seed=6).picture(3)[0]  # the lamp post again, seen more finely
x = normalize(large)
for number, stage in enumerate(nano.encoder.stages, start=1):
    x = stage.patch_embedding(x)
    spreads = [x.std().item()]
    for block in stage.blocks:
        x = block(x)
        spreads.append(x.std().item())
    x = stage.norm(x).permute(0, 3, 1, 2)
    told = " → ".join(f"{spread:.1f}" for spread in spreads)
    print(f"stage {number}: {told}, after the norm {x.std():.1f}")

# %% [markdown]
# Larger, in every stage, and in the last one by a factor of {{nano_growth}}. Each branch adds its note, and no norm on the way scales the sum back. The norm at the end brings every stage back to one scale, so that the next patch embedding, and a decoder that reads the four maps side by side, need not know how loud a stage has become.
#
# The package's stage takes its numbers from the config, and adds two things: drop rates, and a way to save memory in training.

# %% tags=["mirror"]
# segformer_edu.encoder.EncoderStage

# %% [markdown]
# - `config.stages[stage]` holds the numbers of this stage. Its drop rates are its piece of **one list for all stages** (lesson 05): the first block of stage 2 does not start anew at zero.
# - `checkpoint` forgets what is inside a block and computes it again for the gradient: less memory, more time. It changes no number.
# - `permute` turns the map from `(B, H, W, C)` into `(B, C, H, W)`, which the next patch embedding and the decoder expect.
#
# **Predict.** B2 has 3, 4, 6 and 3 blocks, and a drop-path rate of `0.1` for the last. Which rates do the four blocks of stage 2 get?

# %%
prediction = ...  # four numbers

# %%
b2 = SegFormerConfig.named("b2")
for number, stage in enumerate(b2.stages, start=1):
    print(f"stage {number}:", [round(rate, 3) for rate in stage.drop_path_rates])

# %% [markdown]
# And the encoder is a loop. Each stage gets the map of the one before; all four are kept.

# %% tags=["mirror"]
# segformer_edu.encoder.MixTransformer

# %% [markdown]
# **Check it.** First the shapes, at a size that nothing divides. **Predict** them for a photograph of 250×333: each patch embedding is padded, so a side is divided by the stride and rounded *up*.

# %%
prediction = ...  # four heights and widths

# %%
torch.manual_seed(0)
encoder = MixTransformer(b0).eval()
maps = encoder(torch.randn(1, 3, 250, 333, generator=generator))
for stride, channels, each in zip((4, 8, 16, 32), b0.embed_dims, maps, strict=True):
    assert each.shape == (1, channels, math.ceil(250 / stride), math.ceil(333 / stride))
    print(f"1/{stride:<2}", tuple(each.shape))

# %% [markdown]
# Then the parameters, counted by hand. For a stage of L blocks with C channels, r and expansion e, and k×k patches of C_in channels ([r>1] is 1 where keys are reduced, and otherwise 0):
#
# $$\underbrace{k^2 C_{in} C + 3C}_{\text{patches, norm}} \;+\; L\,\big\{\underbrace{4C}_{\text{2 norms}} + \underbrace{4(C^2+C)}_{\text{q, k, v, output}} + \underbrace{[r>1]\,(r^2C^2+3C)}_{\text{reduction, norm}} + \underbrace{2eC^2 + 11eC + C}_{\text{Mix-FFN}}\big\} \;+\; 2C$$


# %%
def parameters_by_hand(config):
    stages = []
    for stage, (c, depth) in enumerate(zip(config.embed_dims, config.depths, strict=True)):
        c_in = (config.in_channels, *config.embed_dims)[stage]
        k, r = config.patch_sizes[stage], config.reduction_ratios[stage]
        e = config.mlp_ratios[stage]
        reduction = r**2 * c**2 + 3 * c if r > 1 else 0
        block = 4 * c + 4 * (c**2 + c) + reduction + 2 * e * c**2 + 11 * e * c + c
        stages.append(k**2 * c_in * c + 3 * c + depth * block + 2 * c)
    return stages


by_hand = parameters_by_hand(b0)
assert by_hand == [sum(w.numel() for w in stage.parameters()) for stage in encoder.stages]
print(by_hand, "together", f"{sum(by_hand):,}")

# %% [markdown]
# ## 5 · What makes a B5?
#
# Six sizes, one code: all that differs is in the config. (D is the width of the decoder, lesson 07.)

# %%
names = "b0", "b1", "b2", "b3", "b4", "b5"
print("    dims               depths     heads    r            D")
for name in names:
    config = SegFormerConfig.named(name)
    lists = config.embed_dims, config.depths, config.num_heads, config.reduction_ratios
    dims, *others = (",".join(map(str, values)) for values in lists)
    print(f"{name}  {dims:<17}  {others[0]:<9}  {others[1]}  {others[2]}  {config.decoder_dim:>5}")

# %% [markdown]
# B0 to B1: every map gets twice as wide. From B1 on the widths stay, and what grows is **depth, nearly all of it in stage 3**: 2 blocks in B1, 40 in B5. B2 and its larger siblings also have a decoder three times as wide.
#
# Heads: 1, 2, 5 and 8 for all. **Predict.** How many channels does one head get in each stage of B0? And of B1?

# %%
prediction = ...  # eight numbers, or two

# %%
for name in ("b0", "b1"):
    config = SegFormerConfig.named(name)
    heads = zip(config.embed_dims, config.num_heads, strict=True)
    print(name, [dim // count for dim, count in heads])

# %% [markdown]
# The same in every stage: 32 in B0, 64 in the rest. Hence the five heads of stage 3, an odd number otherwise: its width is five times that of one head. Within one model, more channels mean more heads, not wider ones.
#
# ### To the digit?
#
# The paper's Table 1 gives parameters, encoder and decoder, for ADE20K with its 150 classes, and GFLOPs for one crop: 512×512, for B5 640×640. Its "FLOPs" are multiply-adds. (What the paper prints is typed in below; all else in this lesson is computed.)

# %%
table_1 = {  # parameters in M, encoder + decoder; GFLOPs (arXiv:2105.15203, Table 1)
    "b0": (3.8, 8.4),
    "b1": (13.7, 15.9),
    "b2": (27.5, 62.4),
    "b3": (47.3, 79.0),
    "b4": (64.1, 95.7),
    "b5": (84.7, 183.3),
}
for name, (millions, giga) in table_1.items():
    side = 640 if name == "b5" else 512
    bill = cost(SegFormerConfig.named(name, num_classes=150), (side, side))
    ours = bill.parameters / 1e6, bill.reference_multiply_adds / 1e9
    print(
        f"{name}: {bill.parameters:>10,} parameters, paper {millions:>4} M;  "
        f"{ours[1]:>6.2f} G multiply-adds, paper {giga:>5}  ({giga / ours[1] - 1:+.2%})"
    )
    assert round(ours[0], 1) == millions

# %% [markdown]
# All six parameter counts agree to the digit. The multiply-adds agree to within {{flops_gap}}: `cost` counts convolutions, Linears and the two products of attention, and leaves out biases, norms, activations and resizing. The paper does not say what its counter counts.
#
# ### Which table describes the weights?
#
# Now the puzzle. Table 6 of the paper, "Detailed settings of MiT series", gives for B0 to B4 an expansion of Mix-FFN of **8, 8, 4, 4**, and for B2 and B3 a depth of **3** in stage 2 (arXiv:2105.15203, Table 6). The released code has 4 everywhere, and 4 blocks there. Our config follows the code, since its weights have to fit.
#
# And there is one more table. For classification on ImageNet, the encoder with a Linear to 1000 classes, the paper's appendix lists parameters once more ([quoted in the documentation of transformers](https://huggingface.co/docs/transformers/v4.51.3/model_doc/segformer)): 3.7, 14.0, 25.4, 45.2, 62.6 and 82.0 million.
#
# **Predict.** Which settings give *those* numbers: the code's, Table 6's, or neither?

# %%
prediction = ...  # "code", "Table 6" or "neither"

# %%
imagenet = {"b0": 3.7, "b1": 14.0, "b2": 25.4, "b3": 45.2, "b4": 62.6, "b5": 82.0}  # M
table_6 = {"b2": (3, 3, 6, 3), "b3": (3, 3, 18, 3)}


def millions(config):
    """Encoder and a Linear to 1000 classes."""
    last = config.embed_dims[-1]
    return (cost(config, (224, 224)).encoder_parameters + 1000 * last + 1000) / 1e6


print("      paper   code  expansion 8,8,4,4  and Table 6's depths")
for name, printed in imagenet.items():
    code = SegFormerConfig.named(name)
    wide = code.replace(mlp_ratios=(8, 8, 4, 4))
    both = wide.replace(depths=table_6.get(name, code.depths))
    counts = (f"{millions(each):.1f}" for each in (code, wide, both))
    print(f"{name:<5} {printed:>6} {next(counts):>6} {next(counts):>18} {next(counts):>21}")

# %% [markdown]
# Go through it column by column. The code's settings give the printed number for B5 alone. Table 6's, taken whole, fail for B2 and B3. But **expansion 8, 8, 4, 4 with the code's depths** gives all of B0 to B4, to the digit, and B5 fits with 4.
#
# So the ImageNet column belongs to models with an expansion of 8 in the first two stages, and 4 blocks in stage 2 of B2 and B3: the depth of 3 in Table 6 looks like a misprint. The released weights, and Table 1, are those of other models, with an expansion of 4. The paper does not say so. People have asked
# ([SegFormer, issue 63](https://github.com/NVlabs/SegFormer/issues/63), [mmsegmentation, issue 1917](https://github.com/open-mmlab/mmsegmentation/issues/1917), [PaddleSeg, issue 3322](https://github.com/PaddlePaddle/PaddleSeg/issues/3322)); whether the accuracies printed beside that column are those of the released files, we do not know.
#
# The lesson in it: **count**. A parameter count is a checksum of an architecture.
#
# ## 6 · Where are the parameters, and where is the work?
#
# **Predict.** Stage 1 of B0 has 64 times as many tokens as stage 4, and stage 4 eight times as many channels. Which of the two holds more parameters? Which takes more multiply-adds?

# %%
prediction = ...  # two stage numbers

# %%
bill = cost(b0, (512, 512))
for number, stage in enumerate(bill.stages, start=1):
    parameters = stage.parameters / bill.encoder_parameters
    work = stage.multiply_adds / bill.encoder_multiply_adds
    print(
        f"stage {number}: {parameters:>4.0%} of the parameters, {work:>4.0%} of the multiply-adds"
    )

# %% [markdown]
# Parameters sit where channels are; work is spread far more evenly. A weight of Mix-FFN in stage 1 is used 64 times as often as one in stage 4: once for every token.
#
# Now by part. Models on torch's "meta" device have shapes and no numbers, so that B5 can be counted without filling memory.


# %%
def parameters_by_part(config):
    """Millions of parameters of an encoder, by what they are for."""
    with torch.device("meta"):
        encoder = MixTransformer(config)
    kinds = {"patch_embedding": "patches", "reduce": "reduction", "attention": "q, k, v, output"}
    kinds |= {"mix_ffn": "Mix-FFN", "norm": "norms"}
    parts = dict.fromkeys(kinds.values(), 0)
    for name, weight in encoder.named_parameters():
        part = next(kind for key, kind in kinds.items() if key in name)
        parts[part] += weight.numel() / 1e6
    return parts


bars = {name.upper(): parameters_by_part(SegFormerConfig.named(name)) for name in names}

# %%
plots.show(
    plots.stacked_bars(
        bars, "parameters of the encoder, M", "In every size, Mix-FFN is the largest part"
    ),
    alt="Six stacked bars, B0 to B5, from 3.3 to 81.4 million parameters. Mix-FFN is the longest "
    "part of each; q, k, v and output come second, the reduction close behind in B4 and B5. "
    "The norms cannot be seen.",
)

# %%
kinds = {"patches": "patch_embedding", "reduction": "reduction", "q, k, v, output": "projections"}
kinds |= {"Mix-FFN": "mix_ffn", "products": "attention_matmuls"}
work = {}
for name in names:
    bill = cost(SegFormerConfig.named(name), (512, 512))
    work[name.upper()] = {
        kind: sum(getattr(stage.multiply_adds_of, part) for stage in bill.stages) / 1e9
        for kind, part in kinds.items()
    } | {"decoder": bill.decoder.reference_multiply_adds / 1e9}

plots.show(
    plots.stacked_bars(
        work,
        "multiply-adds at 512×512, G",
        "The decoder is the longest single part in every size",
    ),
    alt="Six stacked bars of multiply-adds, from 8 to 112 G. The decoder takes more than half of "
    "B0 and two thirds of B2; from B2 to B5 it stays as it is, while Mix-FFN and the other parts "
    "of the encoder grow with depth.",
)

# %% [markdown]
# *Look for the decoder in B0 and in B2.* It has {{decoder_parameters_share}} of B0's parameters and takes {{decoder_work_share}} of its work, in the order in which the paper writes it. Lesson 07 shows why, and lesson 10 how to compute the same numbers with far less.
#
# In the encoder, Mix-FFN leads in parameters and in work. The two products of attention, which took nearly all in lesson 02, are one part among others at this size: that is what lesson 03 achieved.
#
# ## 7 · What do the four maps show?
#
# Counting needs no weights. Looking does: here are the maps of `nano`, which was trained on street scenes, but never on this one.

# %%
maps = nano.encoder(normalize(large))
for number, each in enumerate(maps, start=1):
    print(f"stage {number}:", tuple(each.shape[1:]))

# %% [markdown]
# **Predict.** In which stage will you see the poles as lines? In which will a channel be bright on one *kind* of thing, and dark on the rest?

# %%
prediction = ...  # two stage numbers

# %%
plots.show(
    plots.feature_maps(
        [each[0].numpy() for each in maps],
        finding="Fine outlines in stage 1, coarse regions in stages 3 and 4",
    ),
    alt="Four rows of five heat maps of a street scene, through trained weights. Stage 1 shows "
    "fine outlines and textures, stage 2 parts of things, stages 3 and 4 coarse squares in which "
    "large regions are bright or dark as a whole; four of stage 4's channels tell the upper part "
    "of the picture from the lower.",
)

# %% [markdown]
# *Look for the lamp post, left of the middle.* It is a line in stages 1 and 2 (channels 7 and 1), and lost from stage 3 on. There, whole regions go together: channel 15 is bright on the buildings, dark on sky and road. (Each row has the five channels that vary most.)
#
# But is a channel bright for *what* is there, or for *where* it is? Turn the scene upside down. A channel that follows the content turns with it; one that follows the place stays. So we correlate each channel's two maps, turned and not turned.


# %%
def alike(maps, others):
    """The correlation of two maps (C, H, W), a mean over their channels."""
    centred = (
        each.flatten(1) - each.flatten(1).mean(dim=1, keepdim=True) for each in (maps, others)
    )
    return torch.cosine_similarity(*centred, dim=1).mean().item()


upside_down = nano.encoder(normalize(large[::-1].copy()))
for number, (before, after) in enumerate(zip(maps, upside_down, strict=True), start=1):
    turned, as_it_was = alike(before[0], after[0].flip(1)), alike(before[0], after[0])
    print(f"stage {number}: by content {turned:.2f}, by place {as_it_was:.2f}")

# %% [markdown]
# Stages 1 to 3 follow the content, less and less. In stage 4 almost nothing turns with the scene: in this one most channels stay where they were, so what is bright at the top there is not the sky, but the top (lesson 04 read position in this stage). To be fair, the model has never seen a street upside down. Now a photograph, of a kind that it was never trained on.

# %%
portrait = sample_photo("astronaut")
maps = nano.encoder(normalize(portrait))
plots.show(
    plots.feature_maps(
        [each[0].numpy() for each in maps],
        finding="A photograph through weights that know only drawn streets",
    ),
    alt="The same for the portrait of the astronaut. Her outline is sharp in stage 1 and can be "
    "recognised in stage 2; stages 3 and 4 answer in coarse patches.",
)

# %% [markdown]
# *See that the early rows still work.* Edges are edges in a drawn street and in a photograph. What the later rows call out here is an answer to a question that nobody asked: there is no street. A picture of features is a good place to find bugs, and a poor place to find meaning (lesson 00 drew some from random weights).
#
# So let us ask for a number. **What does each map know?** Fit the simplest reader there is, one Linear from a token's channels to the classes, by least squares (ridge), on the maps of twenty scenes, and let it label ten others. One reader for each stage, one for the first three together, and one that gets all four, resized to the finest. And all of it six times, with other scenes. Two readers are compared draw by draw, and we trust a difference that is larger than twice its standard error.


# %%
def maps_of(pictures):
    """The four maps of some scenes, all resized to the finest, and the labels."""
    maps = nano.encoder(torch.cat([normalize(image) for image, _ in pictures]))
    size = maps[0].shape[2:]
    resized = [F.interpolate(each, size, mode="bilinear").permute(0, 2, 3, 1) for each in maps]
    return resized, torch.stack([torch.as_tensor(each).long() for _, each in pictures])


def fit(tokens, labels):
    """Ridge regression from tokens to the shares of the classes under each."""
    shares = F.avg_pool2d(F.one_hot(labels, 8).permute(0, 3, 1, 2).float(), 4)
    wanted = shares.permute(0, 2, 3, 1).flatten(0, 2).double()
    rows = tokens.flatten(0, 2).double()
    ridge = 1e-3 * len(rows) * torch.eye(rows.shape[1])
    return torch.linalg.solve(rows.T @ rows + ridge, rows.T @ wanted).float()


def near_a_border(labels):
    """Pixels with another class within two pixels of them."""
    x = labels[:, None].float()
    return (F.max_pool2d(x, 5, 1, 2) != -F.max_pool2d(-x, 5, 1, 2))[:, 0]


# %%
places = "far from borders", "within two pixels of a border"
readers = {**{f"stage {i + 1}": [i] for i in range(4)}, "1 to 3": [0, 1, 2], "all four": range(4)}


def rightly_labelled(seed):
    """Percent of the pixels of ten scenes that each reader labels rightly, at the two places."""
    unseen = Scenes(30, 256, seed)
    pictures = [unseen.picture(index) for index in range(30)]
    (seen_maps, seen_labels), (maps, labels) = maps_of(pictures[:20]), maps_of(pictures[20:])
    right = {}
    for caption, stages in readers.items():
        train, test = (
            F.pad(torch.cat([every[stage] for stage in stages], dim=-1), (0, 1), value=1)  # a bias
            for every in (seen_maps, maps)
        )
        read = (test @ fit(train, seen_labels)).permute(0, 3, 1, 2)  # (n, K, H/4, W/4)
        right[caption] = F.interpolate(read, labels.shape[1:], mode="bilinear").argmax(1) == labels
    right["true shares"] = torch.stack([through_a_grid(each, 32) == each for each in labels])
    border = near_a_border(labels)
    return {
        caption: [100 * each[where].float().mean().item() for where in (~border, border)]
        for caption, each in right.items()
    }


# %%
trials = [rightly_labelled(seed) for seed in widgets.progress(range(606, 612), "draws")]
known = {}
for caption in trials[0]:
    far, near = np.mean([trial[caption] for trial in trials], axis=0)
    known[caption] = dict(zip(places, (far, near), strict=True))
    print(f"{caption:<11} far from borders {far:.0f} %, close to them {near:.0f} %")

# %%
for one, other in (("all four", "1 to 3"), ("stage 3", "stage 2")):
    gains = np.array([np.subtract(trial[one], trial[other]) for trial in trials])  # (draws, places)
    errors = gains.std(axis=0, ddof=1) / len(trials) ** 0.5
    far, near = (f"{m:+.1f} ± {e:.1f}" for m, e in zip(gains.mean(axis=0), errors, strict=True))
    print(f"{one} less {other}: far from borders {far}, close to them {near} points")

# %%
plots.show(
    plots.grouped_bars(
        {caption: known[caption] for caption in readers},
        "pixels labelled rightly, %",
        "Maps together are read better than any alone, most of all near borders",
    ),
    alt="Pairs of bars for the readers of stages 1, 2, 3 and 4, of 1 to 3 and of all four: the "
    "share of pixels labelled rightly far from borders and close to them. Stage 3 leads the single "
    "maps far from borders; close to them stages 2 and 3 are level. Stages 1 and 4 are lowest in "
    "both. The two readers of several maps are ahead of every single one in both.",
)

# %% [markdown]
# *Go from bar to bar.* (Each is a mean of six draws; ± is the standard error of a difference.) Of the single maps, stage 3 is read best far from borders; close to them stages 2 and 3 are level, as far as six draws can tell. Stage 4 is read worse than both, and not for its {{stage_4_side}}×{{stage_4_side}} tokens alone: "true shares" is what the shares on such a grid give (section 1), and that is a good deal more. Its training never asked it to stand alone.
#
# But put side by side, **maps are read better than any of them alone, and most of all at borders: they know different things.** That is the case for handing the decoder all of them, and such a small decoder, one Linear, already shows it. What the fourth adds to the other three is little, about a point far from borders, and there it does so in every draw; close to them it is suggestive at most.
#
# ## 8 · Does the pyramid pay?
#
# Section 2 was arithmetic: what one *could* buy. Here is a trial. Four networks, each of four blocks of the same kind and with the same decoder; none costs more multiply-adds than the pyramid. Each is trained on the same scenes of 64×64 pixels for {{trial_steps}} steps, from three seeds, and judged by scenes new to all. A command in the README runs it again, `python -m experiments.hierarchy`; this is what it wrote, ± the standard deviation over the seeds.
#
# **Predict.** Put them in order: the pyramid, and columns at 1/4, 1/8 and 1/16.

# %%
prediction = ...  # four names, the best first

# %%
written = Path(plots.__file__).parents[2] / "experiments" / "hierarchy.json"  # by the command
results = json.loads(written.read_text(encoding="utf-8"))
networks = list(dict.fromkeys(run["network"] for run in results["runs"]))
mean_iou, poles = (
    {
        name.removeprefix("column at "): [
            100 * {**run, **run["iou"]}[measure]
            for run in results["runs"]
            if run["network"] == name
        ]
        for name in networks
    }
    for measure in ("miou", "pole")
)
for name in mean_iou:
    told = [
        f"{np.mean(v[name]):>4.1f} ± {np.std(v[name], ddof=1):.1f} %" for v in (mean_iou, poles)
    ]
    print(f"{name:<8} mean IoU {told[0]}, poles {told[1]}, {len(mean_iou[name])} seeds")
print(results["machine"]["processor"], "·", results["machine"]["date"])

# %%
plots.show(
    plots.seeds(
        {"mean IoU, %": mean_iou, "IoU of poles, %": poles},
        "At 64×64 pixels, and after few steps, the finest column leads",
    ),
    alt="Two panels, mean IoU and the IoU of poles, with a dot a seed for the pyramid and for "
    "columns at 1/4, 1/8 and 1/16, beside them mean and standard deviation. In both the column at "
    "1/4 is highest and that at 1/16 last; the pyramid is second in mean IoU, and level with the "
    "column at 1/8 on poles.",
)

# %% [markdown]
# *Compare the pyramid with the column at 1/4.* The pyramid does not win: the column that stays fine is ahead of it in every seed, most of all on poles, and by far more than the seeds differ. (On poles the column at 1/8 is ahead of the pyramid in two seeds and behind in one, which tells nothing.) As clear is the other end: the column at 1/16, the shape of a plain Vision Transformer, is last, as section 1 would have it.
#
# Be as strict with this trial as with any other. These pictures are tiny and the training is short; the learning rate is the one that lesson 08 uses for pyramids, tuned for none of the columns. The pyramid has one block on its fine map and the column four; and a map at 1/4 of *this* picture has only 16×16 tokens, so that fineness is nearly free. What happens to the price of the same two networks when the picture grows?

# %%
small_pyramid = SegFormerConfig.named("nano", depths=(1, 1, 1, 1))
fine_column = column(stride=4, r=4, width=18, depth=4).replace(num_classes=8, decoder_dim=64)
for side in (64, 256, 1024):
    prices = [cost(each, (side, side)).multiply_adds / 1e6 for each in (small_pyramid, fine_column)]
    print(
        f"{side:>4}²: pyramid {prices[0]:>8,.0f} M, column at 1/4 {prices[1]:>8,.0f} M, "
        f"{prices[1] / prices[0]:.1f} times"
    )
counts = [cost(each, (64, 64)).parameters for each in (small_pyramid, fine_column)]
print(f"parameters: pyramid {counts[0]:,}, column at 1/4 {counts[1]:,}")

# %% [markdown]
# About equal at 64×64, and {{column_factor}} times as dear at 1024×1024: all of the column's blocks pay the N² of the fine map, where the pyramid pays it once. (Parameters are no price here: the column has far fewer, and leads all the same.) So what the pyramid buys here is not accuracy as such. It buys **fine maps and many channels on large pictures, at a price that grows more slowly**. Whether that makes the better network at 512×512, after 160,000 steps and with weights from
# ImageNet, our minutes on a processor cannot say. The paper compares with a column too, SETR, but with a far larger one that has another decoder (arXiv:2105.15203, Section 4 and Table 2). One could find out: the same command, with larger pictures and a GPU.
#
# ## Play
#
# Design an encoder of your own. On the left its bill, stage by stage; on the right where it stands among the published ones. Not everything can be built, and then you are told why. All sliders answer to the arrow keys.

# %%
widgets.Pyramid()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Depths, ratios and expansion leave the memory as it is. The peak of B0 stands in the decoder, when the logits for {{b0_classes}} classes are put together, and these three matter in the encoder only. Depth would not matter there either: blocks run one after the other, and what one used is free for the next. (In *training* every block's activations wait for the gradient, and memory grows with depth after all.)
# The size of the photograph changes multiply-adds and memory alone: no weight knows it. The number of heads changes none of the three.
#
# Most blocks within B1: {{play_blocks}}, with B5's depths. They fit with the narrowest dims only, `16, 32, 64, 128`, and with any heads that divide them. You paid with width: {{play_width}} channels in the last stage, where B1 has {{b1_last_channels}}.
#
# </details>
#
# ## Break it
#
# This is how a widely copied SegFormer for PyTorch began, in the line that defines its norm. It was reported ([segformer-pytorch, issue 7](https://github.com/lucidrains/segformer-pytorch/issues/7)), and its author mended it a month later; copies of the line live on in other repositories. Maps have their channels first there, `(B, C, H, W)`. `PreNorm`, which applies it before each branch, is in our words.

# %%
LayerNorm = partial(nn.InstanceNorm2d, affine=True)


class PreNorm(nn.Module):
    def __init__(self, dim, branch, norm=LayerNorm):
        super().__init__()
        self.norm, self.branch = norm(dim), branch

    def forward(self, x):  # (B, C, H, W)
        return self.branch(self.norm(x))


# %%
torch.manual_seed(0)
x = OverlapPatchEmbedding(3, 32, 7, 4)(normalize(portrait)).permute(0, 3, 1, 2)
ffn = MixFFN(32, 128).double()
wrong = PreNorm(32, lambda x: ffn(x.permute(0, 2, 3, 1))).double()  # (B, H, W, C)
right = lambda x: ffn(F.layer_norm(x.permute(0, 2, 3, 1), (32,)))  # noqa: E731
for name, branch in {"LayerNorm": right, "with the bug": wrong}.items():
    print(f"{name:<13}", tuple(branch(x.double()).shape))
print(
    [tuple(weight.shape) for weight in wrong.norm.parameters()],
    "and",
    [tuple(nn.LayerNorm(32).weight.shape)] * 2,
)

# %% [markdown]
# The shapes agree; so do those of the parameters, and weights from elsewhere load without a word. Here is the instrument of lesson 03 again: **change one token, and see who notices**. This time in the Mix-FFN branch, whose convolution is 3×3.
#
# **Predict.** How many tokens should notice, of 128×128?

# %%
prediction = ...  # a number

# %%
touched = x.clone()
touched[0, 5, 84, 36] += 1  # one channel of one token
for name, branch in {"LayerNorm": right, "with the bug": wrong}.items():
    difference = branch(touched.double()) - branch(x.double())
    noticed = (difference.abs().amax(dim=-1) > 1e-9).sum().item()
    print(f"{name:<13} {noticed:>6,} tokens notice")

# %% [markdown]
# And a second one. Two photographs, one plain dark grey, one plain bright grey. What does the norm hand on?

# %%
for grey in (40, 220):
    plain = OverlapPatchEmbedding(3, 32, 4, 4)(normalize(np.full((64, 64, 3), grey, np.uint8)))
    flat = plain.permute(0, 3, 1, 2)[:, :, 2:-2, 2:-2]
    spread = (
        wrong.float().norm(flat).abs().max(),
        F.layer_norm(flat.permute(0, 2, 3, 1), (32,)).abs().max(),
    )
    print(
        f"grey {grey:>3}: with the bug at most {spread[0]:.2f}, LayerNorm at most {spread[1]:.1f}"
    )

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# `nn.InstanceNorm2d` is no LayerNorm. It takes each *channel*, and makes its mean over the *map* zero and its spread one. LayerNorm takes each *token*, and does so over its *channels*. Both have a scale and a shift for each channel, so that parameters and shapes are the same; what they share out is another axis.
#
# With the bug, every token's norm depends on every other token of the photograph: change one, and all notice. A crop gives other features than the whole. And what is the same everywhere is subtracted: a plain surface becomes zero, be it dark or bright. (Those zeros are the second output.) The network trains all the same, the residual path still carries what the norm takes away, and nothing complains.
#
# The mend: `nn.LayerNorm(dim)` on maps with channels last; or, with channels first, mean and variance over `dim=1`.
#
# What would have caught it? *One token in, nine tokens out*. Or published weights and published logits (lesson 07): they load, and the logits differ.
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("06.1")` gives a hint, and another one each time you ask; `solution("06.1")` the answer.
#
# ### Exercise 06.1 ★ 5 minutes · Four shapes
#
# Height and width of each stage's map, for any photograph and any strides, as a list of pairs. Every patch embedding is padded, so that a patch that is only begun makes a token.


# %%
def map_sizes(height, width, strides):
    return ...


check("06.1", map_sizes)

# %% [markdown]
# ### Exercise 06.2 ★★ 8 minutes · Put the block together
#
# The four modules of a block are given, as functions from a map to a map. Put them together as SegFormer does (in evaluation, so without drop path).


# %%
def block_forward(x, norm1, attention, norm2, mix_ffn):
    return ...


check("06.2", block_forward)

# %% [markdown]
# ### Exercise 06.3 ★★ 8 minutes · The rates of one stage
#
# The drop rates of the blocks of one stage, as a list. `stage` counts from 0, the rule is linspace: zero for the very first block of the encoder, `rate` for the very last.


# %%
def rates_of_stage(rate, depths, stage):
    return ...


check("06.3", rates_of_stage)

# %% [markdown]
# ### Exercise 06.4 ★★ 10 minutes · What does a block hold?
#
# The learned numbers of one block: two norms, attention with its reduction (none at r = 1), Mix-FFN with expansion e. Everything has biases.


# %%
def block_parameters(channels, reduction_ratio, expansion):
    return ...


check("06.4", block_parameters)

# %% [markdown]
# ### Exercise 06.5 ★★ 10 minutes · The widest column
#
# A column has `depth` blocks on N tokens, without reduction, with an expansion of 4. What is the greatest number of channels that a budget of multiply-adds allows? Count the four Linears of attention, its two products, and Mix-FFN with its depthwise convolution; leave the patch embedding out. 0 if nothing fits.


# %%
def widest_column(budget, tokens, depth):
    return ...


check("06.5", widest_column)

# %% [markdown]
# ### Exercise 06.6 ★★★ 14 minutes · The encoder as a loop
#
# `stages` is a list of triples: a patch embedding `(B, C_in, H, W)` → `(B, H', W', C)`, a list of blocks, a norm. Return what the decoder gets: a list of maps `(B, C, H', W')`.


# %%
def encode(images, stages):
    return ...


check("06.6", encode)

# %% [markdown]
# ## Recap
#
# - The coarser a map, the less of thin things it gives back, even from the best scores that we found; a fine map affords few channels. At the cost of B0's encoder a column can have one point on that line, and the pyramid has four.
# - A block adds two notes to x: attention's, then Mix-FFN's. Each reads a normalised copy. x itself is normalised only where a stage begins, in the patch embedding, and where it ends.
# - Each step of the pyramid halves the sides, rounding up, and makes the channels about twice as many; a head has the same width in all stages.
# - The encoders of B1 to B5 differ in depth alone, above all in stage 3. Parameters sit in the late stages, work is spread over all.
# - A parameter count is a checksum: it tells which table describes which weights.
# - The four maps know different things; read together, they are read best.
#
# **Can you answer without scrolling up?**
#
# 1. Why can B0's budget not pay for eight blocks of full attention at 1/4, however narrow?
# 2. In a block, which tensor does `norm2` read: the input of the block, or something else?
# 3. What is the shape of the third map of B1 for a photograph of 500×300?
# 4. B4 has 41 blocks and B2 has 16. Does B4 need more memory for one forward pass in evaluation?
# 5. Two models have the same number of parameters in every tensor, and load each other's weights. Are they the same model?
#
# <details><summary>Answers</summary>
#
# 1. The two products of attention take 2·N²·C multiply-adds a block. With N = {{stage_1_tokens}} and C = 1, eight times, that is {{one_channel_products}} G already.
# 2. The input plus attention's branch.
# 3. `(B, 320, 32, 19)`: a sixteenth of each side, rounded up.
# 4. Hardly: blocks run one after the other, and each frees what it used. It takes longer. (The weights themselves take more.)
# 5. No: with InstanceNorm for LayerNorm they would be two models with one set of weights.
#
# </details>
#
# > **Where paper, code and posts differ**
# >
# > - *Expansion.* Table 6: 8, 8, 4, 4 for B0 to B4. Released code and weights: 4 everywhere. The ImageNet column of the appendix fits the former, Table 1 the latter (section 5).
# > - *Depth of stage 2 in B2 and B3.* Table 6 prints 3. Code, weights and both parameter columns have 4 (arXiv:2105.15203, Table 6; [PaddleSeg, issue 3322](https://github.com/PaddlePaddle/PaddleSeg/issues/3322)).
# > - *The norm at the end of a stage.* Figure 2 of the paper does not draw it, nor the norms in the blocks; the code has both. The *normalised* map goes on to the next stage, not only to the decoder.
# > - *Figure 2* also draws one step of patch merging too many: the first stage already begins with one (arXiv:2105.15203, Figure 2).
# > - *Epsilon of the norms.* Released code: `1e-6` in blocks and stage ends, `1e-5` in patch embeddings and reductions (torch's default). transformers uses `1e-5` throughout, whatever `layer_norm_eps` in its config.json says. Our config has `block_norm_eps`.
# > - *"LayerNorm".* A name is not a norm: see Break it.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1, Figure 2, Tables 1 and 6. W. Wang and others, *Pyramid Vision Transformer*, [arXiv:2102.12122](https://arxiv.org/abs/2102.12122), whose pyramid this is. A. Dosovitskiy and others, *An Image is Worth 16×16 Words*, [arXiv:2010.11929](https://arxiv.org/abs/2010.11929).
# R. Xiong and others, *On Layer Normalization in the Transformer Architecture*, [arXiv:2002.04745](https://arxiv.org/abs/2002.04745). A. Vaswani and others, *Attention Is All You Need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762).
#
# **Next:** lesson 07. Four maps, and one label for each pixel: is a linear decoder enough?
