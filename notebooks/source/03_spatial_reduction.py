# %% [markdown]
# # Lesson 03 · How can attention be affordable?
#
# In lesson 02 every token asked every other, so the work grew with N². A fused kernel saves the memory, but not the work. This lesson goes for the work, and the idea fits on one line:
# **keep all the queries; merge the things they look at, the keys and values.** It is called spatial reduction, or in SegFormer's paper *sequence reduction*. It comes from the Pyramid Vision Transformer, PVT ([Wang and others 2021](https://arxiv.org/abs/2102.12122)), as the SegFormer paper says itself (arXiv:2105.15203, Section 3.1).
#
# **After this lesson you will be able to**
#
# - say which of queries, keys and values may be shortened, and why the rest may not;
# - write equation 2 as a reshape and a Linear, and as a strided convolution, and show that they are the same;
# - tell R from r, and say how many keys any stage keeps for any photograph;
# - say what each ratio costs and saves, in parameters, in multiply-adds and (*further*) in seconds;
# - say what is lost: detail inside a window, always; and, for most sizes, tokens at the border that no key of their stage sees.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. **You need** lessons 01 and 02. No GPU.

# %%
import json
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import OverlapPatchEmbedding, SegFormer, SegFormerConfig, plots, widgets
from segformer_edu.analysis import attention_maps, cost
from segformer_edu.analysis.seen_tokens import tokens_seen_by_keys
from segformer_edu.analysis.torch_twin import copy_attention
from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.checks import check_heads, check_map, check_positive
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.data.scenes import Scenes
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.files import experiments_folder
from segformer_edu.layers import Linear

torch.set_grad_enabled(False)  # nothing is trained in this lesson
photo = sample_photo("astronaut")
b0 = SegFormerConfig.named("b0")

# %% [markdown]
# ## 1 · Which of the three may be shorter?
#
# So far attention took N queries, N keys and N values. Here is lesson 02's function again, for 32×32 tokens with 64 channels. We shorten one input after the other, and look at the shape of the answer.
#
# **Predict.** The answer must still have a row for every token. What may lose rows: q alone, or k and v together?

# %%
prediction = ...  # "q" or "k and v"


# %%
def attention(q, k, v):  # as in lesson 02
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


generator = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, 32 * 32, 64, generator=generator)
few = slice(None, None, 64)  # every 64th token: 16 are left
shortened = {"q": attention(q[few], k, v), "k and v": attention(q, k[few], v[few])}
print("all of them    ", tuple(attention(q, k, v).shape))
for name, answer in shortened.items():
    print(f"fewer {name:<9}", tuple(answer.shape))
compare(prediction, *(name for name, answer in shortened.items() if len(answer) == len(q)))

# %% [markdown]
# The queries decide how many answers there are, because each makes one row. Keys and values are what is looked *up*, like the entries of a dictionary, and the length of a dictionary does not show in the answer. But they have to be shortened **together**, because key number 5 makes the weight of value number 5.
#
# SegFormer has to say something about every place in the picture, so it needs every query. That leaves keys and values. If we kept every 64th of them, the others would be in no key. So we **merge neighbours** instead, and make one key of each window of r×r tokens.

# %%
eyes = photo[64:192, 192:320]  # 128 × 128 pixels, so 32 × 32 of the photograph's tokens
ratios = (4, 8, 16)
plots.show(
    plots.key_grids(
        eyes,
        [np.ones((32, 32), dtype=bool)] * 3,
        ratios,
        [f"r = {r}: {32 // r}×{32 // r} keys here, {128 // r}×{128 // r} in all" for r in ratios],
        query=(0.3, 0.42),
        finding="There is one key for each window; the query stays a single token",
    ),
    alt="Part of the face, 128 by 128 pixels, under grids of 8 by 8, 4 by 4 and 2 by 2 windows, "
    "each of which becomes a key. On an eye a small blue frame marks the query, a quarter as wide "
    "as a window in the first, a sixteenth in the last.",
)

# %% [markdown]
# *Compare the blue frame with the windows.* The frame is one query, drawn as the 4×4 pixels that it stands for. There are {{stage_1_tokens}} of them in stage 1 of the whole photograph, whatever r is, but what they can look at gets coarser: on the right both eyes share one window.
#
# ## 2 · Which tokens are merged, and how?
#
# The paper writes it like this (arXiv:2105.15203, eq. 2):
#
# $$\hat K = \mathrm{Reshape}\left(\tfrac{N}{R},\; C \cdot R\right)(K) \qquad K = \mathrm{Linear}(C \cdot R,\; C)(\hat K)$$
#
# In words: lay R tokens side by side in one long row of C·R numbers, and let a learned matrix bring that row back to C numbers. N tokens go in, and N/R come out. But the equation does not say *which* R tokens.
#
# **Predict.** Number the tokens of a 4×4 map from 0 to 15, row by row, and take R = 4. Which four does a literal `reshape` merge first, and which four are in the first window? (`F.unfold` cuts windows, and lays each out in one line.)

# %%
prediction = ...  # two lists, for example ([0, 5, 10, 15], [12, 13, 14, 15])

# %%
numbers = torch.arange(16).view(4, 4)
by_reshape = numbers.flatten().reshape(-1, 4).tolist()  # N/R groups of R
by_windows = F.unfold(numbers[None, None].float(), kernel_size=2, stride=2)[0].T.int().tolist()
print("reshape:", by_reshape)
print("windows:", by_windows)
compare(prediction, (by_reshape[0], by_windows[0]))

# %% [markdown]
# A reshape takes tokens that follow each other in the list, so here pieces of *rows*: with R = 64, on a map of 128×128, strips of 1×64 tokens. The released model merges *windows* instead, here 2×2 and in stage 1 8×8, so a key is made of neighbours in both directions. Then R tokens are r·r tokens, and **R = r²**.
#
# ### The same as a strided convolution
#
# In lesson 01 a Linear on patches of pixels was a convolution whose stride is its kernel. The same holds here, with tokens for pixels and channels for colours. We check it on the photograph's tokens as stage 1 of B0 has them, with C = 32 and r = 8.

# %%
torch.manual_seed(0)
embed = OverlapPatchEmbedding(in_channels=3, embed_dim=32, patch_size=7, stride=4)
x = embed(normalize(photo))  # (1, 128, 128, 32)
maps = x.permute(0, 3, 1, 2)  # (1, 32, 128, 128): what a convolution takes

convolution = nn.Conv2d(32, 32, kernel_size=8, stride=8)
by_convolution = convolution(maps).permute(0, 2, 3, 1)  # (1, 16, 16, 32)

# %%
linear = nn.Linear(32 * 64, 32)  # C·R → C
linear.weight.copy_(convolution.weight.flatten(1))
linear.bias.copy_(convolution.bias)
rows = F.unfold(maps, kernel_size=8, stride=8).transpose(1, 2)  # (1, N/R, C·R)
assert torch.allclose(linear(rows), by_convolution.flatten(1, 2), atol=1e-4)
print(f"{tuple(rows.shape)} → {tuple(linear(rows).shape)}, and the convolution agrees")

# %% [markdown]
# So `unfold` reshapes by windows, channel after channel, and the Linear then does what the convolution does. (Exercise 03.6 does it without `unfold`.)
#
# How large is this matrix? It has {{matrix_parameters}} parameters, with its bias, and attention's own four Linears have {{linears_parameters}} together. So the matrix that *saves* the work is about {{reduction_over_linears}} times as large as the four others. In all of B0 the reductions hold {{reduction_parameters}} of {{b0_millions}} million parameters.
#
# To *run* it is cheap. It has r²·C² weights and is applied N/r² times. So the r² cancels, and it takes **N·C² multiply-adds, whatever r is**. That is as much as the one Linear that makes the queries.
#
# ## 3 · Is it R or r, and how many keys are left?
#
# The paper's text sets R to 64, 16, 4, 1 for the four stages, but its Table 6, and the released code, say 8, 4, 2, 1 (arXiv:2105.15203, Section 3.1 and Table 6). The numbers agree, because one name stands for two things: R says how many times *fewer keys* there are, and r how many times *shorter a side* is. In this course, `reduction_ratio` is r.
#
# **Predict.** A photograph has 512×512 pixels. The maps of the four stages are 4, 8, 16 and 32 times smaller per side, and r is 8, 4, 2, 1. How many keys are left in each stage? (`cost` counts for a config and a size what each stage has: tokens, keys, multiply-adds.)

# %%
prediction = ...  # four numbers, for example [4096, 1024, 256, 64]

# %%
stages = cost(b0, (512, 512)).stages
for number, stage in enumerate(stages, start=1):
    r = stage.reduction_ratio
    print(f"stage {number}: {stage.tokens:>6,} queries, r = {r}, R = {r**2:>2}: {stage.keys} keys")
compare(prediction, [stage.keys for stage in stages])

# %% [markdown]
# There are {{keys_per_stage}} keys in every stage, because the stride of the map times r is {{stride_times_r}} in all four, and so a window is always {{stride_times_r}} pixels wide.
#
# The **last stage fits in with r = 1**, because its tokens are {{stride_times_r}} pixels apart already. (The paper gives no reason; r = 2 there would save {{saved_in_stage_4}} of the encoder's work.)
#
# ### Where are the keys of the four stages? · *further*

# %%
part = photo[64:192, 160:288]  # her face: 4×4 windows of the 16×16, seen from near
sides, ratios = (32, 16, 8, 4), (8, 4, 2, 1)  # tokens of this part, in each stage
plots.show(
    plots.key_grids(
        part,
        [np.ones((side, side), dtype=bool) for side in sides],
        ratios,
        [f"stage {i}: r = {r}" for i, r in enumerate(ratios, start=1)],
        query=(0.4, 0.42),
        finding="Keys are 32 pixels apart in every stage, and the token that asks grows",
    ),
    alt="The face of the portrait four times, once for each stage, every time under the same grid "
    "of 4 by 4 windows. The blue frame of the query doubles its side from stage to stage, "
    "until in stage 4 it fills a window.",
)

# %% [markdown]
# *Follow the blue frame.* A token of stage 1 and one of stage 4 have equally many keys to look at. What grows is the token that asks.
#
# A patch is centred at the upper left corner of its token's square. So a key of stage 4 is centred at the corner of its window, and one of stage 1 near the middle.
#
# ### What does O(N²/R) promise?
#
# The attention matrix has a row for each query and a column for each key, so it has N·(N/R) = N²/R entries. Both products, q kᵀ and weights times v, shrink with it. So the paper's O(N²/R) is right with *its* R, and in terms of the code it is N²/r².
#
# **Predict.** Is attention now linear in N? The photograph becomes twice as wide and twice as high, and r stays what it is. By how much do the two products grow? (G stands for 10⁹.)

# %%
prediction = ...  # a factor, for example 4

# %%
work = {}
for side in (512, 1024, 2048):
    bill = cost(b0, (side, side))
    work[side] = sum(stage.multiply_adds_of.attention_matmuls for stage in bill.stages)
    share = work[side] / bill.encoder_multiply_adds
    print(f"{side:>4}²: {work[side] / 1e9:>6.2f} G multiply-adds, {share:.0%} of the encoder")
compare(prediction, round(work[1024] / work[512]))

# %% [markdown]
# They grow sixteen times, as without a reduction. A constant R divides their bill, but it leaves the law as it is: **N²/64 is still N²**. At 512×512 the two products are a third of the encoder's work, and at 2048×2048 {{products_at_2048}}.
#
# ### What if somebody writes R for r? · *further*
#
# We write the text's 64, 16, 4, 1 where the code wants r.

# %%
for name, ratios in {"r = 8, 4, 2, 1": b0.reduction_ratios, "R for r": (64, 16, 4, 1)}.items():
    bill = cost(b0.replace(reduction_ratios=ratios), (512, 512))
    print(
        f"{name:<14}  keys {[stage.keys for stage in bill.stages]}, {bill.parameters:,} parameters"
    )

# %% [markdown]
# The model builds, and on this photograph it runs. But stage 1 looks at the whole of it through four keys, and the model has nearly four times the parameters, all the new ones in the reductions. It fails only where a side is below {{smallest_side_with_paper_ratios}} pixels, or where published weights have to fit. To find such a slip, count the keys.
#
# ## 4 · Build it
#
# First comes the merge. It is the convolution that you have checked, followed by a LayerNorm over each key's channels, as at the end of lesson 01. (`check_map` refuses what is smaller than one window.)

# %% tags=["mirror"]
# segformer_edu.attention.SpatialReduction

# %% [markdown]
# Then comes attention. This is the class of lesson 02, and three lines are new: keys and values are two Linears of the same reduced tokens.


# %% tags=["stage"]
class ReducedAttention(nn.Module):
    """Self-attention whose keys and values come from a reduced map."""

    def __init__(self, dim, num_heads, reduction_ratio):
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.reduce = SpatialReduction(dim, reduction_ratio)  # new

    def forward(self, x):  # (B, H, W, C)
        reduced = self.reduce(x)  # new: (B, H/r, W/r, C)
        q, k, v = self.query(x), self.key(reduced), self.value(reduced)  # new
        mixed = attention(self.heads(q), self.heads(k), self.heads(v))  # (B, heads, H·W, d)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def heads(self, x):  # (B, H, W, C) → (B, heads, H·W, d)
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


# %% [markdown]
# We run it on the tokens of the photograph, and give its weights to the package's class as well.

# %%
ours = ReducedAttention(32, num_heads=1, reduction_ratio=8)
theirs = SpatialReductionAttention(32, num_heads=1, reduction_ratio=8)
theirs.load_state_dict(ours.state_dict())
assert torch.allclose(ours(x), theirs(x), atol=1e-5)
print(f"{tuple(x.shape)} → {tuple(ours(x).shape)}, and the package's class agrees")

# %% [markdown]
# Every token has its answer, from {{keys_per_stage}} keys. At **r = 1**, as in the last stage, the two would not agree, because there SegFormer has no reduction, so no convolution and no norm.
#
# ### The package's class · *further*
#
# The package's class leaves `reduce` out at r = 1. It uses the fused kernel of lesson 02, which never holds the weights; on request the class computes them, laid out as maps.

# %% tags=["mirror"]
# segformer_edu.attention.SpatialReductionAttention

# %% [markdown]
# We check it, answers *and* weights, against a class that nobody here wrote. `nn.MultiheadAttention` takes queries, keys and values separately, so we can give it our parameters, and for keys and values the tokens that our class has reduced.

# %%
small = torch.randn(2, 24, 16, 64, generator=generator)  # four sizes, all different
many = small.flatten(1, 2)
for r in (1, 2, 4, 8):
    ours = SpatialReductionAttention(dim=64, num_heads=2, reduction_ratio=r)
    keys = ours.reduce(small).flatten(1, 2)
    theirs = nn.MultiheadAttention(64, num_heads=2, batch_first=True)
    copy_attention(theirs, ours.query, ours.key, ours.value, ours.output)
    expected, weights = theirs(many, keys, keys, average_attn_weights=False)
    assert torch.allclose(ours(small).flatten(1, 2), expected, atol=1e-5)
    assert torch.allclose(ours.weights(small).flatten(4).flatten(2, 3), weights, atol=1e-6)
    print(
        f"r = {r}: {many.shape[1]} queries, {keys.shape[1]:>3} keys, same attention as torch's own"
    )

# %% [markdown]
# ## 5 · What does a ratio cost, and what does it save?
#
# A stage is a patch embedding and a few *blocks*, each of them attention followed by Mix-FFN, which lesson 04 builds. A ratio above 1 touches three of its parts: the two products of attention cost r² times less, the Linears for key and value have fewer tokens, and the reduction is new. How much cheaper does r = 8 make stage 1 of B0 at 512×512, and what would r = 16 bring?

# %%
names = "patch embedding", "Linears", "reduction", "the two products", "Mix-FFN"
bars = {}
for r in (1, 2, 4, 8, 16, 32):
    stage = cost(b0.replace(reduction_ratios=(r, 4, 2, 1)), (512, 512)).stages[0]
    counts = [count / 1e9 for count in stage.multiply_adds_of]
    bars[f"r = {r}"] = dict(zip(names, counts, strict=True))
    print(f"r = {r:>2}: {stage.keys:>6,} keys, {stage.multiply_adds / 1e9:>5.2f} G multiply-adds")

# %%
plots.show(
    plots.stacked_bars(
        {name: bars[name] for name in ("r = 4", "r = 8", "r = 16", "r = 32")},
        "multiply-adds of stage 1, B0 at 512×512, G",
        "At r = 8 half of the stage is attention's products; at r = 16 a fifth",
    ),
    alt="Four stacked bars, for r = 4, 8, 16 and 32. At r = 4 the two products of attention make "
    "up four fifths of the stage, at r = 8 half, at r = 32 a fifteenth. The other parts, of which "
    "Mix-FFN is the largest, hardly change.",
)

# %% [markdown]
# *Look at the two products, and then at everything else.* The products become 64 times cheaper at r = 8 than at r = 1, and the stage {{stage_1_factor}} times. At r = 8 the products are half of the stage, so all further steps together can save hardly more than that. For example, r = 16 would save {{saved_by_r_16}} of the encoder's work, at the price of three keys in four and of {{added_by_r_16}} more parameters in all of B0. The paper gives no reason for its 8. Section 8 asks what training says.
#
# Of all that the published ratios save here, {{saved_in_stage_1}} is saved in stage 1, where most of the tokens are, and the encoder becomes {{encoder_factor}} times cheaper than with r = 1 throughout.
#
# ### And in seconds? · *further*
#
# Multiply-adds are not seconds, so we measure. Here is one attention layer on the tokens of the photograph, on one thread, the best of three runs, in processor seconds. By multiply-adds, r = 1 is {{layer_factor}} times the work of r = 8.

# %%
from segformer_edu.analysis.timing import processor_seconds

threads = torch.get_num_threads()
torch.set_num_threads(1)
ratios = (1, 2, 4, 8, 16)
keys = [(128 // r) ** 2 for r in ratios]
took = [processor_seconds(SpatialReductionAttention(32, 1, r), x) for r in ratios]
torch.set_num_threads(threads)
attention_parts = "Linears", "reduction", "the two products"
work = [sum(bars[f"r = {r}"][part] for part in attention_parts) for r in ratios]
promised = [took[0] * each / work[0] for each in work]

# %%
plots.show(
    plots.growth(
        {
            "processor seconds of one attention layer": {
                "measured": (keys, took),
                "as the multiply-adds say, from r = 1": (keys, promised),
            }
        },
        "keys",
        {n: f"{n:,}\nr = {r}" for n, r in zip(keys, ratios, strict=True)},
        f"r = 8 is {took[0] / took[3]:.0f} times as fast as r = 1; "
        f"the multiply-adds promise {work[0] / work[3]:.0f}",
    ),
    alt="Processor seconds of one attention layer over the number of keys, on two logarithmic "
    "axes, with a dashed curve for what the multiply-adds promise. Both rise with the keys, from r "
    "= 16 on the left to r = 1 on the right. With many keys they lie close together, and with few "
    "the measured one is higher. The factor that was measured stands in the title.",
)

# %% [markdown]
# *Compare the two curves.* Both axes are logarithmic, and the first number in the title was measured where this picture was made, so run the cells for yours. Here the curves lie close together with many keys, and part with few. A multiply-add does not always take the same time, because convolution, Linear and fused kernel each have a speed of their own. And calls and copies, which the multiply-adds leave out, weigh more the less there is to compute.
#
# And **memory**? Where they are stored, the attention weights of one block of stage 1 shrink from {{stored_full}} to {{stored_reduced}} MiB (float32, 512×512). The fused kernel stores none of them, so with it the reduction is about time.
#
# ## 6 · What is lost inside a window?
#
# Stage 1 of B0 has windows of 8×8 tokens with 32 channels each. So {{window_numbers}} numbers go into a key, and 32 come out. A linear map from so many to so few has to miss something, and we can show what. We take any change of a window. `weight @ change` is what the key would notice of it, and `pinv`, the pseudoinverse, turns that into the smallest change with this effect. We subtract it, so that nothing is left to notice.

# %%
reduction = SpatialReduction(dim=32, reduction_ratio=8)
weight = reduction.projection.weight.flatten(1)  # (32, 2048)
change = torch.randn(2048, generator=generator)
change -= torch.linalg.pinv(weight) @ (weight @ change)  # the part that its key notices

changed = x.clone()
changed[0, 80:88, 32:40] += change.view(32, 8, 8).permute(1, 2, 0)  # one window of the suit
print(f"numbers of spread {x.std():.2f} change by {(changed - x)[0, 80:88, 32:40].std():.2f}")
print(f"its key changes by {(reduction(changed) - reduction(x)).abs().max():.3f}")

# %% [markdown]
# The window is another one, and its key is the same. Such changes exist for any weights, trained or not. A window can change in {{window_numbers}} independent ways, and at least {{blind_directions}} of them are invisible to its key. The matrix lets 32 through at most, which training chooses, and the LayerNorm after it hides two of those, the level and the scale of the 32 numbers. So at most 30 are left.
#
# The detail is not lost to the *network*. Each of the 64 tokens still asks its own question, and its numbers travel on beside attention (lesson 06). It is lost to *all others*: from this attention they learn about the window only what its merged token holds, since key and value are both made of that. (A reader asks whether small things get lost here: [SegFormer, issue 132](https://github.com/NVlabs/SegFormer/issues/132).)
#
# ### Where does a trained query look? · *further*
#
# We ask nano, which section 8 introduces: a small SegFormer, trained on street scenes at many ratios. The query is a token at the edge of a zebra crossing, the maps are those of stage 1's last block, and only r of this stage changes.

# %%
image, _ = Scenes(1, 256, seed=2026).picture(0)
nano = SegFormer.from_pretrained("nano").config
row, column = 38, 25  # of 64×64 tokens
looks = []
for r in (1, 4, 8):
    config = nano.replace(reduction_ratios=(r, *nano.reduction_ratios[1:]))
    maps = attention_maps(SegFormer.from_pretrained("nano", config=config), normalize(image))
    looks.append(maps[0][-1][0, 0, row, column].numpy())  # stage 1, its last block, its one head

# %%
plots.show(
    plots.attention_over_keys(
        image,
        looks,
        ((row + 0.5) / 64, (column + 0.5) / 64),
        [f"r = {r}: {look.size:,} keys" for r, look in zip((1, 4, 8), looks, strict=True)],
        "With r = 1 the query finds edges, with r = 8 only windows that hold some",
    ),
    alt="A street scene with a query marked at the upper edge of a zebra crossing, and three maps "
    "of where it looks. Over 64 by 64 keys, the edges of the stripes, of a bus and of cars are "
    "bright dots. Over 16 by 16, the crossing is a row of bright squares. Over 8 by 8, it is a row "
    "of large bright squares, with single ones on the cars and on the person's coat.",
)

# %% [markdown]
# *Follow the crossing from left to right; each map has its own colours, from its least weight to its greatest.* With r = 1 the query finds edges of single stripes, with r = 8 only the windows that hold some. So the **context is coarse, and the position fine**: the query still stands for 4×4 pixels. (Try another one: change `row` and `column`. In this scene most have a similar map.)
#
# The class gives you such maps for any query: `weights` has the axes (image, head, row and column of the query, row and column of the key).

# %%
row, column = 84, 36  # of the photograph's 128×128 tokens
weights = SpatialReductionAttention(dim=32, num_heads=1, reduction_ratio=8).weights(x)
sums = weights.sum(dim=(-2, -1))
print(f"{tuple(weights.shape)}; the map of each query sums to {sums.min():.2f} … {sums.max():.2f}")
print("the map of one query:", tuple(weights[0, 0, row, column].shape))

# %% [markdown]
# ## 7 · What do a stage's keys not see?
#
# The reduction has no padding, and windows begin at the top left. So what does not fill one at the right and at the bottom is left out. To see which tokens those are, we ask torch on which tokens the keys *depend*, by their gradient.
#
# **Predict.** A photograph of 124×124 makes 31×31 tokens in stage 1, and r is 8. What share of them does some key of stage 1 see?

# %%
prediction = ...  # percent, for example 97

# %%
masks = [tokens_seen_by_keys(reduction, side, side, generator) for side in (31, 25, 17)]
for pixels, mask in zip((124, 100, 68), masks, strict=True):
    print(f"{pixels:>3}² pixels, {len(mask)}² tokens: {mask.double().mean():.1%} are seen")
compare(prediction, round(100 * masks[0].double().mean().item()))

# %%
plots.show(
    plots.key_grids(
        photo,
        [mask.numpy() for mask in masks],
        [8, 8, 8],
        [f"{4 * len(m)}² pixels: {m.double().mean():.1%} seen" for m in masks],
        finding="The grey tokens are in no window, so in no key of stage 1",
    ),
    alt="The portrait three times, at 124, 100 and 68 pixels a side, under grids of 3 by 3, 3 by "
    "3 and 2 by 2 keys. A grey strip along the right and the bottom is outside the grid: "
    "seven of 31 tokens wide, then one of 25, then one of 17.",
)

# %% [markdown]
# *Look at the grey strips.* At 31 tokens a side only 24 lie in whole windows, and (24/31)² is {{seen_31}}. So two fifths of the tokens are in no key of stage 1. With one pixel more a side, every token would be in one.
#
# Three things soften this. The grey tokens still *ask*, and get answers. The convolution in Mix-FFN lets a token hear its neighbours (lesson 04). And later stages, whose maps have other sizes, may see what this one did not: at 124×124 they see everything. How much accuracy is lost, we have not measured.
#
# The remedy is to **resize or pad the photograph to a multiple of 32**, because then every stage sees everything. No error warns you of a side that does not fit: the model runs, and leaves tokens out. (Below {{smallest_side}} pixels stage 1 has no key at all, and the model refuses the photograph.)
#
# ### Are there other sides that lose nothing? · *further*

# %%
sides = range(32, 257)
stages = [cost(b0, (side, side)).stages for side in sides]
complete = [
    n for n, s in zip(sides, stages, strict=True) if all(t.share_of_tokens_seen == 1 for t in s)
]
print(complete)

# %%
plots.show(
    plots.shares(
        sides,
        {f"stage {i + 1}": [each[i].share_of_tokens_seen for each in stages] for i in range(3)},
        multiple=32,
        finding="Everything is seen at multiples of 32, and up to three pixels below",
    ),
    alt="Share of tokens that a key sees, over the side of a square photograph from 32 to 256 "
    "pixels, a sawtooth for each of stages 1 to 3. The teeth touch 100 percent together only "
    "at multiples of 32 and up to three pixels below, and get shallower as photographs get "
    "larger.",
)

# %% [markdown]
# *Look at the vertical lines, the multiples of 32.* There all curves are at the top, and for three pixels before as well, because the patch embedding *is* padded and rounds up, so stage 1 makes as many tokens of them. One pixel past a line it makes one token more a side, and loses it. Further on it loses two, and at last seven. (Stage 4 is not drawn, since with r = 1 it sees everything.) The share that is lost shrinks as photographs grow, because at most r − 1 tokens a side are lost.
#
# ## 8 · What does a larger ratio lose?
#
# Does the model label worse if its windows are larger? We trained nano, the small SegFormer of this course, with ratios drawn anew at each step. Each stage has a reduction for each r, and all else is shared, so one model answers at {{combinations}} combinations. `python -m experiments.every_ratio` scored each on a hundred unseen street scenes.
#
# **Predict.** At 256×256, r = 1 in all stages takes {{cost_range}} times the multiply-adds of 8, 8, 4, 2. How much more mIoU does it reach? (mIoU says from 0 to 1 how well the classes are found; lesson 08 explains it.)

# %%
prediction = ...  # a difference, for example 0.1

# %%
experiments = experiments_folder()
rows = json.loads((experiments / "every_ratio.json").read_text(encoding="utf-8"))["rows"]
points = {}  # ratios → multiply-adds in millions, and mIoU
for row in (row for row in rows if row["size"] == 256):
    points[str(row["ratios"])[1:-1]] = (row["multiply-adds"] / 1e6, row["miou"])
mious = [miou for _, miou in points.values()]
print(f"{len(points)} combinations, mIoU {min(mious):.3f} to {max(mious):.3f}")
compare(prediction, round(points["1, 1, 1, 1"][1] - points["8, 8, 4, 2"][1], 3))

# %%
plots.show(
    plots.trade_off(
        points,
        {"nano's own": "4, 2, 1, 1", "the paper's": "8, 4, 2, 1", "r = 1": "1, 1, 1, 1"},
        ("multiply-adds, M", "mIoU on 100 unseen scenes"),
        "The ratios decide what the model costs, and hardly how well it does",
    ),
    alt="Two charts of mIoU over multiply-adds, a dot for each combination. On the left, from 0 to "
    "1, all lie on a level line. On the right, enlarged, they scatter over half a hundredth, with "
    "the Pareto front at the cheap end, nano's own ratios and the paper's below it.",
)

# %% [markdown]
# *Look left first.* All combinations do nearly equally well. On the right, nano's own ratios are not on the front: 8, 2, 1, 2 takes {{cheap_share}} of their work and is {{cheap_gain}} better (on {{scenes_256}} further scenes of this size; {{interval}} {{cheap_interval}}).
#
# Perhaps these scenes need little attention, because with all of it silenced nano still reaches {{silenced}} at 128×128, where it has {{own_128}}. But lesson 02's lamps need it. With 8, 8, 4, 2, stages 2 to 4 have four keys each for a whole strip, and a lamp fills {{lamp_share}} of its window. All five models trained so learned the task, as with r = 1: at least {{lamp_right}} of the balls' pixels are right (`python -m experiments.lamps`). So a small thing need not drown in its window. Training chooses what a key keeps, and here it keeps the lamp.
#
# You can try the ratios yourself: a double-click opens [segformer.html](../segformer.html) in a browser, and there *Take the model apart* changes the ratio of any stage of this model while you look at its labels, its cost and its mIoU.
#
# ### Are thin things lost, or borders? · *further*
#
# On {{scenes_128}} further scenes of 128×128, where 8, 8, 4, 2 leaves most stages four keys for a whole scene, it loses {{lost}} of mIoU against r = 1 ({{interval}} {{lost_interval}}): {{lost_vehicle}} of the vehicles' IoU, {{lost_pole}} of the poles', of the persons' nothing that we can tell. Near borders it labels a further {{lost_border}} of the pixels wrongly, elsewhere {{lost_elsewhere}}. At 256×256 we find no loss ({{lost_256_interval}}; `python -m experiments.ratio_losses`).
#
# ## 9 · What else could one do? · *further*
#
# Other ways to shorten the bill have been tried, and each pays with something else. First we compute what the two products cost, in one block of stage 1 of B0 (C = 32, one head, so d = 32), at 512×512 and at 1024×1024.


# %%
def products(N, C=32, d=32):  # multiply-adds of both products together
    return {
        "full attention": 2 * N * N * C,
        "spatial reduction, r = 8": 2 * N * (N // 64) * C,
        "windows of 8×8": 2 * N * 64 * C,
        "linear attention": 2 * N * d * C,
    }


for name, count in products(128**2).items():
    print(f"{name:<24} {count / 1e9:>6.3f} G → {products(256**2)[name] / 1e9:>7.3f} G")

# %% [markdown]
# | | the two products | a query can see | and what it gives up |
# |---|---|---|---|
# | full attention ([Vaswani and others 2017](https://arxiv.org/abs/1706.03762)) | 2·N²·C | every token | nothing but time (and memory, without a fused kernel) |
# | spatial reduction ([Wang and others 2021](https://arxiv.org/abs/2102.12122)) | 2·N²·C / r² | every whole window, as one key | what is inside a window; and it is still N² |
# | a fixed number n of keys, by mean pooling ([Wang and others 2021](https://arxiv.org/abs/2106.13797), its linear variant, 7×7 of them) or by a learned projection ([*Linformer*, Wang and others 2020](https://arxiv.org/abs/2006.04768)) | 2·N·n·C | everything, in n summaries | the larger the photograph, the coarser each summary; a learned projection fits one N only |
# | windows of M×M ([*Swin*, Liu and others 2021](https://arxiv.org/abs/2103.14030)) | 2·N·M²·C | its own window, sharply | all the rest, in this layer; shifting the windows from layer to layer passes it on step by step |
# | linear attention ([*Transformers are RNNs*, Katharopoulos and others 2020](https://arxiv.org/abs/2006.16236)) | 2·N·d·C | everything, as one sum | the softmax: the weights form a matrix of rank d at most |
#
# What does the last entry mean? The *rank* of a matrix is the smallest number of patterns from which all its rows can be mixed. Linear attention replaces exp(q·k) with φ(q)·φ(k). Then φ(q) (φ(k)ᵀ v) can be computed from the right, and the N×N matrix is never needed. But we can make it, and compare its rank with that of softmax.

# %%
q, k = torch.randn(2, 256, 8, generator=generator, dtype=torch.float64)  # 256 tokens, d = 8
kernel = (F.elu(q) + 1) @ (F.elu(k) + 1).T
linear_weights = kernel / kernel.sum(dim=-1, keepdim=True)
softmax_weights = (q @ k.T / math.sqrt(8)).softmax(dim=-1)
print("linear attention: rank", torch.linalg.matrix_rank(linear_weights).item())
print("softmax: rank above 100:", torch.linalg.matrix_rank(softmax_weights).item() > 100)

# %% [markdown]
# With linear attention all rows are mixtures of 8 patterns, where softmax can give many queries a look of their own. Spatial reduction has a limit of this kind too, since there are no more patterns than keys. In stage 1 of B0 at 512×512 it is the more generous one: {{keys_per_stage}} against a d of 32.
#
# ## Play
#
# This is the model of section 8, on scenes that it has not met. Move the ratios first. Your task is above the sliders.

# %%
widgets.SpatialReduction()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# The cheapest are 8, 8, 4, 2. At 256 × 256 they take {{task_cost}} of the multiply-adds of r = 1 and reach {{task_miou}} of mIoU (r = 1: {{task_miou_full}}), and of scene 1 they label {{task_changed}} of the pixels otherwise than nano's own ratios do. Stage 1 has {{task_keys_1}} keys left, and each of the others {{task_keys}}.
#
# At 124 × 100 the maps of stages 1 to 3 are 31 × 25, 16 × 13 and 8 × 7, and only r = 1 divides both sides of each. Padded to 128 × 128, nothing would be lost.
#
# </details>
#
# ## Break it · *further*
#
# This is how `SegFormerMultiheadAttention` of KerasHub reduces the tokens (the PyTorch is ours; [mit_layers.py at commit adce690](https://github.com/keras-team/keras-hub/blob/adce69008f8bb66f2204869cd31aefce6ea7b775/keras_hub/src/models/mit/mit_layers.py)). The tokens arrive as a list, are put into the shape of a map, reduced, and put back into a list. Below it stands what it should be.


# %%
def reduced_keys_with_a_bug(tokens, convolution):  # (B, N, C), a square map
    B, N, C = tokens.shape
    side = math.isqrt(N)
    as_map = tokens.transpose(1, 2).reshape(B, side, side, C)
    merged = convolution(as_map.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (B, h, w, C)
    return merged.reshape(B, C, -1).transpose(1, 2)  # (B, n, C)


def reduced_keys(tokens, convolution):
    side = math.isqrt(tokens.shape[1])
    merged = convolution(tokens.transpose(1, 2).unflatten(2, (side, side)))  # (B, C, h, w)
    return merged.flatten(2).transpose(1, 2)  # (B, n, C)


list_of_tokens = x.flatten(1, 2)
for keys_of in (reduced_keys, reduced_keys_with_a_bug):
    print(tuple(keys_of(list_of_tokens, convolution).shape), keys_of.__name__)

# %% [markdown]
# The shapes agree, so nothing complains, and a test with r = 1 would not even run these lines. But there is an instrument: **change one token, and see which keys notice.** How many should?

# %%
row, column = 84, 36  # a token of the suit
touched = list_of_tokens.clone()
touched[0, row * 128 + column] += 1
notice = []
for keys_of in (reduced_keys, reduced_keys_with_a_bug):
    difference = keys_of(touched, convolution) - keys_of(list_of_tokens, convolution)
    notice.append((difference[0].abs().amax(dim=-1) > 1e-4).float().view(16, 16))
    print(f"{int(notice[-1].sum()):>2} of 256 keys notice: {keys_of.__name__}")

# %%
plots.show(
    plots.attention_over_keys(
        photo,
        [each.numpy() for each in notice],
        ((row + 0.5) / 128, (column + 0.5) / 128),
        ["windows", "with the bug"],
        "When one token changes, one key should notice; with the bug, others do",
    ),
    alt="The portrait with the changed token marked on the suit, and two maps of 16 by 16 keys. "
    "On the left one key is lit, the one whose window holds the token. On the right two whole "
    "rows of keys are lit, and they are not where the token is.",
)

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# `transpose(1, 2)` brings the channels to the front, (B, C, N), which is the order that a convolution with *channels first* wants. The next line then calls it (B, H, W, C), *channels last*. But a reshape swaps nothing, it cuts the list anew. So what is now called a token with 32 channels is one channel of 32 neighbouring tokens. The way back makes the same slip, so the token that you touched shows in a whole block of keys, none of them its own.
#
# The mend is to transpose, and then to `unflatten` the last axis, as in `reduced_keys`.
#
# The same lines hold a second trap: a map that is not square does not have the side √N. Modules that pass maps, (B, H, W, C), need neither the reshape nor √N.
#
# What would have caught it? *One token, one key* does, and so does comparing the model's answers, with published weights, to another library's.
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("03.1")` gives a hint, and another one each time you ask; `solution("03.1")` gives the answer.
#
# ### Exercise 03.1 ★ 4 minutes · How many keys are left?
#
# Write a function for any photograph, also where nothing divides: pixels in, number of keys out (`stride` is the map's, for example 4 in stage 1). The patch embedding is padded, as in lesson 01, and the reduction is not.


# %%
def keys_left(height, width, stride, reduction_ratio):
    return ...


check("03.1", keys_left)

# %% [markdown]
# ### Exercise 03.2 ★ 5 minutes · What does the reduction hold?
#
# How many parameters has one `SpatialReduction`, convolution and LayerNorm? You are given the ratio R of the *paper's text*: 64, 16, 4, or 1, where the model has no reduction.


# %%
def reduction_parameters(channels, paper_ratio):
    return ...


check("03.2", reduction_parameters)

# %% [markdown]
# ### Exercise 03.3 ★★ 8 minutes · Mend the attention
#
# Two things are wrong in the line below, and the shape of the answer shows neither. q is `(B, heads, N, d)`, and k and v are `(B, heads, n, d)` with fewer keys than queries.


# %%
def attend(q, k, v):
    # (q @ k.transpose(-2, -1)).softmax(dim=-2) @ v
    return ...


check("03.3", attend)

# %% [markdown]
# ### Exercise 03.4 ★★ 8 minutes · How much of the picture do the keys see?
#
# Which share of the tokens, from 0 to 1, does some key see? Give it for any photograph.


# %%
def share_seen(height, width, stride, reduction_ratio):
    return ...


check("03.4", share_seen)

# %% [markdown]
# ### Exercise 03.5 ★★ 10 minutes · A reduction that leaves no token out
#
# Pad the map with zeros, below and to the right, by as little as is needed (`F.pad` takes the last axis first). Then reduce it with the convolution of the given weight, `(C, C, r, r)`, and bias. x is `(B, H, W, C)`, and the answer is `(B, ⌈H/r⌉, ⌈W/r⌉, C)`.


# %%
def reduce_padded(x, weight, bias):
    return ...


check("03.5", reduce_padded)

# %% [markdown]
# ### Exercise 03.6 ★★★ 15 minutes · Equation 2 as reshape and Linear
#
# Do it without a convolution and without `unfold`: cut the r×r windows by `unflatten` (or `reshape`) and `permute`, lay each out as one row, and apply one Linear. The weight is the convolution's, `(C, C, r, r)`, and r divides both sides of the map x, `(B, H, W, C)`.


# %%
def reduce_by_reshape(x, weight, bias):
    return ...


check("03.6", reduce_by_reshape)

# %% [markdown]
# ### Exercise 03.7 ★★ 10 minutes · Keys and values from one matrix
#
# The authors' own files hold keys and values as *one* Linear: its weight is `(2C, C)` and its bias `(2C,)`. The first C rows make the keys and the others the values, and within each half head 1 has the first d = C / num_heads rows, head 2 the next, and so on (lesson 02 has heads). x is the reduced map as a list of tokens,
# `(B, n, C)`. Return k and v, each `(B, heads, n, d)`.


# %%
def keys_and_values(x, weight, bias, num_heads):
    return ...


check("03.7", keys_and_values)

# %% [markdown]
# ### Exercise 03.8 ★★ 12 minutes · Who is reduced?
#
# Put spatial-reduction attention together, with one head: x is a map, `(B, H, W, C)`, and so is the answer. `reduce` makes a smaller map of it, `(B, H/r, W/r, C)`; `query`, `key` and `value` are Linears that take maps or lists of tokens, whatever their size. Which of the three should read the smaller map? (A reader
# took all three to be reduced, and asked where the answers are enlarged again: [SegFormer, issue 21](https://github.com/NVlabs/SegFormer/issues/21).)


# %%
def reduced_attention(x, reduce, query, key, value):
    return ...


check("03.8", reduced_attention)

# %% [markdown]
# ## Recap
#
# - The queries fix how many answers there are. Keys and values may be fewer, and are shortened together.
# - Each window of r×r tokens is merged by a Linear over all its numbers, the same as a convolution with kernel and stride r, and a LayerNorm. Two more Linears make its key and its value.
# - R of the paper's text is r² of the code. Stride times r is 32 in all four stages, so where 32 divides the sides all have equally many keys.
# - The two products fall by a factor of r², and remain quadratic in N. The reduction costs N·C², whatever r above 1 is, but its weights grow with r².
# - All that an attention lets other tokens learn about a window is its key and its value.
# - On our scenes the ratios decide what nano costs, and hardly how well it does.
# - What lies past a stage's last whole window is in none of its keys. Nothing is left out where both sides are multiples of 32.
#
# **Can you answer without scrolling up?**
#
# 1. Why may keys be fewer than queries, and why must there be as many values as keys?
# 2. The text says R = 16 for stage 2. What are the kernel and the stride of its convolution, and how many times fewer keys are there?
# 3. With which r are the last stage's keys as far apart as those of the others, and why?
# 4. A photograph is 500 × 300. How many tokens does stage 1 lose along the longer side, and what would you do?
#
# <details><summary>Answers</summary>
#
# 1. Each query makes one row of weights and gets one answer, however many keys there are. For each query a key has one weight, which multiplies a value.
# 2. Both are 4, since r = √R, and there are 16 times fewer keys.
# 3. r = 1, because its tokens are {{stride_times_r}} pixels apart already, as far as the other stages' keys.
# 4. `500 / 4 = 125` and `125 = 15·8 + 5`, so five. Pad or resize the photograph to `512 × 320`.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *R and r* (section 3). Readers stumble on it: [SegFormer, issue 21](https://github.com/NVlabs/SegFormer/issues/21), [issue 125](https://github.com/NVlabs/SegFormer/issues/125).
# - *Where the Reshape is.* A reader looked for it in the code and found none ([SegFormer, issue 148](https://github.com/NVlabs/SegFormer/issues/148)): it is in the stride of the convolution.
# - *What is reduced.* Equation 2 (arXiv:2105.15203, eq. 2) speaks of K. The code reduces the map once, and makes keys and values from it. Between the reduced map and these two is a LayerNorm, which the equation does not have.
# - *The border.* The released model does not pad the reduction, and neither do we: where r does not divide the map, its weights would give other answers. KerasHub pads it ("same", in the file of *Break it*), so no token is lost there, and keys at the border are partly made of zeros.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1, eq. 1 and 2, Table 6. W. Wang and others, *Pyramid Vision Transformer*, [arXiv:2102.12122](https://arxiv.org/abs/2102.12122), and *PVT v2*, [arXiv:2106.13797](https://arxiv.org/abs/2106.13797). The others are linked in section 9.
#
# **Next:** lesson 04. Attention with r = 1 does not know where a token is: shuffle the tokens, and it gives the same answers, shuffled. Lesson 04 asks how SegFormer finds out without a position embedding.
