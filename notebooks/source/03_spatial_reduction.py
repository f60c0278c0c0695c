# %% [markdown]
# # Lesson 03 · How can attention be affordable?
#
# Lesson 02 read you the bill: every token asks every other, and the work grows with N². A fused kernel saves the memory, not the work. This lesson goes for the work. The idea fits on one line:
# **keep all the queries; merge the things they look at, the keys and values.** It is called spatial reduction. It comes from the Pyramid Vision Transformer ([Wang and others 2021](https://arxiv.org/abs/2102.12122)), and SegFormer took it over (arXiv:2105.15203, Section 3.1).
#
# **After this lesson you will be able to**
#
# - say which of queries, keys and values may be shortened, and why the rest may not;
# - write equation 2 as a reshape and a Linear, and as a strided convolution, and show that they are the same;
# - tell R from r, and say how many keys any stage keeps for any photograph;
# - say what each ratio costs and what it saves, in multiply-adds and in seconds;
# - say what is lost: detail inside a window, always; and at most sizes a strip of the photograph that no key ever sees.
#
# **Time** 70 minutes, and 50 for the exercises. **You need** lessons 01 and 02. No GPU.

# %%
import math
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import OverlapPatchEmbedding, SegFormerConfig, plots, widgets
from segformer_edu.analysis import cost
from segformer_edu.checks import check_heads, check_map, check_positive
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.exercises import check, hint, solution
from segformer_edu.layers import Linear

torch.set_grad_enabled(False)  # nothing is trained in this lesson
photo = sample_photo("astronaut")
b0 = SegFormerConfig.named("b0")

# %% [markdown]
# ## 1 · Which of the three may be shorter?
#
# Attention takes queries, keys and values, so far N of each. Here is lesson 02's function again, at a small size: a photograph of 128×128 makes 32×32 tokens, and a token has 64 channels.


# %%
def attention(q, k, v):  # as in lesson 02
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


generator = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, 32 * 32, 64, generator=generator)
print("all of them ", tuple(attention(q, k, v).shape))

# %% [markdown]
# **Predict.** You may throw away rows of q, of k, or of v. Which can go, if the answer must still have a row for every token?

# %%
prediction = ...  # one letter, or two

# %%
few = slice(None, None, 64)  # every 64th token: 16 are left
print("fewer queries        ", tuple(attention(q[few], k, v).shape))
print("fewer keys and values", tuple(attention(q, k[few], v[few]).shape))
print("the matrix then is   ", tuple((q @ k[few].T).shape))

# %% [markdown]
# The queries decide how many answers there are: one a row. Keys and values are what is looked *up*, like the entries of a dictionary, and the length of a dictionary does not show in the answer. They have to be shortened **together**, because
# weight number 5 belongs to value number 5.
#
# And SegFormer has to say something about every place in the picture, so it needs every query.
#
# What we did here would be a poor way, though: it keeps half of the leftmost column of tokens, and no key knows of the rest of the picture. Better: let no token go, and **merge neighbours**. One key for each window of r×r tokens.

# %%
eyes = photo[64:192, 192:320]  # 128 × 128 pixels, so 32 × 32 of the photograph's tokens
everything = torch.ones(32, 32, dtype=torch.bool).numpy()
ratios = (4, 8, 16)
plots.show(
    plots.key_grids(
        eyes,
        [everything] * 3,
        ratios,
        [f"r = {r}: {32 // r}×{32 // r} of {128 // r}×{128 // r} keys" for r in ratios],
        query=(0.3, 0.42),
        finding="One key for each window; the query stays a single token",
    ),
    alt="Part of the face, 128 by 128 pixels, under grids of 8 by 8, 4 by 4 and 2 by 2 windows, "
    "each of which becomes a key. On an eye a small blue frame marks the query, a quarter as wide "
    "as a window in the first, a sixteenth in the last.",
)

# %% [markdown]
# *Compare the blue frame with the windows.* The frame is one query, four pixels wide. The whole photograph has {{stage_1_tokens}} of them in stage 1, whatever r is. What gets coarser from left to right is what they can look at: an eye has windows of its own on the left,
# and on the right both eyes share one.
#
# ## 2 · Which tokens are merged, and how?
#
# The paper writes it like this (arXiv:2105.15203, eq. 2):
#
# $$\hat K = \mathrm{Reshape}\left(\tfrac{N}{R},\; C \cdot R\right)(K) \qquad K = \mathrm{Linear}(C \cdot R,\; C)(\hat K)$$
#
# Read it aloud: lay R tokens side by side, so that they make one long row of C·R numbers; then let a learned matrix bring that row back to C numbers. N tokens go in, N/R come out.
#
# The equation does not say *which* R tokens.
#
# **Predict.** Number the tokens of a 4×4 map from 0 to 15, row by row, and take R = 4. If you take the word "reshape" literally, which four are merged first? And which four would *you* merge?

# %%
prediction = ...  # two lists of four

# %%
numbers = torch.arange(16.0).view(4, 4)
by_reshape = numbers.reshape(4, 4)  # N/R groups of R
by_windows = F.unfold(numbers[None, None], kernel_size=2, stride=2)[0].T
print("reshape:", by_reshape.int().tolist())
print("windows:", by_windows.int().tolist())

# %% [markdown]
# A reshape reads the list from left to right. It merges a *row* of the map: with R = 64 a strip one token high and 64 wide. The released model merges *windows*, here 2×2, in stage 1 8×8: neighbours in both directions. So R tokens are r·r tokens, and **R = r²**.
#
# ### The same as a strided convolution
#
# In lesson 01 a Linear on patches of pixels was a convolution whose stride is its kernel. Now the "pixels" are tokens, and their "colours" the C channels. Nothing else changes. Take the tokens of the photograph, stage 1 of B0: C = 32, r = 8.

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
# `unfold` cuts the windows and lays each out as one row: that is equation 2's reshape, done in the right order. The Linear then does what the convolution does. (How to cut windows without `unfold` is exercise 03.6, and it is worth the trouble.)
#
# **Predict.** That Linear is a large one. The four Linears of attention itself, for query, key, value and output, are 32 → 32 each. Which has more parameters: the reduction, or those four together?

# %%
prediction = ...  # which, and by how much?

# %%
learned = sum(weight.numel() for weight in linear.parameters())
attention_itself = 4 * sum(weight.numel() for weight in nn.Linear(32, 32).parameters())
print(f"reduction {learned:,}, the four Linears of attention {attention_itself:,}")

# %% [markdown]
# The matrix that *saves* the work is about {{reduction_over_linears}} times as large as the four others together. In all of B0 the reductions hold {{reduction_parameters}} of {{b0_millions}} million parameters.
#
# To *run* it is cheap, and there is a small surprise. It has r²·C² weights, and it is applied N/r² times. The r² cancels: **N·C² multiply-adds, whatever r is**. As much as the one Linear that makes the queries.
#
# ## 3 · Is it R or r, and how many keys are left?
#
# The paper's text sets R to 64, 16, 4, 1 for the four stages; its Table 6, and the released code, say 8, 4, 2, 1 (arXiv:2105.15203, Section 3.1 and Table 6). There is no contradiction, only two things with one name: R says how many times *fewer keys*, r how many times *shorter a side*. In this course, `reduction_ratio`
# is r.
#
# **Predict.** A photograph of 512×512. The maps of the four stages are 4, 8, 16 and 32 times smaller per side, and r is 8, 4, 2, 1. How many keys are left in each stage?

# %%
prediction = ...  # four numbers

# %%
for number, stage in enumerate(cost(b0, (512, 512)).stages, start=1):
    r = stage.reduction_ratio
    print(f"stage {number}: {stage.tokens:>6,} queries, r = {r}, R = {r**2:>2}: {stage.keys} keys")

# %%
part = photo[64:192, 160:288]  # her face: 4×4 windows of the 16×16, seen from near
sizes = {
    f"stage {i}: r = {r}": (128 // 4 // 2 ** (i - 1), r) for i, r in enumerate((8, 4, 2, 1), 1)
}
plots.show(
    plots.key_grids(
        part,
        [torch.ones(side, side, dtype=torch.bool).numpy() for side, _ in sizes.values()],
        [r for _, r in sizes.values()],
        list(sizes),
        query=(0.4, 0.42),
        finding="Four stages, one grid of keys. What grows is the token that asks",
    ),
    alt="The face of the portrait four times, once for each stage, every time under the same grid "
    "of 4 by 4 windows. The blue frame of the query doubles its side from stage to stage, "
    "until in stage 4 it fills a window.",
)

# %% [markdown]
# *Look at the blue frame from left to right.* The same {{keys_per_stage}} keys in every stage, because the stride of the map times r is {{stride_times_r}} in all four: a window is always {{stride_times_r}} pixels wide. A token of stage 1, four pixels wide, and one of stage 4 look at the same 16×16 grid. What changes is who asks, not what there is to see.
#
# It also says why the **last stage has r = 1**: its tokens are {{stride_times_r}} pixels apart as they are. There is nothing left to merge.
#
# **Predict.** Somebody reads R in the text and writes 64, 16, 4, 1 where the code wants r. Does the model build? What does it see?

# %%
prediction = ...  # yes or no, and how many keys stage 1 has

# %%
for name, ratios in {"r = 8, 4, 2, 1": b0.reduction_ratios, "R for r": (64, 16, 4, 1)}.items():
    bill = cost(b0.replace(reduction_ratios=ratios), (512, 512))
    print(
        f"{name:<14}  keys {[stage.keys for stage in bill.stages]}, {bill.parameters:,} parameters"
    )

# %% [markdown]
# It builds, and on this photograph it runs. Stage 1 looks at the whole of it through four keys, and the model has nearly four times the parameters, all the new ones in the reductions. It fails only where a side is below {{smallest_side_with_paper_ratios}} pixels, or where published weights have to fit. Count your keys.
#
# ### What does O(N²/R) promise?
#
# The attention matrix has a row for each query and a column for each key: N·(N/R) = N²/R entries, and both products, q kᵀ and weights times v, shrink with it. So the paper's O(N²/R) is right, with *its* R; in terms of the code it is N²/r².
#
# **Predict.** r stays what it is, and the photograph becomes twice as wide and twice as high. By how much do the two products grow?

# %%
prediction = ...  # one number

# %%
for side in (512, 1024, 2048):
    bill = cost(b0, (side, side))
    products = sum(stage.multiply_adds_of.attention_matmuls for stage in bill.stages)
    share = products / bill.encoder_multiply_adds
    print(f"{side:>4}²: {products / 1e9:>6.2f} G multiply-adds, {share:.0%} of the encoder")

# %% [markdown]
# Sixteen times, as before. A constant R divides the bill and leaves its law alone: **N²/64 is still N²**. At the size the model was made for, the two products are a third of the encoder's work; on a photograph four times as wide they are {{products_at_2048}} of it.
#
# ## 4 · Build it
#
# First the merge. It is the convolution you have checked, then a LayerNorm over each key's channels, as at the end of lesson 01.

# %% tags=["mirror"]
# segformer_edu.attention.SpatialReduction

# %% [markdown]
# `check_map` refuses what is no map of tokens, or is smaller than one window, in a sentence instead of a traceback out of torch.
#
# Then attention. This is the class of lesson 02, and three lines are new:


# %% tags=["stage"]
class ReducedAttention(nn.Module):
    """Self-attention whose keys and values come from a reduced map."""

    def __init__(self, dim, num_heads, reduction_ratio):
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        self.reduce = SpatialReduction(dim, reduction_ratio)  # new

    def forward(self, x):  # (B, H, W, C)
        reduced = self.reduce(x)  # new: (B, H/r, W/r, C)
        q, k, v = map(self.heads, (self.query(x), self.key(reduced), self.value(reduced)))  # new
        return self.output(attention(q, k, v).transpose(1, 2).reshape(x.shape))

    def heads(self, x):  # (B, H, W, C) → (B, heads, H·W, d)
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


# %% [markdown]
# The package's class differs in three things. At r = 1 it does not reduce at all: no convolution, no norm. It uses the fused kernel of lesson 02. And because that kernel never holds the weights, it can compute them on request, laid out as maps.

# %% tags=["mirror"]
# segformer_edu.attention.SpatialReductionAttention

# %% [markdown]
# **Check it** against a class that nobody here wrote, weights copied over. `nn.MultiheadAttention` takes queries, keys and values apart, so it can check every r: at r = 1 all three are the tokens, otherwise keys and values are made of the reduced ones. Answers *and* weights have to agree.


# %%
def torch_attention(ours):
    """nn.MultiheadAttention with the weights of ours."""
    theirs = nn.MultiheadAttention(ours.dim, ours.num_heads, batch_first=True)
    parts = ours.query, ours.key, ours.value
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    return theirs


# %%
small = torch.randn(2, 24, 16, 64, generator=generator)  # four sizes, all different
many = small.flatten(1, 2)
for r in (1, 2, 4, 8):
    ours = SpatialReductionAttention(dim=64, num_heads=2, reduction_ratio=r)
    keys = ours.reduce(small).flatten(1, 2)
    expected, weights = torch_attention(ours)(many, keys, keys, average_attn_weights=False)
    assert torch.allclose(ours(small).flatten(1, 2), expected, atol=1e-5)
    assert torch.allclose(ours.weights(small).flatten(4).flatten(2, 3), weights, atol=1e-6)
    print(f"r = {r}: {many.shape[1]} queries, {keys.shape[1]:>3} keys, same as torch's own")

# %% [markdown]
# ## 5 · What does a ratio cost, and what does it save?
#
# Three parts of a stage depend on r: the two products of attention (r² times less), the Linears for key and value (on fewer tokens), and the reduction itself, which is new. Two do not: the patch embedding, and Mix-FFN, the other half of each block, which lesson 04 builds.
#
# **Predict.** In stage 1, r = 8 makes the two products 64 times cheaper. How much cheaper does the *stage* become? And is r = 16 worth having?

# %%
prediction = ...  # a factor, and yes or no

# %%
bars = {}
for r in (1, 2, 4, 8, 16, 32):
    stage = cost(b0.replace(reduction_ratios=(r, 4, 2, 1)), (512, 512)).stages[0]
    parts = stage.multiply_adds_of._asdict()
    bars[f"r = {r}"] = {name.replace("_", " "): count / 1e9 for name, count in parts.items()}
    print(f"r = {r:>2}: {stage.keys:>6,} keys, {stage.multiply_adds / 1e9:>5.2f} G multiply-adds")

# %%
plots.show(
    plots.stacked_bars(
        {name: bars[name] for name in ("r = 4", "r = 8", "r = 16", "r = 32")},
        "multiply-adds of stage 1, G",
        "At r = 8 half of the stage is attention's products; at r = 16 a fifth",
    ),
    alt="Four stacked bars, for r = 4, 8, 16 and 32. At r = 4 the two products of attention make "
    "up four fifths of the stage, at r = 8 half, at r = 32 nearly nothing. The other parts, "
    "Mix-FFN the largest, stay as they are.",
)

# %% [markdown]
# *Look at the part for the products, and then at everything else.* At r = 1 the bar would be {{stage_1_full_over_r4}} times as long as the longest one here. At r = 8 the products are half of the stage, so all further steps together can save no more than that. The next one, r = 16, would save {{saved_by_r_16}} of the encoder's work and cost three keys in four. The paper gives no reason for its 8.
#
# **Predict.** Now all four stages. Of everything that the published ratios save, how much do they save in stage 1?

# %%
prediction = ...  # a share

# %%
full, reduced = (cost(b0.replace(reduction_ratios=r), (512, 512)) for r in ((1,) * 4, (8, 4, 2, 1)))
for number, (before, after) in enumerate(zip(full.stages, reduced.stages, strict=True), start=1):
    counts = before.multiply_adds / 1e9, after.multiply_adds / 1e9
    print(f"stage {number}: {counts[0]:>5.2f} G → {counts[1]:.2f} G multiply-adds")
print(
    f"encoder: {full.encoder_multiply_adds / 1e9:.2f} → {reduced.encoder_multiply_adds / 1e9:.2f}"
)

# %% [markdown]
# Most of it: {{saved_in_stage_1}} of the savings are in stage 1, where the tokens are. The encoder becomes {{encoder_factor}} times cheaper.
#
# ### And in seconds?
#
# Arithmetic is a promise. Here is one attention layer on the tokens of the photograph, on one thread, the best of three runs, in processor seconds.

# %%
torch.set_num_threads(1)


def seconds(module, x):
    times = []
    for _ in range(3):
        start = time.process_time()
        module(x)
        times.append(time.process_time() - start)
    return min(times)


# %% [markdown]
# **Predict.** Multiply-adds say that the layer with r = 8 takes {{layer_factor}} times less than with r = 1. Will the clock say so too, or more, or less?

# %%
prediction = ...  # "as much", "more" or "less"

# %%
ratios = (1, 2, 4, 8, 16)
keys = [(128 // r) ** 2 for r in ratios]
took = [seconds(SpatialReductionAttention(32, 1, r), x) for r in ratios]
attention_parts = "projections", "reduction", "attention matmuls"
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
    "axes, with a dashed curve for what the multiply-adds promise. Both fall steeply from r = "
    "1 to r = 4, and flatten towards r = 16. The factor measured on the machine that made the "
    "picture stands in the title.",
)

# %% [markdown]
# *Compare the two curves.* Both axes are logarithmic, and the first number in the title was measured where this picture was made; run the cells for yours. Here they lie together on the right, and part on the left, where the clock saves less than the multiply-adds promise. For a multiply-add does not always take the same time: convolution, Linear and fused kernel each have a speed of their own, and norm, softmax and calls, which the
# arithmetic leaves out, weigh more the less there is to compute.
#
# And **memory**? *Stored*, the weights of one block of stage 1 shrink from {{stored_full}} to {{stored_reduced}} MiB. The fused kernel stores neither, so with it the reduction is about time. Where the weights are kept, to look at them or because a device has no fused kernel, it is about both.
#
# ## 6 · What is lost inside a window?
#
# **Predict.** Stage 1 of B0 has windows of 8×8 tokens with 32 channels each. How many numbers go into a key, and how many come out?

# %%
prediction = ...  # two numbers

# %% [markdown]
# {{window_numbers}} numbers go in, 32 come out. A linear map from so many to so few *must* be blind to nearly everything. You can have it shown: take any change of a window, and subtract the part of it that the reduction would notice. (`pinv`, the pseudoinverse, gives the smallest change that has a wanted effect.)

# %%
reduction = SpatialReduction(dim=32, reduction_ratio=8)
weight = reduction.projection.weight.flatten(1)  # (32, 2048)
change = torch.randn(2048, generator=generator)
change -= torch.linalg.pinv(weight) @ (weight @ change)  # what the keys would have noticed

changed = x.clone()
changed[0, 80:88, 32:40] += change.view(32, 8, 8).permute(1, 2, 0)  # one window of the suit
print(f"numbers in the window change by {(changed - x)[0, 80:88, 32:40].std():.2f}")
print(f"its key changes by {(reduction(changed) - reduction(x)).abs().max():.3f}")

# %% [markdown]
# The window is another one, and its key is the same. That holds for any weights, trained or not: of {{window_numbers}} directions in which a window can change, {{blind_directions}} are invisible to its key. The matrix lets 32 through, and the LayerNorm after it hides two of those, the level and the scale of the 32 numbers. Training chooses which {{seen_directions}} are seen.
#
# The detail is not lost to the *network*: each of the 64 tokens still asks its own question, and its own numbers travel on beside attention (lesson 06). It is lost to *all others*: all that they learn about the window from this attention is its key, and the value made of the same 32 numbers.
#
# ### Where does a query look, then?
#
# Let the tokens speak for themselves, as in lesson 02: the query is a token of the suit, each key the mean of its window, nothing learned. Only r changes.
#
# **Predict.** As r grows, what will disappear first: the suit, or its edges?

# %%
prediction = ...  # "the suit" or "its edges"

# %%
row, column = 84, 36
looks = []
for r in (1, 4, 8, 16):
    merged = F.avg_pool2d(maps, r)[0]  # (32, 128/r, 128/r)
    scores = torch.einsum("c,chw->hw", x[0, row, column], merged) / math.sqrt(32)
    looks.append(scores.flatten().softmax(dim=0).view_as(scores).numpy())

# %%
plots.show(
    plots.attention_over_keys(
        photo,
        looks,
        ((row + 0.5) / 128, (column + 0.5) / 128),
        [f"r = {r}: {look.size:,} keys" for r, look in zip((1, 4, 8, 16), looks, strict=True)],
        "With fewer keys the suit is still found; at r = 16 the query's own window is not",
    ),
    alt="The portrait with a query marked on the orange suit, and four heat maps of where it "
    "looks, over 128 by 128, 32 by 32, 16 by 16 and 8 by 8 keys. The first shows the suit "
    "with its folds, the emblem dark upon it. At r = 4 and r = 8 the suit is made of squares. "
    "At r = 16 a few windows of one sleeve are bright, and the query's own is dark.",
)

# %% [markdown]
# *Follow an outline from left to right.* At r = 8 the query still knows where the suit is, to within the {{stride_times_r}} pixels of a window. At r = 16 its *own* window is dark: it holds a large piece of the emblem, and the mean of both is like neither. *Which pixels* are suit it has to learn from elsewhere: from its own token, which is four pixels wide. That is the bargain: **context coarse, position fine**. (Try another query: change `row` and `column`.)
#
# The class gives you the same for any query: `weights` has the axes (image, head, row and column of the query, row and column of the key).

# %%
weights = SpatialReductionAttention(dim=32, num_heads=1, reduction_ratio=8).weights(x)
sums = weights.sum(dim=(-2, -1))
print(f"{tuple(weights.shape)}; the map of each query sums to {sums.min():.2f} … {sums.max():.2f}")
print("the map of one query:", tuple(weights[0, 0, row, column].shape))

# %% [markdown]
# Pictures of these maps are for a trained model, and lesson 09 will draw them. The widget below draws them for an untrained one.
#
# ## 7 · What does no key ever see?
#
# The reduction has no padding. Windows begin at the top left, and what does not fill one at the right and at the bottom is left out. Which tokens are those? We need not reason: ask torch on which tokens the keys *depend*, by their gradient.


# %%
def seen_by_keys(height, width, reduction_ratio):
    """Which tokens reach some key: those for which the keys have a gradient."""
    tokens = torch.randn(1, height, width, 4, generator=generator, requires_grad=True)
    with torch.enable_grad():
        keys = SpatialReduction(4, reduction_ratio)(tokens)
        (keys * torch.randn(keys.shape, generator=generator)).sum().backward()
    return (tokens.grad[0] != 0).any(dim=-1)  # (H, W)


# %% [markdown]
# **Predict.** A photograph of 124×124 makes 31×31 tokens in stage 1, and r is 8. What share of them does some key see?

# %%
prediction = ...  # percent

# %%
masks = [seen_by_keys(side, side, 8) for side in (31, 25, 17)]
for pixels, mask in zip((124, 100, 68), masks, strict=True):
    tokens = len(mask)
    print(f"{pixels:>3}² pixels, {tokens}² tokens: {mask.double().mean():.1%} are seen")

# %%
plots.show(
    plots.key_grids(
        photo,
        [mask.numpy() for mask in masks],
        [8, 8, 8],
        [f"{4 * len(m)}² pixels: {m.double().mean():.1%} seen" for m in masks],
        finding="Grey: in no window, so in no key",
    ),
    alt="The portrait three times, at 124, 100 and 68 pixels a side, under grids of 3 by 3, 3 by "
    "3 and 2 by 2 keys. A grey strip along the right and the bottom is outside the grid: "
    "seven tokens of 31 wide in the first picture, one of 25 in the second, one of 17 in the "
    "third.",
)

# %% [markdown]
# *Look at the grey strips.* At 31 tokens a side only 24 lie in whole windows, and (24/31)² is {{seen_31}}. Two fifths of the tokens are in no key: not faintly, not at all. One pixel more a side, and all of them would be.
#
# Three things soften this. The grey tokens still *ask*, and get answers. The convolution in Mix-FFN lets a token hear its neighbours, one step a block (lesson 04). And later stages, with other sizes, may see what this one did not. How much accuracy it costs, we have not measured. One could: segment
# photographs that a trained model knows, cropped by a few pixels, and compare at the right edge.
#
# **Predict.** For which sides does every stage see everything? Multiples of 32, surely. Any others?

# %%
prediction = ...  # your guess

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
    "at multiples of 32 and up to three pixels below, fall deepest just below those, and get "
    "shallower as photographs get larger.",
)

# %% [markdown]
# *Look at the vertical lines, the multiples of 32.* There all curves are at the top, and for three pixels before, because the patch embedding *is* padded and rounds up: stage 1 makes as many tokens of them. One pixel past a line, it makes one token more, and loses it, per side; further on two, and at last seven. Stage 4 is not drawn: with r = 1 it sees everything.
#
# The loss shrinks as photographs grow, since it is at most r − 1 tokens a side. The remedy is older than the problem: **resize or pad the photograph to a multiple of 32**. (Below {{smallest_side}} pixels stage 1 has no key at all, and the model refuses the photograph, with a sentence that says so.)
#
# ## 8 · What else could one do?
#
# Merging keys is one way to shorten the bill. Others have been tried, and each pays with something else. First what the two products cost, for stage 1 of B0 (C = 32, one head, so d = 32), at 512×512 and at 1024×1024.


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
# | | the two products | a query can see | and what is lost |
# |---|---|---|---|
# | full attention ([Vaswani and others 2017](https://arxiv.org/abs/1706.03762)) | 2·N²·C | every token | nothing but time |
# | spatial reduction ([Wang and others 2021](https://arxiv.org/abs/2102.12122)) | 2·N²·C / r² | everything, a window at a time | what is inside a window; and it is still N² |
# | a fixed number n of keys, by pooling ([Wang and others 2021](https://arxiv.org/abs/2106.13797), 7×7 of them) or by a learned projection ([Wang and others 2020](https://arxiv.org/abs/2006.04768)) | 2·N·n·C | everything, in n summaries | the larger the photograph, the coarser each summary; a learned projection fits one N only |
# | windows of M×M ([Liu and others 2021](https://arxiv.org/abs/2103.14030)) | 2·N·M²·C | its own window, sharply | all the rest, in this layer; shifting the windows from layer to layer passes it on step by step |
# | linear attention ([Katharopoulos and others 2020](https://arxiv.org/abs/2006.16236)) | 2·N·d·C | everything, as one sum | the softmax: the weights form a matrix of rank d at most |
#
# The last entry is worth seeing. Linear attention replaces exp(q·k) with φ(q)·φ(k). Then φ(q) (φ(k)ᵀ v) can be computed from the right, and the N×N matrix is never needed. But what matrix *would* it be?

# %%
q, k = torch.randn(2, 256, 8, generator=generator, dtype=torch.float64)  # 256 tokens, d = 8
kernel = (F.elu(q) + 1) @ (F.elu(k) + 1).T
linear_weights = kernel / kernel.sum(dim=-1, keepdim=True)
softmax_weights = (q @ k.T / math.sqrt(8)).softmax(dim=-1)
print("linear attention: rank", torch.linalg.matrix_rank(linear_weights).item())
print("softmax: rank above 100:", torch.linalg.matrix_rank(softmax_weights).item() > 100)

# %% [markdown]
# The *rank* of a matrix is how many patterns its rows are mixed from, and here all rows are mixtures of 8. Where softmax can give every query a look of its own, linear attention has d of them to share among all. Spatial reduction has a limit of this kind too, and a more generous one: as many patterns as keys.
#
# Which of these losses a task forgives is a question for training, not for arithmetic.
#
# ## Play
#
# The reduction ratio of each stage, the size of the photograph, and the query; on the right the bill, each time against r = 1. All sliders answer to the arrow keys.

# %%
widgets.SpatialReduction()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# For 384 × 512 it is 8, 4, 2, 1: the published ratios, and {{task_keys}} keys in every stage, 12 × 16 windows. Both sides are multiples of 32, so nothing is lost.
#
# For 500 × 300 only r = 1 in every stage will do, and it costs {{task_factor}} times as much as the published ratios: the maps are 125 × 75, 63 × 38 and 32 × 19, an odd side in each, and 16 × 10, where windows of 2×2 would leave 40 keys. So change the photograph: padded to 512 × 320 it loses nothing with 8, 4, 2, 1, keeps {{task_padded_keys}} keys a stage, and
# costs {{task_padded}} of the r = 1 bill, although it has more pixels.
#
# </details>
#
# ## Break it
#
# This is how a published library prepares the tokens for the reduction, put into PyTorch by us. It is the `SegFormerMultiheadAttention` of KerasHub, and of KerasCV before it ([mit_layers.py at commit adce690](https://github.com/keras-team/keras-hub/blob/adce69008f8bb66f2204869cd31aefce6ea7b775/keras_hub/src/models/mit/mit_layers.py)). The tokens arrive as a list, are put into the shape of a map, reduced,
# and put back into a list.


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
# The shapes agree, and at r = 1 these lines do not run. Nothing will complain. Here is an instrument: **change one token, and see which keys notice.**
#
# **Predict.** How many should?

# %%
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
        "One token is changed; these keys notice",
    ),
    alt="The portrait with the changed token marked on the suit, and two maps of 16 by 16 keys. "
    "On the left one key is lit, the one whose window holds the token. On the right two whole "
    "rows of keys are lit, and they are not where the token is.",
)

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# `transpose(1, 2)` brings the channels to the front, (B, C, N): the order that a convolution with *channels first* wants. The next line then calls it (B, H, W, C), *channels last*, and a reshape swaps nothing. It cuts the list anew: what is now called a token with 32 channels is one channel of 32 neighbouring tokens. (Lesson 01, section 4,
# showed nine astronauts for the same reason.) The way back makes the same slip once more. A key is then a mixture from all over the photograph, and the token you touched shows in a whole block of keys, none of them its own.
#
# The mend: with channels last the list needs `unflatten` alone, no transpose. With channels first, transpose and then `unflatten` the last axis, as in `reduced_keys`.
#
# There is a second trap in the same lines: the side of the map is the square root of N. A photograph that is not square has no such side, or another one. Modules that pass maps, (B, H, W, C), have neither problem.
#
# What would have caught it? Not a test of shapes, and not a test with r = 1. This one: *one token, one key*. Or weights from elsewhere, and logits compared.
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("03.1")` gives a hint, and another one each time you ask; `solution("03.1")` the answer.
#
# ### Exercise 03.1 ★ 4 minutes · How many keys are left?
#
# A function for any photograph, also where nothing divides: pixels in, number of keys out. The patch embedding is padded, as in lesson 01; the reduction is not.


# %%
def keys_left(height, width, stride, reduction_ratio):
    return ...


check("03.1", keys_left)

# %% [markdown]
# ### Exercise 03.2 ★ 5 minutes · What does the reduction hold?
#
# The number of parameters of one `SpatialReduction`, convolution and LayerNorm, when you are given the ratio R of the *paper's text*: 64, 16, 4, or 1.


# %%
def reduction_parameters(channels, paper_ratio):
    return ...


check("03.2", reduction_parameters)

# %% [markdown]
# ### Exercise 03.3 ★★ 8 minutes · Mend the attention
#
# Two things are wrong in the line below, and the shape of the answer shows neither. q is `(B, heads, N, d)`, k and v are `(B, heads, n, d)` with fewer keys than queries.


# %%
def attend(q, k, v):
    # (q @ k.transpose(-2, -1)).softmax(dim=-2) @ v
    return ...


check("03.3", attend)

# %% [markdown]
# ### Exercise 03.4 ★★ 8 minutes · How much of the picture do the keys see?
#
# The share of the tokens, from 0 to 1, that some key sees, for any photograph.


# %%
def share_seen(height, width, stride, reduction_ratio):
    return ...


check("03.4", share_seen)

# %% [markdown]
# ### Exercise 03.5 ★★ 10 minutes · A reduction that leaves no token out
#
# Pad the map with zeros, below and to the right, by as little as is needed; then reduce it with the convolution of the given weight, `(C, C, r, r)`, and bias. x is `(B, H, W, C)`, the answer `(B, ⌈H/r⌉, ⌈W/r⌉, C)`.


# %%
def reduce_padded(x, weight, bias):
    return ...


check("03.5", reduce_padded)

# %% [markdown]
# ### Exercise 03.6 ★★★ 15 minutes · Equation 2 as reshape and Linear
#
# Without a convolution and without `unfold`: cut the r×r windows by `unflatten` (or `reshape`) and `permute`, lay each out as one row, and apply one Linear. The weight is the convolution's, `(C, C, r, r)`, and r divides both sides of x, `(B, H, W, C)`.


# %%
def reduce_by_reshape(x, weight, bias):
    return ...


check("03.6", reduce_by_reshape)

# %% [markdown]
# ## Recap
#
# - The queries fix how many answers there are. Keys and values may be fewer, and are shortened together.
# - A key is made of a window of r×r tokens, by a Linear over all its numbers: the same as a convolution with kernel and stride r. Then a LayerNorm.
# - R of the paper's text is r² of the code. Stride times r is 32 in all four stages, so all look at one grid of keys.
# - The two products fall by r², and remain quadratic in N. The reduction costs N·C² whatever r is.
# - All that other tokens learn about a window is its key and the value that goes with it. Past the last whole window no key sees anything; nothing lies past it where both sides are multiples of 32, or up to three pixels less.
#
# **Can you answer without scrolling up?**
#
# 1. Why may keys be fewer than queries, and why must there be as many values as keys?
# 2. The text says R = 16 for stage 2. What are the kernel and the stride of its convolution, and how many times fewer keys are there?
# 3. Why does the last stage reduce nothing?
# 4. A photograph of 1024×1024 instead of 512×512, r as published: by how much do the two products of attention grow?
# 5. A photograph is 500 × 300. How many tokens does stage 1 lose along the longer side, and what would you do?
#
# <details><summary>Answers</summary>
#
# 1. Each query makes one row of weights, whatever their number, and gets one answer. The weights are one for each key, and each multiplies a value.
# 2. Both are 4, since r = √R, and there are 16 times fewer keys.
# 3. Its tokens are {{stride_times_r}} pixels apart already, as far as the keys of the other stages. At 512×512 that makes as many keys as everywhere else.
# 4. Sixteen times: four times the queries, four times the keys.
# 5. `500 / 4 = 125` and `125 = 15·8 + 5`: five. Pad or resize the side to `512` (`509` would do).
#
# </details>
#
# > **Where paper, code and posts differ**
# >
# > - *R and r.* Text: 64, 16, 4, 1; Table 6 and released code: 8, 4, 2, 1 (arXiv:2105.15203, Section 3.1 and Table 6). Readers stumble on it: [SegFormer, issue 21](https://github.com/NVlabs/SegFormer/issues/21), [issue 125](https://github.com/NVlabs/SegFormer/issues/125).
# > - *O(N²/R).* With 1024×64 keys that become 16×64, R is 64 and r is 8. A reviewer asked whether it was not rather (N/R)² ([KerasCV, pull request 1946](https://github.com/keras-team/keras-cv/pull/1946)). No: only the keys become fewer, and the queries stay.
# > - *Which dimension the linear layer reduces.* The number of *tokens* falls; each keeps its C channels. A reader looked for the Reshape in the code and found none ([SegFormer, issue 148](https://github.com/NVlabs/SegFormer/issues/148)): it is in the stride of the convolution.
# > - *Reshape.* Taken literally, it merges pieces of rows. The code merges windows.
# > - *What is reduced.* Equation 2 (arXiv:2105.15203, eq. 2) speaks of K. The code reduces the map once, and makes keys and values from it; and there is a LayerNorm between, which the equation does not have.
# > - *The border.* The released model does not pad the reduction, and neither do we, or its weights would give other answers. KerasHub pads it ("same", in the file above): no token is lost there, and keys at the border are partly made of zeros.
# > - *Whose idea.* PVT's ([Wang and others 2021](https://arxiv.org/abs/2102.12122)), as the SegFormer paper itself says (Section 3.1).
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1, eq. 1 and 2, Table 6. W. Wang and others, *Pyramid Vision Transformer*, [arXiv:2102.12122](https://arxiv.org/abs/2102.12122), and *PVT v2*, [arXiv:2106.13797](https://arxiv.org/abs/2106.13797). Z. Liu and others, *Swin Transformer*,
# [arXiv:2103.14030](https://arxiv.org/abs/2103.14030). A. Katharopoulos and others, *Transformers are RNNs*, [arXiv:2006.16236](https://arxiv.org/abs/2006.16236). S. Wang and others, *Linformer*, [arXiv:2006.04768](https://arxiv.org/abs/2006.04768).
#
# **Next:** lesson 04. Attention with r = 1 does not know where a token is: shuffle the tokens, and it gives the same answers, shuffled. How SegFormer finds out without a position embedding.
