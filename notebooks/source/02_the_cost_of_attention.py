# %% [markdown]
# # Lesson 02 · What does attention cost?
#
# In lesson 01 a photograph became tokens. So far no token knows anything of the others: each has seen its own patch and a little overlap. Attention is how they come to talk. With many tokens it is also the most expensive
# thing in a transformer, and this lesson reads you the bill: in entries, in bytes, in seconds.
#
# **After this lesson you will be able to**
#
# - compute attention by hand, in matrix form, and in several heads, and check it against PyTorch's own;
# - say why the scores are divided by the square root of d, and what happens if they are not;
# - work out, for any image, how large the attention matrix is, and tell N from N²;
# - say what the fused kernel saves, and what it does not.
#
# **Time** 60 minutes, and 50 for the exercises. **You need** lesson 01, the product of two matrices, and the softmax (we go through it once more).

# %%
import math
import os
import time

os.environ["KINETO_LOG_LEVEL"] = "6"  # torch's profiler would write its log into the lesson

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segformer_edu import OverlapPatchEmbedding, plots
from segformer_edu.analysis.memory import peak_bytes
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.exercises import check, hint, solution
from segformer_edu.widgets import AttentionBill, progress

# %% [markdown]
# ## 1 · What does one token ask the others?
#
# Take four tokens of two numbers each, small enough for pencil and paper. The first number says how *grey* a patch is, the second how *orange*. Two of them come from the wall behind the astronaut,
# two from her suit.

# %%
names = ["wall", "shaded wall", "shaded suit", "suit"]
tokens = [[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]  # (grey, orange)

# %% [markdown]
# The first token asks: *who goes with me?* It holds its own numbers, its **query**, against the numbers of each token, their **keys**: multiply number by number, add up. That is the dot product, large where both
# are large in the same places.
#
# **Predict.** The query is `[2, 0]`. What are its four dot products?

# %%
prediction = ...  # four numbers

# %%
query = tokens[0]
scores = [query[0] * key[0] + query[1] * key[1] for key in tokens]
print(scores)

# %% [markdown]
# Scores can be any number. What we want is a *share of attention* for each token: positive, and one in all. So take e to the power of each score, and divide by the sum. This is the **softmax**.
# (The scores are divided by √2 first, the root of the tokens' width. Why that is so comes further on.)

# %%
powers = [math.exp(score / math.sqrt(2)) for score in scores]
weights = [power / sum(powers) for power in powers]
for name, weight in zip(names, weights, strict=True):
    print(f"{weight:.2f}  {name}")
print(f"{sum(weights):.2f}  in all")

# %% [markdown]
# Most of it goes to the token itself, some to its own kind, very little to the suit, but never nothing: no power of e is zero.
#
# Now the token *takes*: of every token's numbers, here called **values**, as much as its share says. Out comes its new self.

# %%
mixed = [sum(w * value[i] for w, value in zip(weights, tokens, strict=True)) for i in (0, 1)]
print([round(number, 2) for number in mixed])

# %% [markdown]
# Still mostly grey, with a hint of orange from the other side of the picture. That is the whole of attention: **compare, share out, mix**. A convolution would have reached as far as its kernel; this
# token has heard from everyone in one step.
#
# ## 2 · Who gives, and who gets?
#
# Let all four ask. Their weights make a matrix, a row for each query and a column for each key.
#
# **Predict.** Each row sums to one, by the way it was made. What about the columns?

# %%
prediction = ...  # "they do too", or "they do not"

# %%
x = torch.tensor(tokens)
matrix = (x @ x.T / math.sqrt(2)).softmax(dim=-1)
plots.show(
    plots.attention_matrix(matrix.numpy(), names, "Every row sums to one; the columns do not"),
    alt="A matrix of four queries by four keys. The diagonal blocks are bright: wall attends to "
    "wall, suit to suit. Beside each row stands its sum, 1.00 four times. Under the columns "
    "stand 1.41, 0.59, 0.59 and 1.41.",
)

# %% [markdown]
# *Look at the sums.* Every row is one: a query has one unit of attention, no more, and shares it out. The columns differ: a key may be looked at by many or by few. The strong tokens at both ends get more than
# the shaded ones between them. *Shaded wall* even gives twice as much to *wall* as to itself, because a dot product rewards two things: numbers that are large in the same places, and numbers that are large at all.
#
# The axis matters. `softmax(dim=-1)` runs along the keys; along the queries it would have made the columns sum to one, with no error and the very same shape. Exercise 02.2 knows that mistake.
#
# ## 3 · How is it written for any number of tokens?
#
# All dot products at once are one matrix product, q times k turned over. All mixtures at once are another. This is equation 1 of the paper (arXiv:2105.15203, eq. 1), and three lines of code.


# %%
def attention(q, k, v):  # (…, N, d) each
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (…, N, N)
    return scores.softmax(dim=-1) @ v  # (…, N, d)


# %% [markdown]
# **Check it**, first against your own hands, then against PyTorch's own attention on a hundred random tokens.

# %%
assert torch.allclose(attention(x, x, x)[0], torch.tensor(mixed))
generator = torch.Generator().manual_seed(0)
q, k, v = (torch.randn(1, 1, 100, 32, generator=generator) for _ in range(3))
assert torch.allclose(attention(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-6)
print("by hand, in matrix form, and in PyTorch: the same")

# %% [markdown]
# Now a real photograph. The patches are those of lesson 01, with random weights; we skip the learned query, key and value for a moment and let each token use its own numbers for all three. The LayerNorm at the end of the patches has made all tokens equally long, as vectors, so here the largest product is a token's with itself, and a large one means likeness.

# %%
photo = sample_photo("astronaut")
torch.manual_seed(0)
embed = OverlapPatchEmbedding(in_channels=3, embed_dim=32, patch_size=7, stride=4)


@torch.no_grad()
def photo_tokens(side):  # → (1, side, side, 32)
    pixels = F.interpolate(normalize(photo), size=(4 * side, 4 * side), mode="area")
    return embed(pixels)


# %%
x = photo_tokens(32).flatten(1, 2)  # (1, 1024, 32)
matrix = (x @ x.transpose(-2, -1) / math.sqrt(32)).softmax(dim=-1)[0]
rows, columns = matrix.sum(dim=1), matrix.sum(dim=0)
print("matrix", tuple(matrix.shape))
print(f"sums of the rows    {rows.min():.2f} to {rows.max():.2f}")
print(f"sums of the columns {columns.min():.2f} to {columns.max():.2f}")

# %% [markdown]
# Every one of the rows sums to one. And since a row has one weight for each token, and the tokens lie on a grid, **a row is a picture**: where one query looks.
#
# **Predict.** Which parts of the photograph will light up for a token of the orange suit? For one of the black visor?

# %%
prediction = ...  # in words

# %%
queries = {"suit": (21, 9), "visor": (27, 20), "wall": (7, 21)}
looks = [matrix[row * 32 + column].reshape(32, 32) for row, column in queries.values()]
plots.show(
    plots.attention_rows(
        photo,
        torch.stack(looks).numpy(),
        list(queries.values()),
        list(queries),
        "Three rows of the matrix: each query looks at what is like itself",
    ),
    alt="The photograph with three marked tokens, and for each a heat map of where it looks. The "
    "token on the suit looks at the suit, on both sides; the one on the visor at the visor and "
    "other dark parts; the one on the wall at the bright wall on both sides of her head.",
)

# %% [markdown]
# *Compare the maps with the photograph.* Nothing here is trained. Attention between raw tokens finds what looks alike, however far apart it lies. What training adds is the right to choose: three matrices, learned, make a query, a key and a value of each token, so that what a token
# *looks for* need not be what it *is*.
#
# ## 4 · Why several heads?
#
# A row has only one unit of attention to give. A token that wants to look at its own edge *and* at the other side of the picture has to split it. So the channels are dealt out to several **heads**, and each head computes an
# attention of its own, over d = C / heads channels.
#
# **Predict.** With 4 heads instead of 1, how many entries do the matrices have in all? And how many multiplications does it take to fill them?

# %%
prediction = ...  # for example ("as many", "four times as many")

# %%
N, C = 1024, 32
for heads in (1, 2, 4, 8):
    d = C // heads
    print(f"heads {heads}: {heads * N**2:>9,} entries, {heads * N**2 * d:,} multiply-adds")

# %% [markdown]
# The memory grows with the heads, the multiply-adds do not: every head has a full N×N matrix, but each of its entries is a sum of fewer products. ("Multiply-adds": one multiplication and the addition that goes with
# it.)
#
# ### Build it
#
# Four Linears, one for query, key, value, and one that mixes the heads' answers. Maps come in as `(B, H, W, C)`, as everywhere in this course.


# %% tags=["stage"]
class MultiHeadAttention(nn.Module):
    """Self-attention of every token with every other, in several heads."""

    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):  # (B, H, W, C)
        q, k, v = map(self.heads, (self.query(x), self.key(x), self.value(x)))
        mixed = attention(q, k, v)  # (B, heads, H·W, d)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def heads(self, x):  # (B, H, W, C) → (B, heads, H·W, d)
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


# %% [markdown]
# The one line to read twice is the last. `unflatten` splits C into (heads, d), and `transpose` moves the heads to the front. A single `reshape(B, heads, N, d)` would give the same shape and other
# numbers: it would cut the list of *tokens* into pieces, where we want to cut the *channels*.
#
# **Check it** against PyTorch's own class, weights copied over.

# %%
ours, theirs = MultiHeadAttention(32, 4), nn.MultiheadAttention(32, 4, batch_first=True)
with torch.no_grad():
    projections = ours.query, ours.key, ours.value
    theirs.in_proj_weight.copy_(torch.cat([each.weight for each in projections]))
    theirs.in_proj_bias.copy_(torch.cat([each.bias for each in projections]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    expected, _ = theirs(x, x, x)
    assert torch.allclose(ours(x.reshape(1, 32, 32, 32)).flatten(1, 2), expected, atol=1e-5)
print("the same as nn.MultiheadAttention")

# %% [markdown]
# And do heads see different things? Here is one query in four heads. As before each head uses the tokens' own numbers, eight channels of the thirty-two. (These pieces are not equally long, so a query may look most at a key that is longer than its own.)

# %%
h = ours.heads(x.reshape(1, 32, 32, 32))[0]  # (4, 1024, 8)
looks = (h @ h.transpose(-2, -1) / math.sqrt(8)).softmax(dim=-1)[:, 21 * 32 + 9]
plots.show(
    plots.attention_rows(
        photo,
        looks.reshape(4, 32, 32).numpy(),
        [queries["suit"]] * 4,
        [f"head {number}" for number in (1, 2, 3, 4)],
        "One query, four heads, four different looks",
    ),
    alt="The photograph with one token marked on the suit, and four heat maps. All four light up "
    "on the suit. Head 2 adds faint outlines elsewhere, and head 4 much of the bright wall.",
)

# %% [markdown]
# *Look for what all four share, and what only one has.* The filters of lesson 01 are random, so the heads differ by accident; in a trained model the differences are what training found useful. Lesson 09 will look at those.
#
# ## 5 · Why divide by √d?
#
# A score is a sum of d products. Suppose the numbers in q and k are independent, with mean 0 and variance 1. Each product then has variance 1 as well, and variances of independent terms add up: **the score has variance
# d**. It has a spread of √d, so dividing by √d brings it back to 1. (This is the argument of the first transformer paper, arXiv:1706.03762, Section 3.2.1.)
#
# **Predict.** What does a softmax over scores do when their spread grows? Will it share more evenly, or less?
#
# To measure that we count the keys that a query looks at, by the *entropy* of its weights, −Σ w log w. It is 0 when one key has all the weight, and log n when n keys share it evenly, so e to the entropy is a number of keys.

# %%
prediction = ...  # "more" or "less"


# %%
def effective_keys(scores):
    """How many keys a query looks at: e to the entropy of its weights, on average."""
    return torch.distributions.Categorical(logits=scores).entropy().exp().mean().item()


def sensitivity(scores):
    """How far the weights give way when scores are nudged: the sum of w (1 − w)."""
    weights = scores.softmax(dim=-1)
    return (weights * (1 - weights)).sum(dim=-1).mean().item()


# %%
widths = (4, 16, 64, 256)
raw = {}
for d in widths:
    q, k = torch.randn(2, 256, d, generator=generator)
    raw[d] = q @ k.T  # 256 queries, 256 keys
    print(f"d = {d:>3}: variance {raw[d].var():>5.0f}, divided by √d {raw[d].var() / d:.1f}")

# %% [markdown]
# The variance is d, as it should be. Now see what the softmax makes of it.

# %%
measures = {
    "variance of the scores": torch.var,
    "keys that a query looks at, of 256": effective_keys,
    "sum of w (1 − w)": sensitivity,
}
panels = {
    label: {
        "q kᵀ": (widths, [float(measure(raw[d])) for d in widths]),
        "q kᵀ / √d": (widths, [float(measure(raw[d] / math.sqrt(d))) for d in widths]),
    }
    for label, measure in measures.items()
}
plots.show(
    plots.growth(
        panels,
        "width of a head, d",
        {d: str(d) for d in widths},
        "Without √d, a wide head looks at one key or two, and gives way little",
    ),
    alt="Three panels over the width of a head, 4 to 256. Without the division the variance of "
    "the scores climbs as d does, the number of keys that a query looks at falls from about "
    "eighty to fewer than two, and the sum of w (1 − w) falls from almost 1 to less than 0.2. "
    "Divided by √d all three stay level.",
)

# %% [markdown]
# *Follow the solid lines to the right.* Undivided, a query of a wide head looks at hardly more than one key of them all: the softmax has become a hard choice. The third panel says how far the weights still give way. The derivative of a weight by its own score is w (1 − w): zero when w is 0, and zero when w is 1.
#
# You may read that such a head gets no gradient; the first transformer paper suspects "extremely small gradients" of the softmax (arXiv:1706.03762, Section 3.2.1). Measure that as well. Give the answers of heads with d = 256 a random push: how long is the gradient that arrives at a query, and through how many keys has it come?
#
# **Predict.** Without the division, is the gradient at a query shorter, or longer?

# %%
prediction = ...  # "shorter" or "longer"

# %%
push, v = torch.randn(2, 256, 256, generator=generator)  # q and k are still those of d = 256
for name, root in (("q kᵀ", 1), ("q kᵀ / √d", math.sqrt(256))):
    queries = q.clone().requires_grad_()
    scores = queries @ k.T / root
    scores.retain_grad()
    ((scores.softmax(dim=-1) @ v) * push).sum().backward()
    length = queries.grad.norm(dim=-1).mean()
    keys = effective_keys(scores.grad.abs().log())
    print(f"{name:<9}  length {length:>2.0f}, through {keys:>3.0f} of 256 keys")

# %% [markdown]
# It is *longer*: undivided, a score is √d times as steep in q. But it comes through a few keys only, those that the query looks at as it is; divided, it comes through nearly half of them.
# **What a query does not look at, it hardly learns to look at.** Divided by √d, a head of any width starts out undecided, and hears from all sides.
#
# An honest limit: the argument is about independent numbers of variance 1. Nothing keeps them so once training has begun. It sets the scale at the start, and that is what the division is for.
#
# ## 6 · How large is the matrix?
#
# Now the bill. Stage 1 of SegFormer cuts the image into a map a quarter as high and a quarter as wide. Suppose each of its tokens asks every other.
#
# **Predict.** A photograph of 512×512 makes 128×128 tokens. How many entries has the matrix of one head? How many bytes, in float32?

# %%
prediction = ...  # two numbers

# %%
print("  image      tokens N      entries N²   float32")
for side in (32, 48, 64, 96, 128):
    N = side**2
    print(f"{4 * side:>4} px  {side:>3}² = {N:>6,}  {N**2:>14,}  {4 * N**2 / 2**20:>5,.0f} MiB")

# %% [markdown]
# {{attention_entries_stage1}} entries, a whole GiB, for *one* head of *one* layer of *one* photograph. Twice the side is four times the tokens and sixteen times the entries: **the matrix grows with the fourth power of the side**.
#
# ### What a well-known post says
#
# You may have read that an image of 512×512 needs "262,144 computations for ONE attention map", one of 1024×1024 "more than one million", and that there are usually 768 such maps, 728 in an earlier version ([*An Efficient Transformer Encoder from Scratch*](https://danielhoshizaki.com/2022/10/15/vision-transformers.html)).
# Let us count, with every pixel a token, as that sentence has it.

# %%
for side in (8, 512, 1024):
    N = side**2
    print(f"{side:>4}²: N = {N:>9,}   N² = {N**2:>17,}   {4 * N**2 / 2**30:>10,.3f} GiB")
x8 = photo_tokens(8).flatten(1, 2)
print("the matrix of 8² tokens, counted:", f"{(x8 @ x8.transpose(-2, -1)).numel():,}")

# %% [markdown]
# The post's numbers are the numbers of **pixels, N**. The map has **N²** entries: {{attention_entries_512_pixels}} for 512×512, and {{attention_entries_1024_pixels}} for 1024×1024. For 512×512 the true bill is {{attention_pixels_512}} times the one in the post; its conclusion, that full
# attention does not scale, is right, and by far more than it says.
#
# And the maps: there is one for each head of each layer. ViT-Base has 12 layers of 12 heads ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929), Table 1), so 144. (In the same row of that table stands 768, the number of *channels* of a token. The heads share those out; they do not multiply the maps.) For 512×512 in patches of 16×16, and one token more that ViT adds for the class, the maps come to:

# %%
layers, heads, N = 12, 12, (512 // 16) ** 2 + 1  # ViT-Base
size = 4 * layers * heads * N**2 / 2**20
print(f"{layers * heads} maps of {N:,}² entries: {size:.0f} MiB in float32")

# %% [markdown]
# ### Is the matrix all there is to pay?
#
# No: the four Linears cost something too. With N tokens of C channels they take 4·N·C² multiply-adds, and the two products with the matrix 2·N²·C. PyTorch can count for us (it counts a multiplication and an addition as two).

# %%
N, C = 1024, 32
with torch.no_grad(), FlopCounterMode(display=False) as counter:
    ours(x.reshape(1, 32, 32, C))
assert counter.get_total_flops() == 2 * (4 * N * C**2 + 2 * N**2 * C)
print(f"Linears {4 * N * C**2:>11,}\nmatrix  {2 * N**2 * C:>11,}")

# %% [markdown]
# The two are equal when N is twice C. Language models with short texts and wide layers can live below that. A segmentation model cannot: it needs many tokens, to know *where* an edge is. In stage 1 of B0 at 512×512, with {{stage_1_tokens}} tokens of 32 channels, the matrix takes {{attention_matrix_over_linears}} times the
# arithmetic of the Linears.
#
# ## 7 · How long does it take?
#
# Counting is not timing. Processors have caches, memory has a speed, and either may spoil a neat law. So measure: the processor's own seconds, on one thread, the best of three runs. What other programs do meanwhile then hardly counts.

# %%
torch.set_num_threads(1)


def seconds(function, *arguments):
    times = []
    for _ in range(3):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times)


# %% [markdown]
# If the time is a constant times N to some power, then its logarithm over the logarithm of N is a straight line, and its slope is that power. So fit a line.


# %%
def fitted_exponent(tokens, values):
    return np.polyfit(np.log(tokens), np.log(values), 1)[0]


# %% [markdown]
# **Predict.** What will the slope be? And do you expect every point to lie on the line?

# %%
prediction = ...  # a number, and yes or no

# %%
sides = (32, 48, 64, 96)
inputs = {side**2: photo_tokens(side).flatten(1, 2) for side in (*sides, 128)}
small = [side**2 for side in sides]
explicit = [seconds(attention, inputs[N], inputs[N], inputs[N]) for N in small]
law = [explicit[-1] * (N / small[-1]) ** 2 for N in small]

# %%
plots.show(
    plots.growth(
        {
            "processor seconds": {
                "measured": (small, explicit),
                "N², through the last": (small, law),
            }
        },
        "tokens N",
        {side**2: f"{side}² = {side**2:,}" for side in sides},
        f"Seconds grow like N to the power {fitted_exponent(small, explicit):.2f}",
    ),
    alt="The seconds that attention takes, over the number of tokens from 32² to 96², on two "
    "logarithmic axes. The points climb steeply, near a straight line of slope two that is "
    "drawn through the last of them. The slope fitted on the machine that made the picture "
    "stands in the title.",
)

# %% [markdown]
# *The power in the title was measured on the machine that made this picture; run the cells and see yours.* Arithmetic says 2. Here it came out higher, with the small sizes below the law: a small matrix stays in the processor's cache and in memory that the program has at hand, and a large one has to be asked of the
# operating system afresh, page by page. How much of the time is that?

# %% tags=["nbval-ignore-output"]
N = 96**2
before = os.times()
attention(inputs[N], inputs[N], inputs[N])
after = os.times()
system = after.system - before.system
print(f"{system / (system + after.user - before.user):.0%} of it is spent in the operating system")

# %% [markdown]
# N² is the law of the arithmetic. What you pay on top is for memory.
#
# Why stop at 96²? Because of the other bill. This course promises to run in two gigabytes, and we have not yet asked how many *copies* of the matrix the three lines make. torch's profiler writes down every allocation and every release. The largest of their running sums is the *peak*, and `peak_bytes` finds it.
#
# **Predict.** The matrix of 64² tokens takes {{attention_mib_64}} MiB. What will the peak be?

# %%
prediction = ...  # MiB

# %%
N = 64**2
peak = peak_bytes(attention, inputs[N], inputs[N], inputs[N])
print(f"matrix {4 * N**2 / 2**20:.0f} MiB, peak {peak / (4 * N**2):.1f} times that")

# %% [markdown]
# Twice the matrix: the scores are still there while their softmax is being written. At 128×128 tokens that would be two GiB, more than we have promised to use. So the explicit form ends here, and the next question asks itself.
#
# ## 8 · Do we have to store it?
#
# The matrix is made, used once, and thrown away. And no row needs any other: a query's softmax runs over its own scores. So take the queries a band at a time.


# %%
def attention_in_bands(q, k, v, rows=512):
    return torch.cat([attention(band, k, v) for band in q.split(rows, dim=-2)], dim=-2)


N = 64**2
exact = attention(inputs[N], inputs[N], inputs[N])
assert torch.allclose(attention_in_bands(inputs[N], inputs[N], inputs[N]), exact, atol=1e-5)
print("in bands of 512 queries: the same answer")

# %% [markdown]
# Now the scores of 512 queries exist at one time, and never all N×N. A **fused kernel** goes further: it takes the keys in blocks as well, keeps a running sum for the softmax, and holds blocks so small that they stay in the cache. How a softmax can be computed in pieces is exercise 02.6; the idea is from
# [Milakov and Gimelshein 2018](https://arxiv.org/abs/1805.02867), the kernel that made it known is [FlashAttention](https://arxiv.org/abs/2205.14135). In PyTorch it is `F.scaled_dot_product_attention`, with which you checked your work.
#
# **Predict.** Which law of growth does the fused kernel change: that of the time, or that of the memory?

# %%
prediction = ...  # "time", "memory", "both" or "neither"


# %%
def fused(q, k, v):  # the kernel wants (B, heads, N, d)
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


assert torch.allclose(fused(inputs[N], inputs[N], inputs[N]), exact, atol=1e-5)
print("fused: the same answer")

# %%
forms = {"explicit": (attention, small)}
forms |= {"in bands": (attention_in_bands, list(inputs)), "fused": (fused, list(inputs))}
time_and_memory = {"processor seconds": {}, "peak memory, MiB": {}}
for name, (form, counts) in progress(forms.items(), "ways to compute attention"):
    if form is attention:
        took = explicit  # as measured in section 7
    else:
        took = [seconds(form, inputs[N], inputs[N], inputs[N]) for N in counts]
    held = [peak_bytes(form, inputs[N], inputs[N], inputs[N]) / 2**20 for N in counts]
    for panel, values in zip(time_and_memory.values(), (took, held), strict=True):
        panel[f"{name}: N to the {fitted_exponent(counts, values):.1f}"] = (counts, values)

# %%
plots.show(
    plots.growth(
        time_and_memory,
        "tokens N",
        {N: f"{math.isqrt(N)}²" for N in inputs},
        "The fused kernel saves the memory; the multiply-adds are the same",
    ),
    alt="Two panels over 32² to 128² tokens, on logarithmic axes. Left, seconds: three steep "
    "lines, of slopes about two and more, the fused kernel's the lowest. Right, peak memory: the "
    "explicit form climbs with slope two, in bands with slope one, and the fused kernel's line "
    "lies far below both, nearly flat at first, and climbs least.",
)

# %% [markdown]
# *Right: memory.* The explicit form holds two N×N matrices, so its memory grows as N². In bands it grows as N. The fused kernel needs its output, which grows as N too, and a workspace that hardly depends on N; as long as the workspace is the larger part, the line is nearly flat, and then it bends upwards.
#
# *Left: time.* The fused kernel's line is the lowest, but look at its slope. The kernel does all 2·N²·C multiply-adds: it avoids storing the scores, not computing them. **Twice the side of the image still takes about sixteen times as long.** So for memory, the bill can be paid by a better kernel. For time, something has to
# give: fewer tokens, or fewer keys.

# %%
N = 128**2
saved = 2 * 4 * N**2 / peak_bytes(fused, inputs[N], inputs[N], inputs[N])
assert saved > 100
print("at 128² tokens the fused kernel needs less than a hundredth of the explicit form's memory")

# %% [markdown]
# ## Play
#
# Image, patch size and heads make the bill; the black line is memory. When you run the cell, the memory slider starts at the step nearest to the memory of *your* machine (the picture you see before that has a nominal {{bill_nominal_memory}} GiB). Heads are 64 channels wide
# here, as in ViT-Base and in SegFormer B1 to B5. All sliders answer to the arrow keys.

# %%
AttentionBill()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# With {{bill_nominal_memory}} GiB, patches of 4 and one head, the largest of these images has a side of {{bill_largest_side}}.
#
# Twice the side: four times the tokens, sixteen times the matrix. Twice the patch size brings back the old bill exactly, because only side / patch counts. That is the way ViT went, with patches of 16×16: cheap, and too coarse to follow an edge. Lesson 03 shows the other way.
#
# </details>
#
# ## Break it
#
# Here is a bug that real libraries had. One was used by many; it stood there until a reader asked ([vit-pytorch, issue 65](https://github.com/lucidrains/vit-pytorch/issues/65)). The same slip was in the code of a well-known teaching video ([ng-video-lecture, pull request 6](https://github.com/karpathy/ng-video-lecture/pull/6)).
# All shapes are right, every row sums to one, the model trains. Can you see it?


# %%
def scores_with_a_bug(q, k, num_heads):  # (B, heads, N, d)
    dim = num_heads * q.shape[-1]
    return q @ k.transpose(-2, -1) * dim**-0.5


# %% [markdown]
# Look for it with the instrument from above: queries and keys of variance 1, the variance of the scores, and the number of keys that a query looks at.

# %%
for heads in (1, 2, 4, 8):
    q, k = torch.randn(2, 1, heads, 256, 64, generator=generator)
    scores = scores_with_a_bug(q, k, heads)
    looked = effective_keys(scores)
    print(f"heads {heads}: variance {scores.var():.2f}, looks at {looked:.0f} of 256 keys")

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# The scores are divided by √C, the width of the *whole* token, and a head is only d = C / heads wide. The variance of the scores is 1 / heads instead of 1, and attention gets flatter the more heads there are.
#
# With one head there is no difference at all: a test with one head passes. And since the learned query can grow by √heads and make up for it, the model trains and only starts from a flatter place. It is when you load weights that were trained *without* the bug that the answers are
# wrong, and nothing says so. Test with more than one head, and against something that you did not write.
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("02.1")` gives a hint, and another one each time you ask; `solution("02.1")` the answer.
#
# ### Exercise 02.1 ★ 4 minutes · Count the entries
#
# A function that gives the number of entries in the attention matrices of *one layer*, for any image that the patches divide.


# %%
def entries(height, width, patch, heads):
    return ...


check("02.1", entries)

# %% [markdown]
# ### Exercise 02.2 ★ 6 minutes · Attention in matrix form
#
# For one head and one image: q, k and v are `(N, d)`. Write it without looking up, and without PyTorch's own.


# %%
def attend(q, k, v):
    return ...


check("02.2", attend)

# %% [markdown]
# ### Exercise 02.3 ★★ 10 minutes · Attention in several heads
#
# q, k and v are `(B, N, C)`, and so is the answer. Head 1 has the first C / num_heads channels, and so on.


# %%
def multi_head(q, k, v, num_heads):
    return ...


check("02.3", multi_head)

# %% [markdown]
# ### Exercise 02.4 ★★ 8 minutes · The largest image that fits
#
# So many GiB are free, and the matrices of one layer have to fit, in float32, counted once. How many pixels may a square image have on a side? The answer is a whole number of patches.


# %%
def largest_side(gibibytes, patch, heads):
    return ...


check("02.4", largest_side)

# %% [markdown]
# ### Exercise 02.5 ★★ 8 minutes · Leave out the padding
#
# To put photographs of different sizes into one batch, the small ones are padded, and some tokens mean nothing. Nobody should look at them. q, k and v are `(N, d)`; `padded` is `(N,)`, True where a token is padding. Each query still gives out a weight of one, all of it to real tokens. (What the rows of the
# padded queries hold nobody will read; let them look at the real tokens as well.)


# %%
def attend_masked(q, k, v, padded):
    return ...


check("02.5", attend_masked)

# %% [markdown]
# ### Exercise 02.6 ★★★ 15 minutes · Softmax, half by half
#
# The keys come in two halves. For each you are given what attention over *that half alone* gives, `(N, d)`, and the logarithm of the sum of its powers, `scores.logsumexp(dim=-1, keepdim=True)`, `(N, 1)`. Put them together to attention over *all* keys. Scores may be large, in the
# hundreds.


# %%
def merge(first, first_total, second, second_total):
    return ...


check("02.6", merge)

# %% [markdown]
# ## Recap
#
# - Attention is compare, share out, mix: softmax(q kᵀ / √d) v. Every row of the softmax sums to one.
# - Heads share out the channels, not the tokens. Each has an N×N matrix; the multiply-adds in all stay the same.
# - A sum of d products has variance d. Dividing by √d keeps the softmax from making up its mind before it has learned anything.
# - N tokens make N² entries, and N itself grows with the square of the image's side.
# - The fused kernel gives the same answer without storing the matrix. It does not do less arithmetic.
#
# **Can you answer without scrolling up?**
#
# 1. Which sums are one, those of the rows or those of the columns, and which axis does the softmax run over?
# 2. An image becomes twice as wide and twice as high. By how much do tokens, matrix, and the time of the fused kernel grow?
# 3. Eight heads instead of one: what happens to the entries, and what to the multiply-adds?
# 4. What do undivided scores make of a wide head, and what does it then hardly learn?
# 5. What does the fused kernel save, and what not?
#
# <details><summary>Answers</summary>
#
# 1. The rows: each query shares out a weight of one among the keys, so the softmax runs over the keys, the last axis.
# 2. Four times the tokens, sixteen times the matrix, about sixteen times the time.
# 3. Eight times the entries; as many multiply-adds.
# 4. Their variance is d. The softmax over them is nearly a hard choice, and a gradient comes through the few keys that a query looks at already: it hardly learns to look at others.
# 5. The memory of the matrix. Every score is still computed.
#
# </details>
#
# > **Where paper, code and posts differ**
# >
# > - *N or N².* The post of section 6 counts the pixels of the image and calls it the cost of a map; the map has the square of that. It speaks of 768 or 728 maps; there is one for each head of each layer, 144 in ViT-Base ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929), Table 1).
# > - *Which d.* The paper writes √d_head (arXiv:2105.15203, eq. 1); code has had √C, as you saw. They agree with one head only.
# > - *How wide is a head?* The sentence before that equation gives q, k and v of each head N × C numbers (arXiv:2105.15203, Section 3.1). In code a head has C / heads channels.
# > - *"FlashAttention makes attention linear."* Its memory, yes; its arithmetic is that of plain attention ([Dao and others 2022](https://arxiv.org/abs/2205.14135), Section 3.1).
# > - *Which axis is the batch.* `nn.MultiheadAttention` takes `(N, B, C)` unless you say `batch_first=True`. Hand it `(B, N, C)` without, and the images of a batch attend to one another, token by token; nothing complains.
# > - *What is N² when people say "attention is O(N²)"?* In papers on language N is the number of tokens in a text; in those on images it is height times width (arXiv:2105.15203, Section 3.1), and so O(N²) is the fourth power of a side.
#
# **References.** A. Vaswani and others, *Attention Is All You Need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762), Section 3.2. E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1 and eq. 1. A. Dosovitskiy and others, *An Image is Worth 16×16 Words*, [arXiv:2010.11929](https://arxiv.org/abs/2010.11929).
# T. Dao and others, *FlashAttention*, [arXiv:2205.14135](https://arxiv.org/abs/2205.14135). M. Milakov and N. Gimelshein, *Online normalizer calculation for softmax*, [arXiv:1805.02867](https://arxiv.org/abs/1805.02867).
#
# **Next:** lesson 03, where the keys become fewer and the queries stay.
