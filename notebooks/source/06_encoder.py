# %% [markdown]
# # Lesson 06 · Why a pyramid?
#
# You have built the parts: overlapping patches (01), attention (02) with fewer keys (03), a feed-forward layer that tells where the border is (04), and branches that may be left out (05). Now they become a **block**, and blocks become **four stages**, each with a coarser map and more channels than the one before.
#
# Why four? A plain Vision Transformer has one stage, with the same grid of tokens from the first block to the last ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929)). We call that a *column*. It is simpler than a pyramid, so what does the pyramid buy?
#
# **After this lesson you will be able to**
#
# - say what a map loses by being coarse, and what it costs to be fine, in numbers;
# - read a Transformer block line by line, and tell it from one whose norm stands elsewhere;
# - build the encoder, and say the shape of each of its four maps for any photograph;
# - tell B0 from B5 by their configs, and say where their parameters and their multiply-adds are;
# - find out, from parameter counts alone, which of two published tables describes the released weights (*further*).
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip reading what is marked *further*, for no other section builds on it, but run its cells. **You need** lessons 01 to 05.

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

from segformer_edu import MixFFN, OverlapPatchEmbedding, SegFormer, SegFormerConfig, plots, widgets
from segformer_edu.analysis import columns, cost, map_contents, parts, torch_twin
from segformer_edu.analysis.grids import class_shares, fitted_through_a_grid
from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.checks import check_images, check_map
from segformer_edu.config import check_config
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.layers import initialize
from segformer_edu.stochastic_depth import DropPath, residual
from segformer_edu.training import confusion_matrix, scores

# %%
torch.set_grad_enabled(False)  # nothing is trained in this lesson
generator = torch.Generator().manual_seed(0)
b0 = SegFormerConfig.named("b0")

# %% [markdown]
# ## 1 · What does a coarse map lose?
#
# The package draws street scenes, with the true class of every pixel; you will train on them in lesson 08. (The class "pole" holds all that stands on one leg: posts, lamps, signs.) Because we know the true labels, we can ask what a coarse map loses even if the network makes no mistake.
#
# Suppose that every token knew **which classes lie under it, and in what shares**. To label each pixel, we enlarge the map of shares to the size of the picture, and take the class with the largest share. What is wrong afterwards was lost to the grid, or to speaking in shares.

# %% tags=["mirror"]
# segformer_edu.analysis.grids.through_a_grid

# %% [markdown]
# **Predict.** We send the labels of one scene through grids with strides of 4, 8, 16 and 32, so that a token stands for 4×4 to 32×32 pixels. At which stride will the last pixel of the poles be gone? And of the road?

# %%
prediction = ...  # for each a stride or "never", such as {"pole": 4, "road": 8}

# %%
scenes = Scenes(20, 128, seed=6)
photo, truth = scenes.picture(3)
strides = (4, 8, 16, 32)
given_back = {s: through_a_grid(torch.as_tensor(truth), s).numpy() for s in strides}
plots.show(
    plots.label_maps(
        photo,
        {"true labels": truth, **{f"through 1/{s}": x for s, x in given_back.items()}},
        CLASSES,
        "In this scene the road survives any grid, the post only the finer two",
    ),
    alt="A drawn street with a lamp post and two people, its labels, and the labels that come back "
    "through grids of 1/4, 1/8, 1/16 and 1/32. The post is whole at 1/4, ragged at 1/8, a stub at "
    "1/16 and gone at 1/32 with the people; sky, buildings and road stay, with rounded borders.",
)


def gone_at(name):
    return next((s for s in strides if CLASSES.index(name) not in given_back[s]), "never")


compare(prediction, {name: gone_at(name) for name in ("pole", "road")})

# %% [markdown]
# *Follow the lamp post from left to right, then the border of the road.* Large things come back from any grid. What is much thinner than a token is outvoted by its neighbours, at least while shares do the voting.
#
# But a network may hand on any scores it likes, and other scores may do better than shares. So we also *fit* a score for each token and class to the true labels, through the same enlarging. Because one picture proves little, we take twenty scenes, and judge them by the intersection over union (IoU): of all pixels that have a class in truth or in the answer, the share that has it in both (lesson 08).

# %%
labels = torch.stack([torch.as_tensor(scenes.picture(i)[1]).long() for i in range(len(scenes))])
for stride in strides:
    for kind, give_back in {"shares": through_a_grid, "fitted": fitted_through_a_grid}.items():
        returned = torch.stack([give_back(each, stride) for each in labels])
        found = scores(confusion_matrix(returned, labels, len(CLASSES)))
        iou = dict(zip(CLASSES, found.iou, strict=True))
        print(
            f"1/{stride:<2} {kind}  mean IoU {found.miou:.0%}   "
            f"road {iou['road']:.0%}   pole {iou['pole']:.0%}"
        )

# %% [markdown]
# Fitted scores bring back more than shares on every grid, and at 1/4 they lose only a few points of the poles. (They are no upper limit, because better scores may exist.) But on each coarser grid they lose more as well, and far more of the poles than of the road. So **tokens have to be small where things are small**. (IoU counts pixels, so poles close to the camera weigh most. Shares at 1/32 lose every pole in {{poles_gone}} of the {{scenes_with_poles}} scenes with poles.)
#
# ## 2 · What does a fine map cost?
#
# If fine maps lose less, why not let all blocks work on a map at 1/4, with as many channels as we can pay for? Our budget is what the eight blocks of B0's encoder cost at 512×512.
#
# **Predict.** A map at 1/4 has 128×128 tokens. Let every token ask every other (r = 1), in eight blocks. How many channels does the budget allow? B0 ends with {{b0_last_channels}}.

# %%
prediction = ...  # a number of channels, such as 100

# %%
budget = cost(b0, (512, 512)).encoder_multiply_adds
one_channel = columns.column(stride=4, reduction_ratio=1, width=1)
print(f"B0's encoder: {budget / 1e9:.2f} G multiply-adds")
print(f"one channel:  {columns.encoder_work(one_channel, 512) / 1e9:.2f} G multiply-adds")
compare(prediction, columns.widest_column(budget, stride=4, reduction_ratio=1))

# %% [markdown]
# Not even one. Eight blocks of attention over {{stage_1_tokens}} tokens cost more than all of B0's encoder, even if each token is a *single number*.
#
# So a column has to reduce its keys, as lesson 03 taught, or to have fewer tokens. Here is the widest column that the budget pays for, at each stride, always with the same number of keys:

# %%
widths = {}
for stride, r in [(4, 8), (8, 4), (16, 2), (32, 1)]:
    widths[stride] = columns.widest_column(budget, stride, r)
    stage = cost(columns.column(stride, r, widths[stride]), (512, 512)).stages[0]
    print(f"1/{stride:<2} r = {r}: {stage.tokens:>6,} tokens, {stage.keys} keys,", end="")
    print(f" {widths[stride]:>3} channels")

# %%
plots.show(
    plots.equal_budgets(
        {
            "a column: one of these, for all blocks": (list(widths), list(widths.values())),
            "B0: all four, two blocks each": (list(widths), b0.embed_dims),
        },
        ("pixels between tokens", "channels of a token"),
        f"Each column costs as much as B0's whole encoder: {budget / 1e9:.1f} G multiply-adds",
    ),
    alt="Channels over the pixels between tokens, both logarithmic. Four columns of equal cost lie "
    "on a rising line: 27 channels at 4 pixels, 71 at 8, 158 at 16 and 323 at 32. The four stages "
    "of B0 lie close to it: 32, 64, 160 and 256.",
)

# %% [markdown]
# *Compare the two lines.* They are nearly the same. For what a column spends on one point, B0's encoder has **all four**: a map about as fine and as wide as that of the finest column, *and* one with eight times as many channels, where each token stands for a window of 32×32 pixels.
#
# The bargain is: **few channels where there are many tokens, many channels where there are few.** Each step of the pyramid halves the sides, so the next map has a quarter of the tokens. Doubling the channels makes a Linear four times as dear for each token, so the two factors cancel.
#
# The pyramid pays with depth: it has two blocks at each point instead of eight. Whether that is worth it, arithmetic cannot say. Section 8 tries it out, and the answer may surprise you.
#
# ## 3 · What happens in a block?
#
# A block is the unit that is repeated. It has two branches: in attention, tokens hear from others; in Mix-FFN, each works on what it has heard.

# %% tags=["mirror"]
# segformer_edu.encoder.EncoderBlock

# %% [markdown]
# Read `forward` line by line.
#
# - `check_map` refuses what is no map of tokens.
# - `residual(x, branch, drop_path)` is `x + branch(x)`, except that training may leave the branch out for some samples (lesson 05). A branch never replaces the map, it only adds to it. So **x runs from the first block of a stage to the last, and every branch leaves a note on it**.
# - `self.norm1(x)` stands *inside* the branch, before attention. Attention therefore reads a normalised copy, and x itself stays as it is. This order is called pre-norm.
# - `self.mix_ffn(self.norm2(x))` reads the x to which attention has already added. So the two branches run one after the other, and each has a norm of its own.
#
# The first Transformer had the other order, x ← norm(x + branch(x)) ([Vaswani and others 2017](https://arxiv.org/abs/1706.03762)). There x itself goes through every norm, and training needs more care at the start ([Xiong and others 2020](https://arxiv.org/abs/2002.04745)). Exercise 06.2 tells the two apart.
#
# ### Is it the block that others have? · *further*
#
# torch's own `nn.TransformerEncoderLayer` has the same plan, but its feed-forward layer is plain. Ours becomes plain too if each 3×3 kernel of Mix-FFN has a 1 in the middle and 0 around it, so that it sees its own token alone. `torch_twin` makes such a copy of our block, and a layer of torch with the same weights. The two must agree.

# %%
torch.manual_seed(0)
block = EncoderBlock(dim=64, num_heads=2, reduction_ratio=1)
plain, theirs = torch_twin.torch_twin(block)
x = torch.randn(2, 6, 7, 64, generator=generator)  # (B, H, W, C)
assert torch.allclose(plain(x).flatten(1, 2), theirs(x.flatten(1, 2)), atol=1e-5)
print("with a plain feed-forward layer: the same as torch's Transformer block")

# %% [markdown]
# So what SegFormer adds to a Transformer block is inside the branches: the reduced keys and the 3×3 convolution.
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
# Why is there a norm at the end? Every branch reads a normalised copy, but x itself is only added to. To see what that does, we follow x through `nano`, the small trained model of the package.
#
# **Predict.** The last stage of `nano` has two blocks. By what factor do they change the spread (the standard deviation) of the numbers in x?

# %%
prediction = ...  # a factor, such as 1 if they leave the spread as it is

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
compare(prediction, round(spreads[-1] / spreads[0]))

# %% [markdown]
# The spread grows in every stage, and in the last one by a factor of {{nano_growth}}: each branch adds its note, and no norm on the way scales the sum back. The norm at the end brings every stage back to about the same scale, so that the next patch embedding and the decoder need not know how loud a stage has become.
#
# ### How does the package write a stage? · *further*
#
# The package's stage takes its numbers from the config, and it adds two things: drop rates, and a way to save memory in training.

# %% tags=["mirror"]
# segformer_edu.encoder.EncoderStage

# %% [markdown]
# - `config.stages[stage]` holds the numbers of this stage. Its drop rates are a piece of **one list for all stages** (lesson 05), so the first block of stage 2 does not start again at zero: in B2 the rates of stage 2 are {{b2_rates}}.
# - `checkpoint` forgets what is inside a block and computes it again for the gradient. That saves memory and costs time, and it changes no number.
# - `permute` turns the map from `(B, H, W, C)` into `(B, C, H, W)`, which the next patch embedding and the decoder expect.
#
# ### Four stages in a loop
#
# The encoder is a loop. Each stage gets the map of the one before, and all four maps are kept. (An `EncoderStage` does what `SimpleStage` does, and takes its numbers from the config.)

# %% tags=["mirror"]
# segformer_edu.encoder.MixTransformer

# %% [markdown]
# **Check it** with a photograph of 250×333, a size that nothing divides. Every patch embedding is padded, so each stage divides a side by its stride and rounds *up*. Which four sizes do you expect?

# %%
torch.manual_seed(0)
encoder = MixTransformer(b0).eval()
maps = encoder(torch.randn(1, 3, 250, 333, generator=generator))
for stride, channels, each in zip(strides, b0.embed_dims, maps, strict=True):
    assert each.shape == (1, channels, math.ceil(250 / stride), math.ceil(333 / stride))
    print(f"1/{stride:<2}", tuple(each.shape))

# %% [markdown]
# The four maps are all that the encoder gives, so it can serve other heads than SegFormer's. For a classifier, take the mean of the fourth map over its tokens and add a Linear.
#
# ### Can you count its parameters by hand? · *further*
#
# A count by hand shows that we know every part of a stage. Let a stage have L blocks, C channels, and k×k patches of C_in channels; let its keys be reduced by r, and let e be the expansion of Mix-FFN. Then it holds
#
# $$\underbrace{k^2 C_{in} C + 3C}_{\text{patches, norm}} \;+\; L\,\big\{\underbrace{4C}_{\text{2 norms}} + \underbrace{4(C^2+C)}_{\text{q, k, v, output}} + \underbrace{r^2C^2+3C}_{\text{reduction, norm}} + \underbrace{2eC^2 + 11eC + C}_{\text{Mix-FFN}}\big\} \;+\; \underbrace{2C}_{\text{norm}}$$
#
# parameters. Where r = 1 there is no reduction, so that term is left out. If your own B0 has too many parameters, compare it with this count term by term.


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
# SegFormer comes in six sizes. The code is the same, only the configs differ. (D is the width of the decoder, lesson 07.)

# %%
names = "b0", "b1", "b2", "b3", "b4", "b5"
print("    dims               depths     heads    r            D")
for name in names:
    config = SegFormerConfig.named(name)
    lists = config.embed_dims, config.depths, config.num_heads, config.reduction_ratios
    dims, *others = (",".join(map(str, values)) for values in lists)
    print(f"{name}  {dims:<17}  {others[0]:<9}  {others[1]}  {others[2]}  {config.decoder_dim:>5}")

# %% [markdown]
# From B0 to B1 every map gets twice as wide. From B1 on the widths stay, and what grows is **depth, nearly all of it in stage 3**: B1 has 2 blocks there, B5 has 40. B2 and its larger siblings also have a decoder three times as wide.
#
# Why five heads? Divide the dims by the heads: in every stage a head has 32 channels in B0, and 64 in the others. Within one model, more channels mean more heads, not wider ones.
#
# ### Which table describes the weights? · *further*
#
# A parameter count is a checksum: two designs with different counts cannot be the same. We first check our own six configs. The paper's Table 1 gives parameters, encoder and decoder, for ADE20K with its 150 classes, and GFLOPs for one crop, which is 512×512, and 640×640 for B5. Its "FLOPs" are multiply-adds. (What the paper prints is typed in below; all else in this lesson is computed.)

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
# All six parameter counts agree with every digit that is printed. The multiply-adds agree to within {{flops_gap}}: `cost` counts convolutions, Linears and the two products of attention, and leaves out biases, norms, activations and resizing. The paper does not say what its counter counts.
#
# Now the puzzle. Table 6 of the paper, "Detailed settings of MiT series", gives for B0 to B4 an expansion of Mix-FFN of **8, 8, 4, 4**, and for B2 and B3 a depth of **3** in stage 2 (arXiv:2105.15203, Table 6). The released code has 4 everywhere, and 4 blocks there. Our config follows the code, because the weights have to fit.
#
# There is one more table. For classification on ImageNet, that is, for the encoder with a Linear to 1000 classes, the paper's appendix lists parameters once more ([quoted in the documentation of transformers](https://huggingface.co/docs/transformers/v4.51.3/model_doc/segformer)): 3.7, 14.0, 25.4, 45.2, 62.6 and 82.0 million. Which settings give *those* numbers: the code's, Table 6's, or neither?

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
# Compare the first column with each of the others. The code's settings give the printed number for B5 alone. Table 6's settings, taken whole, fail for B2 and B3. But **expansion 8, 8, 4, 4 with the code's depths** gives all of B0 to B4, to the digit, and B5 fits with 4.
#
# So the ImageNet column belongs to models with an expansion of 8 in the first two stages, and with 4 blocks in stage 2 of B2 and B3: the depth of 3 in Table 6 looks like a misprint. The released weights, and Table 1, are those of other models, which have an expansion of 4. The paper does not say so. People have asked
# ([SegFormer, issue 63](https://github.com/NVlabs/SegFormer/issues/63), [mmsegmentation, issue 1917](https://github.com/open-mmlab/mmsegmentation/issues/1917), [PaddleSeg, issue 3322](https://github.com/PaddlePaddle/PaddleSeg/issues/3322)). We do not know whether the accuracies printed beside that column are those of the released files.
#
# You may build sizes of your own, even with a fifth stage (one more entry in each list), but published weights fit only what they were made for. The paper pretrains on ImageNet-1K and gives no recipe; its author points to that of PVTv2 ([SegFormer, issue 67](https://github.com/NVlabs/SegFormer/issues/67)).
#
# ## 6 · Where are the parameters, and where is the work?
#
# A large model need not be a slow one, because parameters and work need not be in the same place.
#
# **Predict.** Stage 1 of B0 has 64 times as many tokens as stage 4, and stage 4 has eight times as many channels. Which stage holds the most parameters? Which takes the most multiply-adds?

# %%
prediction = ...  # two stage numbers, such as (2, 3)

# %%
bill = cost(b0, (512, 512))
held, work = [], []
for number, stage in enumerate(bill.stages, start=1):
    held.append(stage.parameters / bill.encoder_parameters)
    work.append(stage.multiply_adds / bill.encoder_multiply_adds)
    print(f"stage {number}: {held[-1]:>4.0%} of the parameters, {work[-1]:>4.0%} of the work")
compare(prediction, tuple(shares.index(max(shares)) + 1 for shares in (held, work)))

# %% [markdown]
# Parameters sit where the channels are, so most are in stage 4. Work is spread far more evenly, because a weight is used once for every token: one of Mix-FFN in stage 1 is used 64 times as often as one in stage 4.
#
# The decoder is the extreme case. It has {{decoder_parameters_share}} of B0's parameters and takes {{decoder_work_share}} of its work, in the order in which the paper writes it, because it works on the finest grid (lesson 07).
#
# ### Which part takes most? · *further*
#
# The same bill can be written by part instead of by stage, for all six sizes.

# %%
bars = {name.upper(): parts.parameters_by_part(SegFormerConfig.named(name)) for name in names}
plots.show(
    plots.stacked_bars(
        bars, "parameters of the encoder, M", "In every size, Mix-FFN is the largest part"
    ),
    alt="Six stacked bars, B0 to B5, from 3.3 to 81.4 million parameters. Mix-FFN is the longest "
    "part of each; q, k, v and output come second, the reduction close behind in B4 and B5. "
    "Patches and norms are short in all.",
)

# %%
work = {
    name.upper(): parts.multiply_adds_by_part(SegFormerConfig.named(name), 512) for name in names
}
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
# *Look for the decoder, from B0 to B5.* It is the longest part of each. In the encoder, Mix-FFN leads in parameters and in work. The two products of attention took nearly all of the work in lesson 02. Here, at this size, they are one part among others, and that is what lesson 03 achieved.
#
# ## 7 · What do the four maps hold?
#
# Here are the maps that `nano` makes of our scene. It was trained on street scenes, but has never seen this one. Each row shows the four channels of a stage that vary most.

# %%
maps = nano.encoder(normalize(large))
plots.show(
    plots.maps_beside(
        large,
        [each[0].numpy() for each in maps],
        "Fine outlines in stage 1, coarse regions in stages 3 and 4",
    ),
    alt="A street scene, and four rows of four heat maps of it, each on its own scale. Stage 1 "
    "shows fine outlines, stage 2 parts of things, stages 3 and 4 coarse squares in which large "
    "regions are alike. All four channels of stage 4 are dark above and bright below.",
)

# %% [markdown]
# *Look for the lamp post, left of the middle.* It is a line in stages 1 and 2 (for example in channels 7 and 1), and it is lost from stage 3 on. There, whole regions go together: channel 1 of stage 3 is bright on the sky and the road, and dark on the buildings.
#
# So the maps hold different things. The second of the two further sections measures it: side by side, the maps are read better than any of them alone. That is why the decoder gets all four (lesson 07).
#
# ### Does a channel follow what is there, or where it is? · *further*
#
# A channel that is bright at the top may know the sky, or it may know the top. To find out, we turn the scene upside down. A channel that follows the content turns with it, and one that follows the place stays. So we correlate each channel's map with its map of the turned scene, once turned back (by content) and once as it is (by place).

# %%
upside_down = nano.encoder(normalize(large[::-1].copy()))
for number, (before, after) in enumerate(zip(maps, upside_down, strict=True), start=1):
    by_content = map_contents.alike(before[0], after[0].flip(1))
    by_place = map_contents.alike(before[0], after[0])
    print(f"stage {number}: by content {by_content:.2f}, by place {by_place:.2f}")

# %% [markdown]
# Stages 1 to 3 follow the content, each less than the one before. In stage 4 almost nothing turns with the scene. Most of its channels stay where they were, so what is dark at the top there is not the sky, it is the top (lesson 04 read position from this stage). To be fair, the model has never seen a street upside down. Nor has it seen a photograph:

# %%
portrait = sample_photo("astronaut")
plots.show(
    plots.maps_beside(
        portrait,
        [each[0].numpy() for each in nano.encoder(normalize(portrait))],
        "A photograph through weights that know only drawn streets",
    ),
    alt="The same for the portrait of an astronaut. Her outline is sharp in stage 1 and can be "
    "recognised in stage 2; stages 3 and 4 answer in coarse patches.",
)

# %% [markdown]
# *See that the early rows still work*, because edges are edges everywhere. The later rows answer a question that nobody asked, since there is no street.
#
# ### What can be read from each map? · *further*
#
# A picture of features is a good place to find bugs, and a poor place to find meaning. So we ask for a number: how well can the classes be read from one map? Our reader is one Linear, from the channels of a token to a score for each class. We fit it to the class shares of section 1 by least squares, with a small penalty on large weights that keeps the fit steady where channels repeat each other (*ridge regression*). First we fit one reader, to stage 3 of twenty scenes, and let it label another scene:

# %%
unseen = Scenes(21, 256, seed=606)
pictures = [unseen.picture(index) for index in range(21)]
maps, labels = map_contents.maps_of(nano.encoder, pictures)  # all resized to the finest map
reader = map_contents.fit_reader([maps[2][:20]], labels[:20])
read = reader.read([maps[2][20:]])[0]
right = (read == labels[20]).double().mean()
plots.show(
    plots.label_maps(
        pictures[20][0],
        {"true labels": pictures[20][1], "read from stage 3": read.numpy()},
        CLASSES,
        f"One Linear on stage 3 labels {right:.0%} of these pixels rightly",
    ),
    alt="A dim street scene, its labels, and the labels that one Linear reads from stage 3. Sky, "
    "road, buildings and the near car come out as rounded shapes. Much of the sidewalk and of a "
    "tree is called road, the far car is a spike, and the person is thin.",
)

# %% [markdown]
# Most large areas come out right, in rounded shapes, because a token of stage 3 covers 16×16 pixels. But the sidewalk is mostly taken for road, and so is a tree. Now we do the same for each stage, for the first three side by side, and for all four. Each reader is fitted to twenty scenes and judged on ten others, and pixels within two pixels of a border are counted apart. To see how much depends on the scenes, we repeat it with six draws of them. "True shares" are those of section 1, through a grid of 1/32.

# %%
draws = widgets.progress(range(606, 612), "draws")
trials = [map_contents.rightly_labelled(nano.encoder, seed) for seed in draws]
places = "far from borders", "within two pixels of a border"
known = {
    name: dict(zip(places, np.mean([trial[name] for trial in trials], axis=0), strict=True))
    for name in trials[0]
}

# %%
plots.show(
    plots.grouped_bars(
        {name.replace(" at", "\nat"): bars for name, bars in known.items()},
        "pixels labelled rightly, %",
        "Maps together are read better than any alone, most of all near borders",
    ),
    alt="Pairs of bars, means of six draws: the share of pixels labelled rightly far from borders "
    "and close to them, for readers of stages 1, 2, 3 and 4, of 1 to 3 and of all four, and for "
    "true shares. Stage 3 leads the single maps far from borders, 92 percent; close to them stages "
    "2 and 3 are level at 52. Stages 1 and 4 are lowest in both. The two readers of several maps "
    "are ahead of every single one in both, with 95 and 96, 62 and 63.",
)

# %%
for one, other in (("all four", "1 to 3"), ("stage 3", "stage 2")):
    far, near = map_contents.gain(trials, one, other)  # mean ± standard error over the draws
    print(f"{one} less {other}: far from borders {far}, close to them {near} points")

# %% [markdown]
# *Go from bar to bar.* (We compare two readers draw by draw, and trust a difference that is larger than twice its standard error.) Of the single maps, stage 3 is read best far from borders; close to them stages 2 and 3 are level, as far as six draws can tell. Stage 4 is read worse than both. That is not for its {{stage_4_side}}×{{stage_4_side}} tokens alone, because true shares on such a grid give a good deal more. Perhaps the reason is that training never asked stage 4 to stand alone.
#
# Side by side, however, **maps are read better than any of them alone, and most of all at borders: they hold different things.** That is the case for handing the decoder all of them, and even a decoder of one Linear profits. What the fourth map adds to the other three is little: about a point far from borders, in every draw, and close to them it is suggestive at most.
#
# ## 8 · Does the pyramid pay?
#
# Section 2 was arithmetic. Now for a trial: four networks, each of four blocks of the same kind and with the same decoder, none dearer than the pyramid. They were trained on the same scenes of 64×64 pixels for {{trial_steps}} steps, from three seeds, and judged by new ones. `python -m experiments.hierarchy` runs it again (see the README); the next cell reads what it wrote.
#
# **Predict.** Put them in order: the pyramid, and columns at 1/4, 1/8 and 1/16.

# %%
prediction = ...  # the best first, such as ["1/16", "1/8", "1/4", "pyramid"]

# %%
written = Path(plots.__file__).parents[2] / "experiments" / "hierarchy.json"
results = json.loads(written.read_text(encoding="utf-8"))
mean_iou, poles = {}, {}  # in percent, for each network one number a seed
for run in results["runs"]:
    name = run["network"].removeprefix("column at ")
    mean_iou.setdefault(name, []).append(100 * run["miou"])
    poles.setdefault(name, []).append(100 * run["iou"]["pole"])
for name, values in mean_iou.items():
    print(f"{name:<8} mean IoU {np.mean(values):.1f} %, poles {np.mean(poles[name]):>4.1f} %")
print(results["machine"]["processor"], "·", results["machine"]["date"])

# %%
plots.show(
    plots.seeds(
        {"mean IoU, %": mean_iou, "IoU of poles, %": poles},
        "At 64×64 pixels, and after few steps, the finest column leads",
    ),
    alt="Two panels, mean IoU and the IoU of poles, with a dot a seed for four networks, beside "
    "them mean and standard deviation. In both the column at 1/4 is highest and that at 1/16 last; "
    "the pyramid is second in mean IoU, and level with the column at 1/8 on poles.",
)
compare(prediction, sorted(mean_iou, key=lambda name: -np.mean(mean_iou[name])))

# %% [markdown]
# *Compare the pyramid with the column at 1/4.* The pyramid does not win. The column that stays fine is ahead of it in every seed, most of all on poles, and by far more than the seeds differ. (On poles the pyramid and the column at 1/8 take turns, which tells nothing.) The other end is as clear: the column at 1/16, the shape of a plain Vision Transformer, is last, as section 1 would have it.
#
# But the pictures are tiny and the training is short. The learning rate is the one that lesson 08 uses for pyramids, and it was tuned for none of the columns. And a map at 1/4 of *such* a picture has only 16×16 tokens, so being fine costs almost nothing, and the column can afford four blocks where the pyramid has one. What do the same two networks cost when the picture grows?

# %%
small_pyramid = SegFormerConfig.named("nano", depths=(1, 1, 1, 1))
fine_column = columns.column(stride=4, reduction_ratio=4, width=18, depth=4)
fine_column = fine_column.replace(num_classes=8, decoder_dim=64)
for side in (64, 256, 1024):
    prices = [cost(each, (side, side)).multiply_adds / 1e6 for each in (small_pyramid, fine_column)]
    print(f"{side:>4}²: pyramid {prices[0]:>8,.0f} M, column at 1/4 {prices[1]:>8,.0f} M,", end="")
    print(f" {prices[1] / prices[0]:.1f} times")

# %% [markdown]
# They cost about the same at 64×64, but the column is {{column_factor}} times as dear at 1024×1024: all of its blocks pay the N² of the fine map, where the pyramid pays it in one. So what the pyramid buys in this trial is not accuracy as such. It buys **fine maps and many channels on large pictures, at a price that grows more slowly**.
#
# Whether it is the better network at 512×512, after 160,000 steps and with weights from ImageNet, our minutes cannot say. (The paper's column, SETR, is far larger and has another decoder: arXiv:2105.15203, Section 4 and Table 2.) The same command with larger pictures and a GPU could tell.
#
# ## Play
#
# Design an encoder of your own. The left side shows its bill, stage by stage, and the right side where it stands among the published ones. All sliders answer to the arrow keys.

# %%
widgets.Pyramid()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Depths, ratios and expansion leave the memory as it is. The peak of B0 stands in the decoder, where the logits for {{b0_classes}} classes are put together. Depth would not matter in the encoder either, because what one block used is free for the next. (In *training* the activations of every block wait for the gradient, so memory grows with depth. A block of stage 1 keeps the most, because its map is the largest.)
# The size of the photograph changes multiply-adds and memory alone, because no weight knows it. The number of heads changes none of the three.
#
# Most blocks within B1: {{play_blocks}}, with B5's depths. They fit with the narrowest dims only, `16, 32, 64, 128`, and with any heads that divide them. You paid with width: {{play_width}} channels in the last stage, where B1 has {{b1_last_channels}}.
#
# </details>
#
# ## Break it
#
# A widely copied SegFormer for PyTorch defined its norm by the line below. The fault was reported ([segformer-pytorch, issue 7](https://github.com/lucidrains/segformer-pytorch/issues/7)) and mended a month later, but copies of the line live on. Maps have their channels first there, `(B, C, H, W)`. `PreNorm`, which applies the norm before each branch, is in our words.

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
x = OverlapPatchEmbedding(3, 32, 7, 4)(normalize(large)).permute(0, 3, 1, 2)
ffn = MixFFN(32, 128).double()
wrong = PreNorm(32, lambda x: ffn(x.permute(0, 2, 3, 1))).double()  # (B, H, W, C)
right = lambda x: ffn(F.layer_norm(x.permute(0, 2, 3, 1), (32,)))  # noqa: E731
for name, branch in {"LayerNorm": right, "with the bug": wrong}.items():
    print(f"{name:<13}", tuple(branch(x.double()).shape))

# %% [markdown]
# The shapes agree, and so do those of the parameters (a scale and a shift for each channel), so weights from elsewhere load without a word. To find the fault we use the instrument of lesson 03 again: **change one token, and see who notices**. This time we do so in the Mix-FFN branch, whose convolution is 3×3.
#
# **Predict.** The map has 64×64 tokens. How many of them will notice, with LayerNorm and with the bug?

# %%
prediction = ...  # two numbers of tokens, such as (1, 2)

# %%
touched = x.clone()
touched[0, 5, 42, 18] += 1  # one channel of one token
noticed = []
for name, branch in {"LayerNorm": right, "with the bug": wrong}.items():
    difference = branch(touched.double()) - branch(x.double())
    noticed.append((difference.abs().amax(dim=-1) > 1e-9).sum().item())
    print(f"{name:<13} {noticed[-1]:>5,} tokens notice")
compare(prediction, tuple(noticed))

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# `nn.InstanceNorm2d` is no LayerNorm. It takes each *channel*, and makes its mean over the *map* zero and its spread one. LayerNorm takes each *token*, and does so over its *channels*. What differs is the axis along which they normalise.
#
# With the bug, the norm of every token depends on every other token of the photograph, so if one changes, all notice. A crop gives other features than the whole, even far from its edges. And what all tokens have in common is subtracted with each channel's mean, so a map that is the same everywhere becomes zero, be the surface dark or bright. The network trains all the same, since the skip path still carries what the norm takes away.
#
# The mend is `nn.LayerNorm(dim)` on maps with channels last, or, with channels first, mean and variance over `dim=1`.
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
# Return height and width of each stage's map, for any photograph and any strides, as a list of pairs. Every patch embedding is padded, so a patch that is only begun makes a token too.


# %%
def map_sizes(height, width, strides):
    return ...


check("06.1", map_sizes)

# %% [markdown]
# ### Exercise 06.2 ★★ 8 minutes · Put the block together
#
# You are given the four modules of a block, as functions from a map to a map. Put them together as SegFormer does (in evaluation, so without drop path).


# %%
def block_forward(x, norm1, attention, norm2, mix_ffn):
    return ...


check("06.2", block_forward)

# %% [markdown]
# ### Exercise 06.3 ★★ 8 minutes · The rates of one stage
#
# Return the drop rates of the blocks of one stage, as a list. `stage` counts from 0. The rule is linspace: zero for the very first block of the encoder, `rate` for the very last. A single block has the rate zero.


# %%
def rates_of_stage(rate, depths, stage):
    return ...


check("06.3", rates_of_stage)

# %% [markdown]
# ### Exercise 06.4 ★★ 10 minutes · What does a block hold?
#
# Count the learned numbers of one block: two norms, attention with its reduction (none at r = 1), Mix-FFN with expansion e. Every layer and every norm has biases.


# %%
def block_parameters(channels, reduction_ratio, expansion):
    return ...


check("06.4", block_parameters)

# %% [markdown]
# ### Exercise 06.5 ★★ 10 minutes · The widest column
#
# A column has `depth` blocks on N tokens, without reduction, with an expansion of 4. What is the greatest number of channels that a budget of multiply-adds allows? Count the four Linears of attention, its two products, and Mix-FFN with its depthwise convolution; leave the patch embedding out. Return 0 if nothing fits.


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
# - The coarser a map, the less of thin things it gives back, even from the best scores that we found; but a fine map affords few channels. At the cost of B0's encoder a column can have one point on that line, and the pyramid has four.
# - A block adds two notes to x: attention's, then Mix-FFN's. Each branch reads a normalised copy. x itself is normalised only where a stage begins, in the patch embedding, and where it ends.
# - Each step of the pyramid halves the sides, rounding up, and makes the channels about twice as many. A head has the same width in all stages.
# - The encoders of B1 to B5 differ in depth alone, above all in stage 3. Parameters sit in the late stages, and work is spread over all.
# - A parameter count is a checksum of an architecture.
# - The four maps hold different things, and are read best when they are read together (the last further part of section 7).
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
# 2. The input plus what attention's branch has added.
# 3. `(B, 320, 32, 19)`: a sixteenth of each side, rounded up.
# 4. Hardly, because blocks run one after the other, and each frees what it used. It takes longer. (The weights themselves take more.)
# 5. No. A model with InstanceNorm for LayerNorm has the same weights and is another model.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *Expansion.* Table 6: 8, 8, 4, 4 for B0 to B4. Released code and weights: 4 everywhere. The ImageNet column of the appendix fits the former, Table 1 the latter (section 5).
# - *Depth of stage 2 in B2 and B3.* Table 6 prints 3. Code, weights and both parameter columns have 4 (arXiv:2105.15203, Table 6; [PaddleSeg, issue 3322](https://github.com/PaddlePaddle/PaddleSeg/issues/3322)).
# - *The norm at the end of a stage.* Figure 2 of the paper does not draw it, nor the norms in the blocks; the code has both. The *normalised* map goes on to the next stage, not only to the decoder. (Swin's backbones have such norms too, but only on the way out, [mmdetection, issue 7202](https://github.com/open-mmlab/mmdetection/issues/7202): the next stage reads the map without them.)
# - *Figure 2* also draws one step of patch merging too many: the first stage already begins with one (arXiv:2105.15203, Figure 2).
# - *Epsilon of the norms.* Released code: `1e-6` in blocks and stage ends, `1e-5` in patch embeddings and reductions (torch's default). transformers uses `1e-5` throughout, whatever `layer_norm_eps` in its config.json says. Our config has `block_norm_eps`.
# - *"LayerNorm".* A name is not a norm: see Break it.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1, Figure 2, Tables 1 and 6. W. Wang and others, *Pyramid Vision Transformer*, [arXiv:2102.12122](https://arxiv.org/abs/2102.12122), whose pyramid this is. A. Dosovitskiy and others, *An Image is Worth 16×16 Words*, [arXiv:2010.11929](https://arxiv.org/abs/2010.11929).
# R. Xiong and others, *On Layer Normalization in the Transformer Architecture*, [arXiv:2002.04745](https://arxiv.org/abs/2002.04745). A. Vaswani and others, *Attention Is All You Need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762).
#
# **Next:** lesson 07. Four maps, and one label for each pixel: is a linear decoder enough?
