# %% [markdown]
# # Lesson 02 · What does attention cost?
#
# In lesson 01 a photograph became tokens, each of which has seen only its own patch. Attention lets them exchange what they know. With many tokens it is also the most expensive
# part of a transformer, so this lesson builds it and then reads you the bill in entries, bytes and seconds.
#
# **After this lesson you will be able to**
#
# - compute attention by hand, in matrix form, and in several heads, and check it against PyTorch's own;
# - say why the scores are divided by the square root of d, and what happens if they are not;
# - work out, for any image, how large the attention matrix is, and tell N from N²;
# - say what the fused kernel saves, and what it does not.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. **You need** lesson 01, the product of two matrices, and the softmax (we go through it once more).

# %%
import math
import os

os.environ["KINETO_LOG_LEVEL"] = "6"  # torch's profiler would write its log into the lesson

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segformer_edu import OverlapPatchEmbedding, SegFormer, plots
from segformer_edu.analysis.branches import without_branches
from segformer_edu.analysis.growth import attention_costs, measured
from segformer_edu.analysis.lamps import ball_looks, middles, rightly_labelled_balls, shares_on_lamp
from segformer_edu.analysis.memory import peak_bytes
from segformer_edu.analysis.torch_twin import copy_attention
from segformer_edu.data.lamps import Lamps
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.widgets import AttentionBill, progress

# %% [markdown]
# ## 1 · What does one token ask the others?
#
# We begin with four tokens of two numbers each. The first number says how much *grey* light comes from a patch, the second how much *orange*. Two of the tokens come from the wall behind the astronaut,
# and two from her suit.

# %%
names = ["wall", "shaded wall", "shaded suit", "suit"]
tokens = [[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]  # (grey, orange)

# %% [markdown]
# The first token asks which of the others are like it. To find out, it holds its own numbers, its **query**, against the numbers of each token, their **keys**. It multiplies number by number and adds up. This is the dot product, and it is large where both
# are large in the same places.
#
# **Predict.** The query is `[2, 0]`. What are its four dot products?

# %%
prediction = ...  # four numbers, for example [1.0, 1.0, 1.0, 1.0]

# %%
query = tokens[0]
scores = [query[0] * key[0] + query[1] * key[1] for key in tokens]
print(scores)
compare(prediction, scores)

# %% [markdown]
# Scores can be any numbers, but we want the *share of its attention* that the token gives to each of the others. Shares are positive and add up to one. One way is to take e to the power of each score and divide by the sum, which is called the **softmax**.

# %%
powers = [math.exp(score / math.sqrt(2)) for score in scores]  # √2: section 5 says why
weights = [power / sum(powers) for power in powers]
for name, weight in zip(names, weights, strict=True):
    print(f"{weight:.2f}  {name}")
print(f"{sum(weights):.2f}  in all")

# %% [markdown]
# Most of it goes to the token itself, some to its own kind, and very little to the suit. By this formula no share is zero, because no power of e is. (A computer rounds the smallest to zero.)
#
# Now the token *takes* as much of every token's numbers as its share says. In this role the numbers are called **values**. Their mixture is what the token becomes.

# %%
mixed = [sum(w * value[i] for w, value in zip(weights, tokens, strict=True)) for i in (0, 1)]
print([round(number, 2) for number in mixed])

# %% [markdown]
# The token is still mostly grey, with a hint of orange from the other side of the picture. This is the whole of attention: **compare, share out, mix**. A convolution reaches only as far as its kernel, but this
# token has heard from every other in one step.
#
# ## 2 · Who gives, and who gets?
#
# Now we let all four tokens ask. Their weights make a matrix with a row for each query and a column for each key. Each row sums to one, because it was made that way. Do you think that the columns do, too?

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
# *Look at the sums.* A query has one unit of attention to share out. The columns differ, because many may look at a key, or few. The strong tokens at both ends get more than
# the shaded ones between them. *Shaded wall* even gives twice as much to *wall* as to itself, because a dot product rewards two things: numbers that are large in the same places, and numbers that are large at all.
#
# The axis of the softmax matters. `softmax(dim=-1)` runs along the keys. Along the queries it would make the columns sum to one, with no error and the same shape. In [one report](https://github.com/labmlai/annotated_deep_learning_paper_implementations/issues/146) a model with that slip did as well as a right one, so look at the sums of the rows, not at the loss alone.
#
# ## 3 · How is it written for any number of tokens?
#
# All dot products at once are one matrix product, q times k transposed, and all mixtures at once are another. That is equation 1 of the paper (arXiv:2105.15203), and it takes two lines of code.


# %%
def attention(q, k, v):  # (…, N, d) each
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (…, N, N)
    return scores.softmax(dim=-1) @ v  # (…, N, d)


# %% [markdown]
# **Check it** against your own hands first, and then against PyTorch's own attention on a hundred random tokens.

# %%
assert torch.allclose(attention(x, x, x)[0], torch.tensor(mixed))
generator = torch.Generator().manual_seed(0)
q, k, v = (torch.randn(1, 1, 100, 32, generator=generator) for _ in range(3))
assert torch.allclose(attention(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-6)
print("by hand, in matrix form, and in PyTorch: the same")

# %% [markdown]
# Now we try it on a real photograph, shrunk to 128×128 pixels so that there are 32×32 tokens. The patches are those of lesson 01, with random weights, and each token uses its own numbers as query, key and value. The LayerNorm of the patches has made all tokens equally long, as vectors, so here a large product means that two tokens are alike. (Their patches need not be: white and light grey make nearly the same token.)

# %%
photo = sample_photo("astronaut")
torch.manual_seed(0)
embed = OverlapPatchEmbedding(in_channels=3, embed_dim=32, patch_size=7, stride=4)


@torch.no_grad()
def photo_tokens(side):  # → (1, side · side, 32)
    pixels = F.interpolate(normalize(photo), size=(4 * side, 4 * side), mode="area")
    return embed(pixels).flatten(1, 2)


x = photo_tokens(32)  # (1, 1024, 32)
matrix = (x @ x.transpose(-2, -1) / math.sqrt(32)).softmax(dim=-1)[0]
print("matrix", tuple(matrix.shape))

# %% [markdown]
# A row has one weight for each token, and the tokens lie on a grid, so **a row is a picture** of where one query looks. Guess first which parts will light up for a token of the orange suit, and which for one of the black visor.

# %%
queries = {"suit": (21, 9), "visor": (27, 20), "wall": (7, 21)}  # row, column
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
    "other dark parts; the one on the wall at the bright wall on both sides of her head, "
    "less at its topmost row, and at some of her face and hair.",
)

# %% [markdown]
# *Compare the maps with the photograph* (each has its own scale). Nothing here is trained. Even so, here a token finds much of what looks like it, however far apart it lies. (The wall's topmost row gets less, because its patches reach into the padding.) What training adds is a choice. Three learned matrices make a query, a key and a value of each token, so that what a token
# *looks for* need not be what it *is*.
#
# ## 4 · Why several heads?
#
# A row has only one unit of attention to give. So a token that wants to look at its own edge *and* at the other side of the picture has to split it. That is why the channels are dealt out to several **heads**. Each head computes an
# attention of its own, of width d = C / heads.
#
# **Predict.** With 4 heads instead of 1, how many times as many entries do the matrices have in all, and how many times as many multiply-adds (a multiplication and the addition that goes with it) does it take to fill them?

# %%
prediction = ...  # (entries, multiply-adds), for example (2, 2)

# %%
N, C = 1024, 32
entries = {heads: heads * N**2 for heads in (1, 2, 4, 8)}
products = {heads: entries[heads] * (C // heads) for heads in entries}
for heads in entries:
    print(f"heads {heads}: {entries[heads]:>9,} entries, {products[heads]:,} multiply-adds")
compare(prediction, (entries[4] // entries[1], products[4] // products[1]))

# %% [markdown]
# The memory grows with the heads, because every head has a full N×N matrix. The multiply-adds do not grow, because each entry is a sum of fewer products. (More heads still take more time, for more divisions and powers of e.)
#
# ### Build it
#
# We need four Linears, one each for query, key and value, and one that mixes the heads' answers. Maps come in as `(B, H, W, C)`.


# %% tags=["stage"]
class MultiHeadAttention(nn.Module):
    """Self-attention of every token with every other, in several heads."""

    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, x):  # (B, H, W, C)
        q, k, v = self.query(x), self.key(x), self.value(x)
        mixed = attention(self.heads(q), self.heads(k), self.heads(v))  # (B, heads, H·W, d)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def heads(self, x):  # (B, H, W, C) → (B, heads, H·W, d)
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


# %% [markdown]
# In `heads`, `unflatten` splits C into (heads, d), and `transpose` moves the heads to the front. A single `reshape(B, heads, N, d)` would give the same shape and other
# numbers, because it would cut the list of *tokens* into pieces, where we want to cut the *channels*. The last line of `forward` goes back: `transpose`, then `reshape`.
#
# **Check it** against PyTorch's own class, with the weights copied over.

# %%
ours, theirs = MultiHeadAttention(32, 4), nn.MultiheadAttention(32, 4, batch_first=True)
copy_attention(theirs, ours.query, ours.key, ours.value, ours.output)
expected, _ = theirs(x, x, x)
assert torch.allclose(ours(x.reshape(1, 32, 32, 32)).flatten(1, 2), expected, atol=1e-5)
print("the same as nn.MultiheadAttention")

# %% [markdown]
# ### What does trained attention look at?
#
# Nothing was trained so far. Now we take a task in which attention decides. In a strip of night, a lamp at one end is red or green, and the grey balls at the other end have to get the class of the lamp. They are at least {{lamp_distance}} pixels away from it, and the convolutions of our model, a small SegFormer, reach less far. So what it knows of the lamp must have come through attention. We measure where the balls' queries look in its second stage, and what it says when that attention is silenced. (Here a key stands for 16×16 pixels. Lesson 03 says how.)

# %%
model = SegFormer.from_pretrained("lamps").eval()
strips = Lamps(100, seed=2026)  # none of them was used in training
silenced = without_branches(model, [(1, 0, "attention")])  # counted from 0: of stage 2
for name, each in {"as trained": model, "stage 2 silenced": silenced}.items():
    print(f"{rightly_labelled_balls(each, strips):>4.0%} of the balls' pixels are right, {name}")
for colour, (share, even) in shares_on_lamp(model, strips, stage=1).items():
    print(f"{colour} lamp: {share:.0%} of a ball's attention, where an even share is {even:.0%}")

# %%
shown = (5, 0)  # which strips: one with a red lamp, one with a green
plots.show(
    plots.attention_grid(
        [strips.draw(index)[0] for index in shown],
        [ball_looks(model, strips, index, stage=1)[0].numpy() for index in shown],
        [middles(strips.discs(index)[1:])[0] for index in shown],
        ["stage 2, head 1", "stage 2, head 2"],
        "The ball's query looks at a red lamp, and takes no notice of a green one",
    ),
    alt="Two strips of night, each with a lamp at one end and a marked ball near the other, and "
    "for each the weights of two heads. In the first, the lamp is red, and in both heads its key "
    "has nearly all the weight. In the second, it is green, and all keys are dark.",
)

# %% [markdown]
# *Compare the rows.* At a red lamp the ball's query looks across the whole strip, in both heads. From a green one it takes less than an even share. So how does it know green? This model has learned to ask for red, and says green where it finds none. When we paint red lamps over with night, {{green_without_a_lamp}} of the balls' pixels become green. So a flat map can decide as much as a bright one. Without the attention of stage 2 the model finds no red, and calls all balls green. (Without that of stage 4 it calls nearly all of them red, although no colour passes there, as lesson 09 shows. That of stages 1 and 3 it does not need.)
#
# ## 5 · Why divide by √d?
#
# We have divided every score by √d without a reason. A score is a sum of d products. Suppose the numbers in q and k are independent, with mean 0 and variance 1. Then each product has variance 1 as well. Variances of independent terms add up, so **the score has variance
# d**, which is a spread of √d, and dividing by √d brings it back to 1. (This is the argument of the first transformer paper, arXiv:1706.03762, Section 3.2.1.)
#
# What does a larger spread do to the softmax? To measure that, we count the keys that a query looks at. The *entropy* of its weights, −Σ w log w, is 0 when one key has all the weight, and log n when n keys share it evenly. So e to the entropy is a number of keys.
#
# **Predict.** Take heads of width `d = 256`, `256` keys, and no division. At how many of the keys does a query look?

# %%
prediction = ...  # a number of keys, for example 100


# %%
def effective_keys(weights):
    """How many keys a query looks at: e to the entropy of its weights, on average."""
    return torch.special.entr(weights).sum(dim=-1).exp().mean().item()  # entr(w) = −w log w


raw, divided = {}, {}  # width → the scores of 256 queries with 256 keys
for d in (4, 16, 64, 256):
    q, k = torch.randn(2, 256, d, generator=generator)
    raw[d] = q @ k.T
    divided[d] = raw[d] / math.sqrt(d)

# %%
measures = {
    "variance of the scores": torch.var,
    "keys looked at, of 256": lambda scores: effective_keys(scores.softmax(dim=-1)),
}
plots.show(
    plots.growth(
        measured(measures, {"q kᵀ": raw, "q kᵀ / √d": divided}),  # a panel for each measure
        "width of a head, d",
        {d: str(d) for d in raw},
        "With q, k of variance 1 and no √d, a query at d = 256 looks at one key or two",
    ),
    alt="Two panels over the width of a head, 4 to 256. Without the division the variance of "
    "the scores climbs as d does, and the number of keys that a query looks at falls from about "
    "eighty to fewer than two. Divided by √d both stay level.",
)
compare(prediction, round(effective_keys(raw[256].softmax(dim=-1)), 1))

# %% [markdown]
# *Follow the solid lines to the right.* The variance is d, as the argument says. And without the division, a query of the widest head looks at one key or two, so the softmax has become a hard choice. Divided by √d, queries of all four widths look at over half the keys.
#
# The argument has a limit. It is about independent numbers of variance 1. Those of a fresh SegFormer are smaller (undivided, B0's scores have variances under one half), and training moves them. So the division fixes no scale, but it keeps d out of it, as long as the numbers are independent. (In section 3, where q = k, they are not, and d comes back.)
#
# ### Through how many keys does a gradient come? · *further*
#
# Does a hard choice also stop the learning? The derivative of a weight w by its own score is w (1 − w), which is zero when w is 0 and zero when w is 1. The first transformer paper suspects "extremely small gradients" of the softmax (arXiv:1706.03762, Section 3.2.1). As a stand-in for a loss, we multiply the answers of heads with d = 256 by random numbers and add up. Then we ask how long the gradient is that arrives at a query, and through how many keys it has come.


# %%
def sensitivity(scores):
    """How far the weights give way when scores are nudged: the sum of w (1 − w)."""
    weights = scores.softmax(dim=-1)
    return (weights * (1 - weights)).sum(dim=-1).mean().item()


factors, v = torch.randn(2, 256, 256, generator=generator)  # q and k are still those of d = 256
for name, root in (("q kᵀ", 1), ("q kᵀ / √d", math.sqrt(256))):
    asked = q.clone().requires_grad_()
    scores = asked @ k.T / root
    scores.retain_grad()
    (scores.softmax(dim=-1) @ v * factors).sum().backward()
    lengths = asked.grad.norm(dim=-1)
    shares = F.normalize(scores.grad.abs(), p=1, dim=-1)  # how much comes through each key
    print(f"{name:<9}  sum of w (1 − w): {sensitivity(scores):.2f}", end=", ")
    print(f"through {effective_keys(shares):>3.0f} of 256 keys", end=", ")
    print(f"length {lengths.mean():>4.1f}, shortest tenth up to {lengths.quantile(0.1):.1f}")

# %% [markdown]
# The weights do give way less. On average the gradient at a query is still *longer*, because an undivided score is √d times as steep in q. But here over a third of the queries get a shorter one, and a tenth next to none. And without the division the gradient comes through a few keys only, those that the query looks at already. With it, it comes through nearly half of them.
# So **what a query does not look at, it hardly hears of**, and the division lets it hear from all sides.
#
# ### Attention in half precision · *further*
#
# If a loss becomes nan in half precision, the scores are one place to look. A sum of d products can be larger than float16 can hold, even when it would be small enough after the division:

# %%
q = torch.full((1, 256), 20.0)
for kind in (torch.float16, torch.bfloat16):
    half, root = q.to(kind), math.sqrt(256)
    last, first = half @ half.T / root, (half / root) @ half.T
    print(f"{str(kind):<14}  up to {torch.finfo(kind).max:.4e}", end=", ")
    print(f"divided last: {last.item():.0f}, divided first: {first.item():.0f}")

# %% [markdown]
# So divide q first, or take bfloat16, which reaches as far as float32 with fewer digits. A mask, which takes keys out by filling in very low scores (exercise 02.5), meets the same limit. Filling in `-1e9` is an error in float16, and −∞ is right in every precision, as long as each query keeps a key.
#
# ## 6 · How large is the matrix?
#
# Now for the bill. Stage 1 of SegFormer turns the image into a map a quarter as high and a quarter as wide. We suppose that each of its tokens asks every other.
#
# **Predict.** A photograph of 512×512 makes 128×128 tokens. How many entries has the matrix of one head, and how many MiB (2²⁰ bytes) does it take in float32?

# %%
prediction = ...  # (entries, MiB), for example (1_000_000, 4)

# %%
print("  image      tokens N      entries N²   float32")
for side in (32, 48, 64, 96, 128):
    N = side**2
    print(f"{4 * side:>4} px  {side:>3}² = {N:>6,}  {N**2:>14,}  {4 * N**2 / 2**20:>5,.0f} MiB")
compare(prediction, (N**2, 4 * N**2 // 2**20))

# %% [markdown]
# The matrix has {{attention_entries_stage1}} entries and takes a whole GiB (2³⁰ bytes), for *one* head of *one* layer of *one* photograph. Twice the side makes four times the tokens and sixteen times the entries, so **the matrix grows with the fourth power of the side**. Nearly all of this layer's multiply-adds go into it, too. ViT takes patches of 16×16, which is cheap, but coarse where an edge has to be followed.
#
# ### Is the matrix all there is to pay? · *further*
#
# It is not, because the four Linears cost something too. With N tokens of C channels they take 4·N·C² multiply-adds, and the two products with the matrix take 2·N²·C. PyTorch can count for us (it counts a multiply-add as two).

# %%
N, C = 1024, 32
with torch.no_grad(), FlopCounterMode(display=False) as counter:
    ours(x.reshape(1, 32, 32, C))
assert counter.get_total_flops() == 2 * (4 * N * C**2 + 2 * N**2 * C)
print(f"Linears {4 * N * C**2:>11,}\nmatrix  {2 * N**2 * C:>11,}")

# %% [markdown]
# The two are equal when N is twice C. Models with few tokens and wide layers can stay below that, for example language models with short texts. The first stages of SegFormer cannot, because they make many tokens, to know *where* an edge is. In stage 1 of B0 at 512×512, with {{stage_1_tokens}} tokens of 32 channels, the matrix would take {{attention_matrix_over_linears}} times the
# arithmetic of the Linears.
#
# (Counters can miss the matrix. For example, [thop](https://github.com/Lyken17/pytorch-OpCounter) looks at modules and sees no bare matrix product, and PyTorch's own counts nothing for section 7's fused kernel on a CPU. So check them against a formula once.)
#
# ### How many matrices has a whole model? · *further*
#
# There is one for each head of each layer. ViT-Base has 12 layers of 12 heads ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929), Table 1), so 144 of them. For 512×512 in patches of 16×16, and one more token that ViT adds for the class, they come to:

# %%
layers, heads, N = 12, 12, (512 // 16) ** 2 + 1  # ViT-Base
size = 4 * layers * heads * N**2 / 2**20
print(f"{layers * heads} matrices of {N:,}² entries: {size:.0f} MiB in float32")

# %% [markdown]
# ## 7 · Do we have to store it?
#
# How many *copies* of the matrix do the two lines of `attention` hold at once? torch's profiler writes down every allocation and every release. The largest of their running sums is the *peak*, and `peak_bytes` finds it.
#
# **Predict.** The matrix of 64² tokens takes {{attention_mib_64}} MiB. What is the peak?

# %%
prediction = ...  # MiB, for example 100

# %%
inputs = {side**2: photo_tokens(side) for side in (32, 48, 64, 96, 128)}
x = inputs[64**2]
peak = peak_bytes(attention, x, x, x)
print(f"matrix {4 * 64**4 / 2**20:.0f} MiB, peak {peak / (4 * 64**4):.1f} times that")
compare(prediction, round(peak / 2**20))

# %% [markdown]
# The peak is twice the matrix, and it is reached twice, because the matrices before and after lie side by side when the products are divided by √d, and again when the softmax is taken. (That is without gradients. In training every layer keeps its softmax until the way back.) At 128×128 tokens the peak would be two GiB.
#
# No row of the matrix needs any other, because a query's softmax runs over its own scores. So we take the queries a band at a time.


# %%
def attention_in_bands(q, k, v, rows=512):
    return torch.cat([attention(band, k, v) for band in q.split(rows, dim=-2)], dim=-2)


exact = attention(x, x, x)
assert torch.allclose(attention_in_bands(x, x, x), exact, atol=1e-5)
print("in bands of 512 queries: the same answer")

# %% [markdown]
# Now we never hold all N×N scores at a time. A **fused kernel** (no relation to a convolution's), one routine that does all steps of attention together, goes further. It takes the keys in blocks as well, keeps a running sum for the softmax, and makes the blocks so small that they stay in the processor's cache. `F.scaled_dot_product_attention`, with which you checked your work, uses it where it can. A fused kernel cannot give you the weights, because it never has them all.
#
# **Predict.** Which law of growth does the fused kernel change, that of the time or that of the memory?

# %%
prediction = ...  # "time", "memory", "time and memory" or "neither"


# %%
def fused(q, k, v):  # the kernel wants (B, heads, N, d)
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


assert torch.allclose(fused(x, x, x), exact, atol=1e-5)
ways = {"explicit": attention, "in bands": attention_in_bands, "fused": fused}
most = {"explicit": 96**2}  # at 128² tokens it would take two GiB
panels, powers = attention_costs(progress(ways.items(), "ways to compute attention"), inputs, most)

# %%
plots.show(
    plots.growth(
        panels,
        "tokens N",
        {N: f"{math.isqrt(N)}²" for N in inputs},
        "The fused kernel saves the memory; its time still grows about as N²",
    ),
    alt="Two panels over 32² to 128² tokens, on logarithmic axes. Left, seconds on one core: three "
    "steep lines, of slopes about two and more, the fused kernel's the lowest. Right, peak "
    "memory: the explicit form climbs with slope two, in bands with slope one, and the fused "
    "kernel's line lies far below both, nearly flat at first, and climbs least.",
)
changed = [law for law, power in powers["fused"].items() if power < 1.5]
compare(prediction, " and ".join(changed) or "neither")

# %% [markdown]
# On such axes a law like N² is a straight line, and its slope is the power, here fitted to the points.
#
# *Right: memory.* The explicit form holds two N×N matrices, so its memory grows as N². In bands it grows as N. The fused kernel needs its output, which grows as N too, and a workspace (room for its blocks) that hardly depends on N. While the workspace is the larger part, the line is nearly flat, and then it bends upwards. So its power in the legend is an average, not a law.
#
# *Left: time.* It was measured where this picture was made, so run the cell to see yours. The fused kernel's line is the lowest, but it climbs as N² all the same. (The other two climb faster here; a *further* section asks why.) The kernel does all multiply-adds of the two products: it still computes every score, and only avoids storing them. **Twice the side of the image still takes about sixteen times as long.**
#
# So for the memory, a better kernel pays the bill. For the time, something else has to give, such as tokens or keys.
#
# ### Why can the time grow faster than N²? · *further*
#
# The arithmetic says 2, and in our picture the other two forms come out above. A small matrix fits into the processor's cache and into memory that the program has at hand. A large one has to be asked of the operating system afresh, page by page. How much of the time is that?

# %% tags=["nbval-ignore-output"]
for side, times in ((32, 81), (96, 1)):  # the same arithmetic in all
    x, before = inputs[side**2], os.times()
    for _ in range(times):
        attention(x, x, x)
    after = os.times()
    system, user = after.system - before.system, after.user - before.user
    print(f"{side}²: {system / (system + user):.0%} of it is spent in the operating system")

# %% [markdown]
# N² is the law of the arithmetic, and what you pay on top is mostly for memory. So multiply-adds alone do not tell the time (lesson 03 measures how far the two lie apart).
#
# ### When is the matrix stored after all? · *further*
#
# On a CPU, for example, it is stored unless q, k and v have four axes and the same width d, and dropout is off. Nothing says so. (Exercise 02.6 computes a softmax in pieces. The idea is from
# [Milakov and Gimelshein 2018](https://arxiv.org/abs/1805.02867), and [FlashAttention](https://arxiv.org/abs/2205.14135) does it on a GPU.)
#
# ## Play · *further*
#
# The image, the patch size and the heads make the bill, and the black line is the memory. When you run the cell, its slider starts near the memory of *your* machine (before that, at {{bill_nominal_memory}} GiB). Heads are 64 channels wide
# here, as in ViT-Base and in SegFormer B1 to B5. The ruler is logarithmic, each grey line 2¹⁰ times the one before. All sliders answer to the arrow keys.

# %%
AttentionBill()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# With {{bill_nominal_memory}} GiB, patches of 4 and one head, the largest of these images for which all bars end before the line has a side of {{bill_largest_side}}.
#
# Twice the side makes four times the tokens and sixteen times the matrix. Twice the patch size brings back the old bill exactly, because only side / patch counts.
#
# </details>
#
# ## Break it
#
# Here is a bug that real code had. In a library that many people used, it stood until a reader asked ([vit-pytorch, issue 65](https://github.com/lucidrains/vit-pytorch/issues/65)). The same slip was in the code of a well-known teaching video ([ng-video-lecture, pull request 6](https://github.com/karpathy/ng-video-lecture/pull/6)).
# All shapes are right, every row sums to one, and the model trains. Can you see it?


# %%
def scores_with_a_bug(q, k, num_heads):  # (B, heads, N, d)
    dim = num_heads * q.shape[-1]
    return q @ k.transpose(-2, -1) * dim**-0.5


# %% [markdown]
# Look for it with the instruments of section 5, on queries and keys of variance 1.

# %%
for heads in (1, 2, 4, 8):
    q, k = torch.randn(2, 1, heads, 256, 64, generator=generator)
    scores = scores_with_a_bug(q, k, heads)
    looked = effective_keys(scores.softmax(dim=-1))
    print(f"heads {heads}: variance {scores.var():.2f}, looks at {looked:.0f} of 256 keys")

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# The scores are divided by √C, the root of the width of the *whole* token, but a head is only d = C / heads wide. So the variance of the scores is 1 / heads instead of 1, and attention gets flatter the more heads there are.
#
# With one head there is no difference at all, so a test with one head passes. The learned query can grow by √heads and make up for it, so the model trains, only from a flatter place and in smaller steps. But when you load weights that were trained *without* the bug, the answers are
# wrong, and nothing says so. So test with more than one head, and against something that you did not write.
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, and read the answer. `hint("02.1")` gives a hint, and another one each time you ask. `solution("02.1")` shows one way.
#
# ### Exercise 02.1 ★ 4 minutes · Count the entries
#
# Write a function that gives the number of entries in the attention matrices of *one layer*, for any image that the patches divide.


# %%
def entries(height, width, patch, heads):
    return ...


check("02.1", entries)

# %% [markdown]
# ### Exercise 02.2 ★ 6 minutes · Attention in matrix form
#
# There is one head and one image, so q, k and v are `(N, d)`. Scores may be large. Write attention without looking it up, and without PyTorch's own.


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
# So many GiB are free, and the matrices of one layer have to fit, in float32, counted once. How many pixels may a square image have on a side? The side is a whole number of patches.


# %%
def largest_side(gibibytes, patch, heads):
    return ...


check("02.4", largest_side)

# %% [markdown]
# ### Exercise 02.5 ★★ 8 minutes · Leave out the padding
#
# To put photographs of different sizes into one batch, the small ones are padded, and some tokens mean nothing. Nobody should look at them. Scores may be large. q, k and v are `(N, d)`. `padded` is `(N,)`, True where a token is padding, as in `key_padding_mask` of `nn.MultiheadAttention` (in `attn_mask` of `F.scaled_dot_product_attention`, True means *look*). Each query still gives out a weight of one, all of it to real tokens. (Nobody will read what the rows of the
# padded queries hold, so let them look at the real tokens as well.)


# %%
def attend_masked(q, k, v, padded):
    return ...


check("02.5", attend_masked)

# %% [markdown]
# ### Exercise 02.6 ★★★ 15 minutes · Softmax, half by half
#
# The keys come in two halves. For each you are given what attention over *that half alone* gives, `(N, d)`, and the logarithm of the sum of its powers, `scores.logsumexp(dim=-1, keepdim=True)`, `(N, 1)`. Put them together to attention over *all* keys. Scores may be large, some over a
# thousand.


# %%
def merge(first, first_total, second, second_total):
    return ...


check("02.6", merge)

# %% [markdown]
# ## Recap
#
# - Attention is compare, share out, mix: softmax(q kᵀ / √d) v. Every row of the softmax sums to one.
# - Heads share out the channels, not the tokens. Each has an N×N matrix, but the multiply-adds in all stay the same.
# - A sum of d independent products of variance 1 has variance d. Dividing by √d makes it 1, so that width alone makes no hard choices.
# - N tokens make N² entries, and N itself grows with the square of the image's side.
# - The fused kernel gives the same answer, up to rounding, without storing the matrix. It does not do less arithmetic.
#
# **Can you answer without scrolling up?**
#
# 1. Which sums are one, those of the rows or those of the columns, and which axis does the softmax run over?
# 2. An image becomes twice as wide and twice as high. By how much do tokens, matrix, and the time of the fused kernel grow?
# 3. Eight heads instead of one: what happens to the entries, and what to the multiply-adds?
# 4. What do undivided scores make of the softmax of a wide head, and why?
# 5. What does the fused kernel save, and what not?
#
# <details><summary>Answers</summary>
#
# 1. The sums of the rows. Each query shares out a weight of one among the keys, so the softmax runs over the keys, the last axis.
# 2. Four times the tokens, sixteen times the matrix, and about sixteen times the time.
# 3. There are eight times the entries, and as many multiply-adds as before (but more divisions and powers of e).
# 4. With independent numbers of variance 1, nearly a hard choice: the scores' variance is d.
# 5. It saves the memory of the matrix. Every score is still computed.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *Which d.* The paper writes √d_head (arXiv:2105.15203, eq. 1), and code has had √C, as you saw.
# - *How wide is a head?* The sentence before that equation gives q, k and v of each head N × C numbers (arXiv:2105.15203, Section 3.1). In code a head has C / heads channels.
# - *"FlashAttention makes attention linear."* That is true of its memory. On the way forward its arithmetic grows as that of plain attention does ([Dao and others 2022](https://arxiv.org/abs/2205.14135), Section 3.1).
# - *Which axis is the batch.* `nn.MultiheadAttention` takes `(N, B, C)` unless you say `batch_first=True`. If you hand it `(B, N, C)` without, the images of a batch attend to one another, token by token, and nothing complains.
# - *What is N² when people say "attention is O(N²)"?* In papers on language, N is the number of tokens in a text. In SegFormer's it is height times width (arXiv:2105.15203, Section 3.1), so O(N²) is the fourth power of a side.
#
# **References.** A. Vaswani and others, *Attention Is All You Need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762), Section 3.2. E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1 and eq. 1. A. Dosovitskiy and others, *An Image is Worth 16×16 Words*, [arXiv:2010.11929](https://arxiv.org/abs/2010.11929).
# T. Dao and others, *FlashAttention*, [arXiv:2205.14135](https://arxiv.org/abs/2205.14135). M. Milakov and N. Gimelshein, *Online normalizer calculation for softmax*, [arXiv:1805.02867](https://arxiv.org/abs/1805.02867).
#
# **Next:** lesson 03, where the keys become fewer and the queries stay.
