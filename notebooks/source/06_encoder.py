# %% [markdown]
# # Lesson 06 · Why a pyramid?
#
# You have built the parts: overlapping patches (01), attention (02) with fewer keys (03), a feed-forward layer that tells where the border is (04), and branches that may be left out (05). Now they become a **block**, and blocks become **four stages**, each with a coarser map and more channels than the one before.
#
# Why more than one? A plain Vision Transformer has one stage, with the same grid of tokens from the first block to the last ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929)). We call that a *column*. It is simpler than a pyramid, so what does the pyramid buy?
#
# **After this lesson you will be able to**
#
# - say what a map loses by being coarse, and what it costs to be fine, in numbers;
# - read a Transformer block line by line, and tell it from one whose norm stands elsewhere;
# - build the encoder, and say the shape of each of its four maps for any photograph;
# - tell B0 from B5 by their configs, and say where their parameters and their multiply-adds are;
# - find out, from parameter counts alone, which of two published tables describes the released weights (*further*).
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip what is marked *further*, because no other section builds on it. **You need** lessons 01 to 05.

# %%
import math
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segformer_edu import MixFFN, OverlapPatchEmbedding, SegFormer, SegFormerConfig, plots, widgets
from segformer_edu.analysis import columns, cost, map_contents, parts, torch_twin
from segformer_edu.analysis.grids import class_shares, fitted_through_a_grid, iou_through
from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.checks import check_images, check_map
from segformer_edu.config import check_config
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.files import experiments_folder
from segformer_edu.layers import initialize
from segformer_edu.stochastic_depth import DropPath, residual

# %%
torch.set_grad_enabled(False)  # nothing is trained in this lesson
generator = torch.Generator().manual_seed(0)
b0 = SegFormerConfig.named("b0")

# %% [markdown]
# ## 1 · What does a coarse map lose?
#
# The package draws street scenes, with the true class of every pixel; you will train on them in lesson 08. (The class "pole" holds all that stands on one leg: posts, lamps, signs.) Because we know the true labels, we can ask what a coarse map loses even if the network makes no mistake.
#
# Suppose that every token knew **which classes lie under it, and in what shares**. To label each pixel, we enlarge the map of shares to the size of the picture, and take the class with the largest share. What is then wrong was lost for one of two reasons: tokens are large, or they know only shares.

# %% tags=["mirror"]
# segformer_edu.analysis.grids.through_a_grid

# %% [markdown]
# **Predict.** We send the labels of one scene through grids in which a token stands for 4×4, 8×8, 16×16 or 32×32 pixels. At which of them will the last pixel of the poles be gone? And of the road?

# %%
prediction = ...  # for each the side of a token, or "never": such as {"pole": 4, "road": 8}

# %%
scenes = Scenes(20, 128, seed=6)
photo, truth = scenes.picture(3)
spacings = (4, 8, 16, 32)  # pixels of the picture from token to token
given_back = {s: through_a_grid(torch.as_tensor(truth), s).numpy() for s in spacings}
plots.show(
    plots.label_maps(
        photo,
        {"true labels": truth, **{f"through 1/{s}": x for s, x in given_back.items()}},
        CLASSES,
        "In this scene the road survives all four, and 1/16 leaves a stub of the post",
    ),
    alt="A drawn street with a lamp post and two people, its labels, and the labels that come back "
    "through grids of 1/4, 1/8, 1/16 and 1/32. The post is whole at 1/4, ragged at 1/8, a stub at "
    "1/16 and gone at 1/32 with the people; sky, buildings and road stay, with rounded borders.",
)
gone = {
    name: next((s for s in spacings if CLASSES.index(name) not in given_back[s]), "never")
    for name in ("pole", "road")
}
compare(prediction, gone)

# %% [markdown]
# *Follow the lamp post from left to right, then the border of the road.* The largest areas come back from all four grids. What is much thinner than a token is outvoted by its neighbours.
#
# But a network need not hand on shares, and other scores may do better. So we also *fit* a score for each token and class to the true labels, through the same enlarging, by 30 steps of gradient descent. Because one picture proves little, we take twenty scenes, and judge them by the intersection over union (IoU): of all pixels that have a class in truth or in the answer, the share that has it in both. The mean IoU is its mean over the eight classes (lesson 08).

# %%
labels = torch.stack([torch.as_tensor(scenes.picture(i)[1]) for i in range(len(scenes))])
for spacing in spacings:
    for kind, give_back in {"shares": through_a_grid, "fitted": fitted_through_a_grid}.items():
        iou = iou_through(give_back, labels, spacing)
        print(f"1/{spacing:<2} {kind}  mean {iou['mean']:.0%}, ", end="")
        print(f"road {iou['road']:.0%}, pole {iou['pole']:.0%}")

# %% [markdown]
# Fitted scores bring back more than shares on every grid, and at 1/4 they lose only a few points of the poles. (They are no upper limit, because better scores may exist, and the channels of a token could also say *where* in its square a class lies.) But on each coarser grid they lose more as well, and far more of the poles than of the road. So **with one score a class for each token, tokens have to be small where things are small**.
#
# ## 2 · What does a fine map cost?
#
# If fine maps lose less, why not let all blocks work on a map at 1/4, with as many channels as we can pay for? Our budget is what B0's encoder, with its eight blocks, costs at 512×512: {{b0_encoder_work}} G multiply-adds.
#
# **Predict.** A map at 1/4 has 128×128 tokens. Let every token ask every other (r = 1), in eight blocks; the two products of attention alone take 2·N²·C multiply-adds in each. How many channels does the budget allow? B0 ends with {{b0_last_channels}}.

# %%
prediction = ...  # a number of channels, such as 100

# %%
budget = cost(b0, (512, 512)).encoder_multiply_adds
one_channel = cost(columns.column(4, 1, width=1), (512, 512)).encoder_multiply_adds  # r = 1
print(f"the budget:  {budget / 1e9:.2f} G multiply-adds")
print(f"one channel:  {one_channel / 1e9:.2f} G multiply-adds")
compare(prediction, columns.widest_column(budget, stride=4, reduction_ratio=1))

# %% [markdown]
# Not even one. Eight blocks of attention over {{stage_1_tokens}} tokens cost more than all of B0's encoder, even if each token is a *single number*.
#
# So a column has to reduce its keys (lesson 03), or to have fewer tokens. Here is the widest column that the budget pays for at each stride. The second number is r, chosen so that there are always {{column_keys}} keys, as in B0.

# %%
pairs = [(4, 8), (8, 4), (16, 2), (32, 1)]
widths = {stride: columns.widest_column(budget, stride, r) for stride, r in pairs}
plots.show(
    plots.equal_budgets(
        {
            "a column: one of these, for all blocks": (list(widths), list(widths.values())),
            "B0: all four, two blocks each": (list(widths), b0.embed_dims),
        },
        ("pixels between tokens", "channels of a token"),
        f"No column costs more than B0's whole encoder: {budget / 1e9:.1f} G multiply-adds",
    ),
    alt="Channels over the pixels between tokens, both logarithmic. Four columns within one budget "
    "lie on a rising line: 27 channels at 4 pixels, 71 at 8, 158 at 16 and 323 at 32. The four "
    "stages of B0 lie close to it up to 16 pixels, and below it at 32: 32, 64, 160 and 256.",
)

# %% [markdown]
# *Compare the two lines.* They are nearly the same up to 1/16. For the price of one dot of the column's line, B0's encoder has **all four** of its own: a map as fine as that of the finest column and a little wider, *and* one with eight times as many channels, where each token stands for a window of 32×32 pixels.
#
# The bargain is: **few channels where there are many tokens, many channels where there are few.** Each step of the pyramid halves the sides, so the next map has a quarter of the tokens. Doubling the channels makes a Linear four times as dear for each token, so the two factors cancel.
#
# The pyramid pays with depth: it has two blocks at each dot instead of eight. Section 8 tries out whether that is worth it.
#
# ## 3 · What happens in a block?
#
# A block has two branches: in attention, tokens hear from all over the map; in Mix-FFN, each works on what it has heard, and hears its neighbours.

# %% tags=["mirror"]
# segformer_edu.encoder.EncoderBlock

# %% [markdown]
# Read `forward` line by line.
#
# - `check_map` refuses what this block cannot work on.
# - `residual(x, branch, drop_path)` is `x + branch(x)`, except that training may leave the branch out for some samples and scale it for the others (lesson 05). A branch never replaces the map, it only adds to it. So **x runs from the first block of a stage to the last, and every branch leaves a note on it**.
# - `self.norm1(kept)` stands *inside* the branch, before attention (`kept` holds the samples whose branch is not left out). So attention reads a normalised copy, and x itself stays as it is. This order is called pre-norm.
# - `self.mix_ffn(self.norm2(kept))` reads the x to which attention has already added. So the two branches run one after the other, and each has a norm of its own.
#
# The first Transformer had the other order, x ← norm(x + branch(x)) ([Vaswani and others 2017](https://arxiv.org/abs/1706.03762)). There x itself goes through every norm, and training needs more care at the start ([Xiong and others 2020](https://arxiv.org/abs/2002.04745)). Exercise 06.2 tells the two apart.
#
# ### Is it the block that others have? · *further*
#
# torch's own `nn.TransformerEncoderLayer(norm_first=True)` has the same plan, but a plain feed-forward layer. Ours becomes plain too if each 3×3 kernel of Mix-FFN has a 1 in the middle and 0 around it, so that it sees its own token alone. `torch_twin` makes such a copy of our block, and a layer of torch with the same weights. The two must agree.

# %%
torch.manual_seed(0)
block = EncoderBlock(dim=64, num_heads=2, reduction_ratio=1)
plain, theirs = torch_twin.torch_twin(block)
x = torch.randn(2, 6, 7, 64, generator=generator)  # (B, H, W, C)
assert torch.allclose(plain(x).flatten(1, 2), theirs(x.flatten(1, 2)), atol=1e-5)
print("with a plain feed-forward layer: the same as torch's Transformer block")

# %% [markdown]
# So SegFormer's block differs from a plain one only inside the branches: in the reduced keys and the 3×3 convolution.
#
# ## 4 · Build the encoder
#
# A stage is a patch embedding, its blocks, and one more norm:


# %% tags=["stage"]
class SimpleStage(nn.Module):
    """A stage without stochastic depth."""

    def __init__(self, sizes):
        super().__init__()
        dim = sizes.embed_dim
        self.patch_embedding = OverlapPatchEmbedding(
            sizes.in_channels, dim, sizes.patch_size, sizes.stride
        )
        self.blocks = nn.Sequential(
            *(EncoderBlock(dim, sizes.num_heads, sizes.reduction_ratio) for _ in range(sizes.depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x):  # (B, C_in, H, W)
        x = self.blocks(self.patch_embedding(x))  # (B, H/stride, W/stride, C)
        return self.norm(x).permute(0, 3, 1, 2)  # (B, C, H/stride, W/stride)


# %% [markdown]
# Why is there a norm at the end? Inside a stage x is only added to: in `nano`, the small trained model of the package, the spread (the standard deviation) of its numbers grows {{nano_growth}} times in the last stage, in one scene. The norm brings it back to about one scale.
#
# ### How does the spread grow? · *further*
#
# We follow the spread of x through `nano`.

# %%
x = normalize(Scenes(40, 256, seed=6).picture(3)[0])  # the lamp post, seen more finely
for stage in SegFormer.from_pretrained("nano").encoder.stages:
    x = stage.patch_embedding(x)
    spreads = [x.std().item()]
    for block in stage.blocks:
        x = block(x)
        spreads.append(x.std().item())
    x = stage.norm(x).permute(0, 3, 1, 2)
    print(np.round(spreads, 1), f"after the norm {x.std():.1f}")

# %% [markdown]
# The spread grows in every stage of nano, because training has made the branches loud, and no norm on the way scales the sum back. (With fresh weights it hardly grows.) Thanks to the norm at the end, the decoder need not know how loud a stage has become.
#
# ### Four stages in a loop
#
# The encoder is a loop. Each stage gets the map of the one before, and all four maps are kept.


# %% tags=["stage"]
class SimpleEncoder(nn.Module):
    """The stages one after the other."""

    def __init__(self, config):
        super().__init__()
        self.stages = nn.ModuleList(SimpleStage(sizes) for sizes in config.stages)

    def forward(self, images):  # (B, 3, H, W)
        maps = []
        x = images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


# %% [markdown]
# **Check it** with a photograph of 250×333 pixels. Every patch embedding is padded, so each stage divides a side by its own stride and rounds *up*. The strides are 4, 2, 2 and 2, so the maps are at 1/4, 1/8, 1/16 and 1/32 of the photograph.

# %%
torch.manual_seed(0)
encoder = SimpleEncoder(b0).eval()
maps = encoder(torch.randn(1, 3, 250, 333, generator=generator))
for spacing, channels, each in zip(spacings, b0.embed_dims, maps, strict=True):
    assert each.shape == (1, channels, math.ceil(250 / spacing), math.ceil(333 / spacing))
    print(f"1/{spacing:<2}", tuple(each.shape))

# %% [markdown]
# ### How does the package write it? · *further*
#
# The four maps are all that the encoder gives, so it can serve other heads than SegFormer's. For a classifier, take the mean of the fourth map over its tokens and add a Linear.
#
# The package's stage adds two things: drop rates, and a way to save memory in training.

# %% tags=["mirror"]
# segformer_edu.encoder.EncoderStage

# %% [markdown]
# - Its drop rates are a piece of **one list for all stages** (lesson 05), so the first block of stage 2 does not start again at zero: in B2 the rates of stage 2 are {{b2_rates}}.
# - `checkpoint` forgets what is inside a block and computes it again for the gradient. That saves memory and costs time, and it changes no number.
#
# The package's encoder adds fresh weights of a chosen size (`initialize`), and it refuses what is no image or is too small. With the same weights it gives the same four maps as ours:

# %% tags=["mirror"]
# segformer_edu.encoder.MixTransformer

# %%
package = MixTransformer(b0).eval()
package.load_state_dict(encoder.state_dict())
images = torch.randn(1, 3, 250, 333, generator=generator)
assert all(map(torch.equal, package(images), encoder(images)))

# %% [markdown]
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
print("    dims                 depths         heads         r             D")
for name in names:
    c = SegFormerConfig.named(name)
    lists = f"{c.embed_dims!s:<20} {c.depths!s:<14} {c.num_heads!s:<13} {c.reduction_ratios}"
    print(f"{name}  {lists}  {c.decoder_dim}")

# %% [markdown]
# From B0 to B1 every map gets twice as wide. From B1 on the widths stay, and what grows is **depth, most of it in stage 3**: B1 has 2 blocks there, B5 has 40. B2 and its larger siblings also have a decoder three times as wide.
#
# Why five heads? Divide the dims by the heads: in every stage a head has 32 channels in B0, and 64 in the others. Within one model, more channels mean more heads, not wider ones.
#
# ### Which table describes the weights? · *further*
#
# A parameter count is a checksum: two designs with different counts cannot be the same. So we check our configs with the paper's Table 1: parameters, with a decoder for the 150 classes of ADE20K, and GFLOPs, which are multiply-adds, for a crop of 512×512, or 640×640 for B5 (arXiv:2105.15203, Table 1).

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
# All six parameter counts agree in every printed digit, and the multiply-adds to within {{flops_gap}}. (`cost` leaves out biases, norms, activations and resizing; the paper does not say what its counter counts.)
#
# Now the puzzle. Table 6 of the paper, "Detailed settings of MiT series", gives for B0 to B4 an expansion of Mix-FFN of **8, 8, 4, 4**, and for B2 and B3 a depth of **3** in stage 2 (arXiv:2105.15203, Table 6). The released code has 4 everywhere, and 4 blocks there. Our configs follow the code, because the weights have to fit, and Table 1 agrees with them.
#
# There is one more list. For classification on ImageNet, that is, for the encoder with a Linear to 1000 classes, the paper's appendix lists parameters once more ([quoted in the documentation of transformers](https://huggingface.co/docs/transformers/v4.51.3/model_doc/segformer)): 3.7, 14.0, 25.4, 45.2, 62.6 and 82.0 million. Which settings give *those* numbers: the code's, Table 6's, or neither?

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
# The code's settings give the printed number for B5 alone. Table 6's settings, taken whole, fail for B2 and B3. But **expansion 8, 8, 4, 4 with the code's depths** gives all of B0 to B4, to the digit, and B5 fits with 4.
#
# So the ImageNet column belongs to models with an expansion of 8 in the first two stages, and with 4 blocks in stage 2 of B2 and B3: the depth of 3 in Table 6 looks like a misprint. The released weights, and Table 1, are those of other models, which have an expansion of 4. The paper does not say so. People have asked
# ([SegFormer, issue 63](https://github.com/NVlabs/SegFormer/issues/63), [mmsegmentation, issue 1917](https://github.com/open-mmlab/mmsegmentation/issues/1917), [PaddleSeg, issue 3322](https://github.com/PaddlePaddle/PaddleSeg/issues/3322)). We do not know whether the accuracies printed beside that column are those of the released files.
#
# You may build sizes of your own, even with a fifth stage (one more entry in each list), but published weights fit only what they were made for. The paper pretrains on ImageNet-1K and gives no recipe; its author points to that of PVTv2 ([SegFormer, issue 67](https://github.com/NVlabs/SegFormer/issues/67)).
#
# ## 6 · Where are the parameters, and where is the work?
#
# Stage 1 of B0 has 64 times as many tokens as stage 4, and stage 4 has eight times as many channels. Which stage holds the most parameters, and which takes the most multiply-adds?

# %%
bill = cost(b0, (512, 512))
for number, stage in enumerate(bill.stages, start=1):
    held = stage.parameters / bill.encoder_parameters
    work = stage.multiply_adds / bill.encoder_multiply_adds
    print(f"stage {number}: {held:>4.0%} of the parameters, {work:>4.0%} of the work")

# %% [markdown]
# Parameters sit where the channels are, in B0 most in stage 4. Its work is spread far more evenly, because a weight of Mix-FFN is used once for every token, in stage 1 64 times as often as in stage 4.
#
# ### Which part takes most? · *further*

# %%
bars = {name.upper(): parts.parameters_by_part(SegFormerConfig.named(name)) for name in names}
plots.show(
    plots.stacked_shares(
        bars, "parameters", "M", "In every size, about half of an encoder is Mix-FFN"
    ),
    alt="Six bars, B0 to B5, of what an encoder holds, in percent, with totals from 3.3 to 81.4 M. "
    "Mix-FFN takes about half of each, q, k, v and output a quarter. From B0 to B5 the "
    "reduction grows from 14 to 23 percent, and patches and norms shrink from 15 to 2.",
)

# %%
work = {
    name.upper(): parts.multiply_adds_by_part(SegFormerConfig.named(name), 512) for name in names
}
plots.show(
    plots.stacked_shares(
        work,
        "multiply-adds",
        "G",
        f"At 512×512, {b0.num_classes} classes, the paper's decoder is the longest part",
    ),
    alt="Six bars of multiply-adds in percent, with totals from 8 to 112 G. The decoder takes "
    "62 percent of B0, 34 of B1, two thirds of B2, and then ever less; in B5 it takes 38, a little "
    "more than Mix-FFN's 37. The products take 6 to 13.",
)

# %% [markdown]
# *Look for the decoder, from B0 to B5.* As the paper writes it, at this size and for this many classes, it is the longest part of each, if narrowly in B1 and B5. In B0 it has {{decoder_parameters_share}} of the parameters and takes {{decoder_work_share}} of the work, because one of its Linears, from {{joined_channels}} channels to {{decoder_channels}}, works on the finest grid. (Lesson 07 finds a cheaper order.) In the encoder, Mix-FFN leads in parameters and in work. The two products of attention took nearly all of the work in lesson 02. At 512×512 they are one part among others, and that is thanks to lesson 03.
#
# ## 7 · What do the four maps hold?
#
# Here are the maps that `nano` makes of our scene. It was trained on street scenes, but has never seen this one. Each row shows the four channels of a stage that vary most.

# %%
nano = SegFormer.from_pretrained("nano")
large = Scenes(40, 256, seed=6).picture(3)[0]  # the lamp post again, seen more finely
maps = nano.encoder(normalize(large))
plots.show(
    plots.maps_beside(
        large,
        [each[0].numpy() for each in maps],
        "Fine outlines in stage 1, coarse regions in stages 3 and 4",
    ),
    alt="A street scene, and four rows of four heat maps of it, each on its own scale. Stage 1 "
    "shows fine outlines, stage 2 parts of things, stages 3 and 4 coarse squares in which large "
    "regions are alike. Two channels of stage 4 are dark on the sky; the other two are bright on "
    "sky and road, and dark in a band between them.",
)

# %% [markdown]
# *Look for the lamp post, left of the middle.* It is a line in stages 1 and 2 (bright in channel 12, then dark in channel 22). From stage 3 on these four channels hardly tell it from the houses behind it. Whole regions go together: channel 1 of stage 3 is bright on the sky and the road, and dark on the buildings.
#
# So the maps hold different things. The second of the two further sections measures it: a Linear finds the classes better in three or four maps together than in the best single one. That speaks for a decoder that gets several (lesson 07).
#
# ### Does a channel follow what is there, or where it is? · *further*
#
# A channel that is bright at the top may know the sky, or it may know the top. To find out, we draw the scene larger, and take two windows of it, the second further down. Then we correlate the two maps of each channel: once where both windows show the same things (by content), and once row by row (by place).

# %%
tall = Scenes(40, 320, seed=6).picture(3)[0]
above, below = (nano.encoder(normalize(tall[top : top + 256].copy())) for top in (0, 64))
for spacing, before, after in zip(spacings, above, below, strict=True):
    rows = 64 // spacing
    by_content = map_contents.alike(before[0, :, rows:], after[0, :, :-rows])
    by_place = map_contents.alike(before[0], after[0])
    print(f"1/{spacing:<2} by content {by_content:.2f}, by place {by_place:.2f}")

# %% [markdown]
# All four stages move with the scene, stage 4 too. So what stands out at the top of stage 4 is what lies at the top of a street, and not the top of the picture. But what do these maps make of something else than a drawn street?

# %%
portrait = sample_photo("astronaut")
plots.show(
    plots.maps_beside(
        portrait,
        [each[0].numpy() for each in nano.encoder(normalize(portrait))],
        "A photograph through weights that know only drawn streets",
    ),
    alt="The same for the portrait of an astronaut. Her outline is sharp in stage 1 and can be "
    "recognised in stage 2; two channels of stage 3 show her head; stage 4 is coarse patches.",
)

# %% [markdown]
# *See that the early rows still show outlines*, because edges are edges everywhere. Stage 4 answers a question that nobody asked, since there is no street.
#
# ### What can be read from each map? · *further*
#
# How well can the classes be read from one map? Our reader is one Linear, from the channels of a token to a score for each class. We fit it to the class shares of section 1 by least squares, with a tiny penalty on large weights that keeps the fit steady where channels repeat each other (*ridge regression*). First we fit one reader, to stage 3 of twenty scenes, and let it label another scene:

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
    "road, buildings and both cars come out as rounded shapes. Most of the sidewalk is called "
    "road, the trees are mixed with building and road, and of the person a spot is left.",
)

# %% [markdown]
# Sky, road and most of the buildings come out right, in rounded shapes, because a token of stage 3 covers 16×16 pixels. But the sidewalk is mostly taken for road, and much of the trees for buildings or road. Now we do the same for each stage, for the first three side by side, and for all four. Each reader is fitted to twenty scenes and judged on ten others, and pixels within two pixels of a border are counted apart. To see how much depends on the scenes, we repeat it with six draws of them. "True shares" are those of section 1, through a grid of 1/32.

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
        "Three or four maps are read better than the best single one",
    ),
    alt="Pairs of bars, means of six draws: the share of pixels labelled rightly far from borders "
    "and close to them, for readers of stages 1, 2, 3 and 4, of 1 to 3 and of all four, and for "
    "true shares. Stage 3 leads the single maps far from borders, 91 percent; close to them stages "
    "2 and 3 have 51 and 52. Stages 1 and 4 are lowest in both. The two readers of several maps "
    "are ahead of every single one in both, with 94 and 95, and 61 and 62.",
)

# %%
for one, other in (("all four", "1 to 3"), ("stage 3", "stage 2")):
    far, near = map_contents.gain(trials, one, other)  # mean ± standard error over the draws
    print(f"{one} less {other}: far from borders {far}, close to them {near} points")

# %% [markdown]
# *Go from bar to bar.* (We trust a difference that is larger than twice its standard error.) Of the single maps, stage 3 is read best far from borders, and stage 4 comes close to stage 2 there; near borders stage 3 is so little ahead of stage 2 that six draws hardly tell, and stage 4 is behind. (Scenes have 256×256 pixels here. At 128×128, the size of nano's training, stage 2 leads near borders, and is far ahead of stage 4 everywhere.) The grid of stage 4 is not all that holds it back, because true shares on {{stage_4_side}}×{{stage_4_side}} tokens give a good deal more. (With a penalty a thousand times as large, stage 4 falls to {{strongly_penalised}} % far from borders and to {{strongly_penalised_near}} % near them, and no other stage's bar moves by a point.)
#
# Side by side, however, **three or four maps are read better than the best single one, by about 2 to 4 points far from borders and 9 to 10 near them: they hold different things.** What the fourth map adds to the other three is little: one to two points far from borders (more columns alone may bring as much), and close to them nothing that we can tell.
#
# ## 8 · Does the pyramid pay?
#
# Now for a trial: four networks, each of four blocks of the same kind and with a decoder of one width, none dearer than the pyramid in multiply-adds. They were trained on the same scenes of 64×64 pixels for {{trial_steps}} steps, from three seeds each, and judged on scenes that none had seen. `python -m experiments.hierarchy` runs it again, and the next cell reads what it wrote.
#
# **Predict.** Put them in order: the pyramid, and columns at 1/4, 1/8 and 1/16, which have 18, 40 and 78 channels and r = 4, 2 and 1.

# %%
prediction = ...  # the best first, such as ["1/16", "1/8", "1/4", "pyramid"]

# %%
trial = columns.read_trial(experiments_folder() / "hierarchy.json")
for name, mean_iou in trial.mean_iou.items():
    print(f"{name:<8} mean IoU {np.mean(mean_iou):.1f} %, ", end="")
    print(f"poles {np.mean(trial.poles[name]):>4.1f} %")
print(trial.machine)

# %%
plots.show(
    plots.seeds(
        {"mean IoU, %": trial.mean_iou, "IoU of poles, %": trial.poles},
        "At 64×64 pixels, and after few steps, the finest column leads",
    ),
    alt="Two panels, mean IoU and the IoU of poles, with a dot a seed for four networks, beside "
    "them mean and standard deviation. In both the column at 1/4 is highest and that at 1/16 last; "
    "the pyramid is second in mean IoU, and level with the column at 1/8 on poles.",
)
compare(prediction, trial.best_first())

# %% [markdown]
# *Compare the pyramid with the column at 1/4.* The pyramid does not win. The column that stays fine is ahead of it in every seed, most of all on poles, and by more than the seeds differ. The other end is as clear: the column at 1/16, the shape of a plain Vision Transformer, is last.
#
# But the pictures are tiny and the training is short. And a map at 1/4 of *such* a picture has only 16×16 tokens, so the products of attention are a tenth of the column's bill, and it can afford four blocks where the pyramid has one. What do the same two networks cost when the picture grows?

# %%
for side in (64, 256, 1024):
    pyramid = cost(columns.PYRAMID, (side, side)).multiply_adds
    fine = cost(columns.FINE_COLUMN, (side, side)).multiply_adds
    print(f"{side:>4}²: pyramid {pyramid / 1e6:>6,.0f} M, column {fine / 1e6:>6,.0f} M, ", end="")
    print(f"{fine / pyramid:.1f} times")

# %% [markdown]
# At 64×64 they cost about the same. At 1024×1024, with as many keys for each query as in the pyramid's first three stages, the column is {{column_factor}} times as dear, because the products of attention grow with N². All four of its blocks pay them on the fine map; of the pyramid's blocks only one does. So what the pyramid buys in this trial is not accuracy as such. It buys **fine maps and many channels on large pictures, for less**.
#
# Whether it is the better network at 512×512, after a long training, we do not know. One would have to pretrain and train all four alike.
#
# ### What else counts in this trial? · *further*
#
# The learning rate is the one that lesson 08 uses for pyramids, and it was tuned for none of the columns. In parameters the pyramid has eight times those of the column at 1/4. And r counts: the column has 4, and the pyramid 4, 2, 1, 1. With 8, and B0's 8, 4, 2, 1, the column is {{column_factor_at_8}} times as dear at 1024×1024, and with twice those {{column_factor_at_16}} times. But with 8 in the column alone it costs only {{column_alone_at_8}} times what the pyramid does, because each query then has a quarter of the keys.
#
# ## Play
#
# Begin with B0. Which three sliders change parameters and multiply-adds, and leave the memory as it is? Which one changes only multiply-adds and memory, and which none of the three?

# %%
widgets.Pyramid()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Depths, ratios and expansion leave the memory as it is. (Attention is fused here, lesson 02.) The peak of B0 stands in the decoder, where the scores of {{b0_classes}} classes are put together. Depth would not matter in the encoder either, because what one block used is free for the next. (In *training* what every block has computed waits for the gradient, so memory grows with depth. A block of stage 1 keeps the most, because its map is the largest.)
# The size of the photograph changes multiply-adds and memory alone, because no weight knows it. The number of heads changes none of the three.
#
# </details>
#
# ### More blocks · *further*
#
# Build the network with the most blocks that is not larger or dearer than B1 at 512×512. And does B4, with 41 blocks, need more memory for one forward pass in evaluation than B2 with 16?
#
# <details><summary>What you should have found</summary>
#
# It has {{play_blocks}} blocks, with B5's depths. They fit only with dims `16, 32, 64, 128` and heads that divide them, and never with r = `1, 1, 1, 1` or one of the two widest decoders. You paid with width: {{play_width}} channels in the last stage, where B1 has {{b1_last_channels}}.
#
# B4 needs no more for its maps: the peak of both is in the decoder, {{b2_maps}} MB. For its weights it does: {{b4_weights}} MB, and B2 only {{b2_weights}}.
#
# </details>
#
# ## Break it
#
# A widely copied SegFormer for PyTorch defined its norm by the line below ([segformer-pytorch, issue 7](https://github.com/lucidrains/segformer-pytorch/issues/7), mended since), and copies of the line live on. Maps have their channels first there, `(B, C, H, W)`. `PreNorm` is ours.

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
x = OverlapPatchEmbedding(3, 32, 7, 4)(normalize(large)).permute(0, 3, 1, 2).double()
ffn = MixFFN(32, 128).double()
wrong = PreNorm(32, lambda x: ffn(x.permute(0, 2, 3, 1))).double()  # (B, H, W, C)


def right(x):
    return ffn(F.layer_norm(x.permute(0, 2, 3, 1), (32,)))


print("LayerNorm   ", tuple(right(x).shape))
print("with the bug", tuple(wrong(x).shape))

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
for branch in (right, wrong):
    difference = branch(touched) - branch(x)
    noticed.append((difference.abs().amax(dim=-1) > 1e-9).sum().item())
compare(prediction, tuple(noticed))

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# `nn.InstanceNorm2d` is no LayerNorm. It takes each *channel*, and makes its mean over the *map* zero and its spread one. LayerNorm takes each *token*, and does so over its *channels*.
#
# With the bug, the norm of every token depends on every other token of the photograph, so if one changes, all notice. Even Mix-FFN alone then gives a crop other features than the whole, far from its edges. And what all tokens have in common is subtracted with each channel's mean, so a map that is the same everywhere loses all that it held. The skip path still carries what the norm takes away, so training need not fail, and nothing gives the fault away.
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
# Return height and width of each stage's map, for any photograph and any strides, as a list of pairs. Each stride is that of its own stage; B0's are (4, 2, 2, 2). Every patch embedding is padded, so a patch that is only begun makes a token too.


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
# Count the learned numbers of one block: two norms, attention with its reduction and the norm after it (none at r = 1), Mix-FFN with expansion e. Every layer and every norm has biases.


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
# - The coarser a map, the less of thin things it gives back, even from the best scores that we found; but a fine map affords few channels. At the cost of B0's encoder a column has one map, fine or wide, and the pyramid has four.
# - A block adds two notes to x, attention's and then Mix-FFN's, and each branch reads a normalised copy. x itself is normalised only where a stage begins, in the patch embedding, and where it ends.
# - Each step of the pyramid halves the sides, rounding up, and makes the channels about twice as many. A head has the same width in all stages.
# - The encoders of B1 to B5 differ in depth alone, above all in stage 3. In B0, most parameters sit in stage 4, and the work is spread over all.
# - The four maps hold different things, and are read better together (the last further part of section 7).
# - In our short trial on tiny pictures a fine column beat the pyramid. What the pyramid saves is work on large pictures, in the products of attention, if each query has as many keys.
#
# **Can you answer without scrolling up?**
#
# 1. Why can B0's budget not pay for eight blocks of full attention at 1/4, however narrow?
# 2. In a block, which tensor does `norm2` read: the input of the block, or something else?
# 3. What is the shape of the third map of B1 for a photograph of 500×300?
#
# <details><summary>Answers</summary>
#
# 1. The two products of attention take 2·N²·C multiply-adds a block. With N = {{stage_1_tokens}} and C = 1, eight times, that is {{one_channel_products}} G already.
# 2. The input plus what attention's branch has added.
# 3. `(B, 320, 32, 19)`: a sixteenth of each side, rounded up.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *Expansion and depths.* Table 6 prints 8, 8, 4, 4 for B0 to B4, and a depth of 3 in stage 2 of B2 and B3; released code and weights have an expansion of 4, and 4 blocks there. The ImageNet column fits Table 6's expansion with the code's depths (section 5).
# - *The norm at the end of a stage.* Figure 2 of the paper does not draw it, nor the norms in the blocks; the code has both. The *normalised* map goes on to the next stage, not only to the decoder.
# - *Figure 2* also draws one step of patch merging too many: the first stage already begins with one (arXiv:2105.15203, Figure 2).
# - *Epsilon of the norms.* Released code: `1e-6` in blocks and stage ends, `1e-5` in patch embeddings and reductions (torch's default). transformers uses `1e-5` throughout, whatever `layer_norm_eps` in its config.json says. Our config has `block_norm_eps`.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1, Figure 2, Tables 1 and 6. W. Wang and others, *Pyramid Vision Transformer*, [arXiv:2102.12122](https://arxiv.org/abs/2102.12122). A. Dosovitskiy and others, *An Image is Worth 16×16 Words*, [arXiv:2010.11929](https://arxiv.org/abs/2010.11929).
# R. Xiong and others, *On Layer Normalization in the Transformer Architecture*, [arXiv:2002.04745](https://arxiv.org/abs/2002.04745). A. Vaswani and others, *Attention Is All You Need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762).
#
# **Next:** lesson 07. Four maps, and one label for each pixel: is a linear decoder enough?
