# %% [markdown]
# # Lesson 04 · Where does position come from?
#
# Cut a photograph into tiles, shuffle them, and show them to attention. It gives the same answers, shuffled, because it does not know where a tile stands. ViT mends this by adding to each token a vector that says where it stands. SegFormer adds none, and yet its tokens know something about their place. This lesson finds out how.
#
# Much of the answer is in **Mix-FFN**. SegFormer's stages hold chains of *blocks*, each of them attention followed by a Mix-FFN. Inside Mix-FFN is a 3×3 convolution, and its padding, the zeros around the map, tells a token where it is.
#
# **After this lesson you will be able to**
#
# - show that attention alone does not know where a token is;
# - build Mix-FFN, and count its parameters;
# - tell two kinds of position apart, *next to whom* and *where*, and say which comes from the convolution and which from its padding;
# - read position out of features with a linear probe;
# - and (*further*) avoid the trap that scenes set for a probe, and say what happens to a learned position embedding at another size, and what CvT does instead.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. What is *further* can be skipped or kept for a second sitting: no core section needs it, and only Exercise 04.5 does. **You need** lessons 01 to 03. No GPU.

# %%
import math

import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu import (
    MixFFN,
    MixTransformer,
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
    plots,
    widgets,
)
from segformer_edu.analysis import position
from segformer_edu.analysis.position import encoder_maps, fit_probe, pad_with, position_scores
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.exercises import check, compare, hint, solution

# %%
torch.set_grad_enabled(False)  # only section 9 (further) switches gradients on
torch.set_num_threads(1)  # sums in one order, however many cores there are
photo = sample_photo("astronaut")
b0 = SegFormerConfig.named("b0")

# %% [markdown]
# ## 1 · Does attention know where a token is?
#
# The photograph is cut into touching tiles, as in ViT: 16×16 tiles of 32×32 pixels. Each tile becomes a token. Then we put the tiles into another order, and compare the answers.

# %%
generator = torch.Generator().manual_seed(0)
order = torch.randperm(256, generator=generator)


def shuffle(x):  # a map of 16×16 tokens, (B, 16, 16, C)
    return x.flatten(1, 2)[:, order].unflatten(1, (16, 16))


# %%
shuffled_photo = position.reordered_tiles(photo, order.numpy(), side=32)
plots.show(
    plots.pictures(
        [photo, shuffled_photo],
        ["the photograph", "its tiles, shuffled"],
        "To you these are two different pictures",
    ),
    alt="The portrait of the astronaut, and beside it the same 256 tiles in random order, in which "
    "the face is in pieces.",
)

# %% [markdown]
# Both pictures go through the same attention layer. If it does not know where a tile stands, the answers for the second are those for the first, shuffled.

# %%
torch.manual_seed(0)
embed = OverlapPatchEmbedding(in_channels=3, embed_dim=64, patch_size=32, stride=32)
embed.projection.padding = (0, 0)  # tiles that touch, without zeros around them
x = embed(normalize(photo))  # (1, 16, 16, 64)
attention = SpatialReductionAttention(dim=64, num_heads=2, reduction_ratio=1)
difference = (attention(embed(normalize(shuffled_photo))) - shuffle(attention(x))).abs().max()
same = bool(difference < 1e-6)
print(f"answers of size {attention(x).abs().max():.1f} differ by less than a millionth: {same}")

# %% [markdown]
# Each tile gets the answer that it got before, wherever it now stands. Attention is **permutation-equivariant**: if the tokens change places, their answers change places with them, and nothing else happens. A permutation P of the tokens permutes the rows of Q, K and V. Softmax treats all rows alike, and all entries of a row alike, so P on its left and Pᵀ on its right pass through it. PᵀP is the identity. So (without the factor 1/√d)
#
# $$\mathrm{softmax}\!\left(PQ\,(PK)^\top\right)PV \;=\; P\,\mathrm{softmax}\!\left(QK^\top\right)P^\top P\,V \;=\; P\,\mathrm{softmax}\!\left(QK^\top\right)V .$$
#
# The other parts of an ordinary Transformer block are Linears, LayerNorm and a nonlinearity, and they act on each token alone. So a network of these parts treats the tiles like the contents of a bag: the answer for a tile cannot depend on where it lies, nor on which tiles lie beside it.
#
# ### To the last bit? · *further*
#
# The equation says that the difference is zero, and we measured "less than a millionth". To see where the rest comes from, we shuffle the queries alone, and then queries, keys and values.


# %%
def attend(q, k, v):  # eq. 1
    return (q @ k.T / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


q, k, v = torch.randn(3, 256, 32, generator=generator)
answers, exact = attend(q, k, v), attend(q.double(), k.double(), v.double())
everything = attend(q[order].double(), k[order].double(), v[order].double())
print("queries alone, every bit:", torch.equal(attend(q[order], k, v), answers[order]))
print(
    "all three, every bit:    ", torch.equal(attend(q[order], k[order], v[order]), answers[order])
)
print("… in float64, kept as float32:", torch.equal(everything.float(), exact[order].float()))

# %% [markdown]
# Each query's sums run in the same order as before, so here shuffling the queries changes no bit. But if the *keys* are shuffled, a query adds the same terms in another order, once in the softmax and once over the values. Floating-point addition rounds, so another order can change the last bits. In float64 there are digits to spare, so here all float32 bits agree again. Equivariance is exact, but a sum in floating point depends on its order.
#
# ## 2 · What is inside Mix-FFN?
#
# In a Transformer block, attention is followed by a feed-forward network (FFN): two Linears with a nonlinearity between them, applied to each token alone. SegFormer puts a 3×3 convolution into it (arXiv:2105.15203, eq. 3):
#
# $$x_\mathrm{out} = \mathrm{MLP}\left(\mathrm{GELU}\left(\mathrm{Conv}_{3\times3}\left(\mathrm{MLP}(x_\mathrm{in})\right)\right)\right) + x_\mathrm{in}$$
#
# We read it from the inside. The first "MLP" is *one* Linear, which widens a token from C to 4C channels. The convolution combines the token with its eight neighbours. GELU is a smooth relative of ReLU: it keeps large positive numbers, turns very negative ones into nearly zero, and bends smoothly between. The second "MLP" is one Linear again, and narrows the token to C channels. The sum with x_in is the skip connection, which the block adds (lessons 05 and 06).
#
# The convolution is **depthwise**: each channel has a 3×3 kernel of its own, and sees no other channel. Mixing the channels can be left to the Linears, and that saves a lot. Stage 1 of B0 has C = 32, so 4C is {{stage_1_hidden}}. We compare a plain convolution on so many channels with the depthwise one.

# %%
for name, groups in {"plain": 1, "depthwise": 128}.items():
    convolution = nn.Conv2d(128, 128, kernel_size=3, padding=1, groups=groups)
    print(f"{name:<9} {sum(each.numel() for each in convolution.parameters()):>7,} parameters")


# %% [markdown]
# ### Build it
#
# Now we write the equation as a class, in the order in which it is read:


# %% tags=["stage"]
class PlainMixFFN(nn.Module):
    """MLP(GELU(Conv3×3(MLP(x)))), eq. 3, line by line."""

    def __init__(self, dim, hidden_dim):
        super().__init__()
        self.expand = nn.Linear(dim, hidden_dim)
        self.depthwise = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim)

    def forward(self, x):  # (B, H, W, C)
        hidden = self.expand(x)  # (B, H, W, 4C)
        hidden = self.depthwise(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.contract(F.gelu(hidden))  # (B, H, W, C)


# %% [markdown]
# The package's `MixFFN` holds the same three parts under the same names, so it can take the weights of our class.

# %%
plain = PlainMixFFN(dim=32, hidden_dim=128)
tokens = torch.randn(1, 30, 40, 32, generator=generator)
packaged = MixFFN(dim=32, hidden_dim=128)
packaged.load_state_dict(plain.state_dict())
print("the package's agrees:", torch.allclose(packaged(tokens), plain(tokens), atol=1e-5))

# %% [markdown]
# **Predict.** With C = 32, what share of the parameters of this class is in the convolution?

# %%
prediction = ...  # percent, for example 50

# %%
held = {
    name: sum(each.numel() for each in part.parameters()) for name, part in plain.named_children()
}
for name, count in held.items():
    print(f"{name:<10}{count:>6,} parameters, {count / sum(held.values()):.0%}")
compare(prediction, round(100 * held["depthwise"] / sum(held.values())))

# %% [markdown]
# The two Linears have C · 4C weights each, and the kernels have 9 · 4C. That makes **8C² + 36C** weights, and 9C biases. The Linears grow with C² and the kernels only with C, so the convolution's share shrinks as the stages get wider. In stage 4 of B0, with C = {{b0_last_channels}}, it is {{depthwise_share_stage_4}}. All depthwise convolutions of B0 hold {{depthwise_parameters}} parameters, {{depthwise_share}} of the encoder's. For this price every token sees its neighbours in every block.
#
# ### Is that equation 3? · *further*
#
# By hand, the convolution becomes nine shifted copies of the padded map, each times its number of the kernel, and GELU is x·Φ(x), where Φ is the distribution function of the standard normal distribution.

# %%
padded = F.pad(plain.expand(tokens), (0, 0, 1, 1, 1, 1))  # a ring of zeros
hidden = plain.depthwise.bias + sum(
    padded[:, row : row + 30, column : column + 40] * plain.depthwise.weight[:, 0, row, column]
    for row in range(3)
    for column in range(3)
)
by_hand = plain.contract(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)
print("eq. 3 by hand agrees:", torch.allclose(plain(tokens), by_hand, atol=1e-5))

# %% [markdown]
# ### Is a 1×1 convolution a Linear, and is it an MLP? · *further*
#
# Some implementations have a 1×1 convolution where the paper has an MLP. Is that a mistake ([mmsegmentation, issue 1287](https://github.com/open-mmlab/mmsegmentation/issues/1287))? We give both the same weights, and then ask what two Linears can do that one cannot.

# %%
linear, narrow = nn.Linear(64, 256), nn.Linear(256, 64)  # x: the tokens of section 1
one_by_one = nn.Conv2d(64, 256, kernel_size=1)
one_by_one.weight.copy_(linear.weight[:, :, None, None])  # (256, 64) → (256, 64, 1, 1)
one_by_one.bias.copy_(linear.bias)
by_convolution = one_by_one(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
print("1×1 convolution = Linear:", torch.allclose(linear(x), by_convolution, atol=1e-5))
merged = F.linear(x, narrow.weight @ linear.weight, narrow(linear.bias))  # one Linear, 64 → 64
print("two Linears = one Linear:", torch.allclose(narrow(linear(x)), merged, atol=1e-5))
print("… with GELU between them:", torch.allclose(narrow(F.gelu(linear(x))), merged, atol=1e-5))

# %% [markdown]
# It is no mistake: a 1×1 kernel sees one token and mixes its channels by a matrix, which is what a Linear does. But an MLP is more than either. Two Linears in a row are one Linear, so it is the nonlinearity between them that makes an MLP. Each "MLP" of eq. 3 is only one Linear, and Mix-FFN as a whole is an MLP with a convolution inside.
#
# ### A few rows at a time · *further*
#
# The widened map is four times as large as the one that comes in. If the layers work on strips of rows, it never exists as a whole, which saves memory. A strip needs one more row above and below (a *halo*), because the convolution looks that far, and the results of those rows are cut off. The package has a function for that, `in_strips`. First we test it with a halo and without.

# %%
from collections.abc import Callable

from torch import Tensor

from segformer_edu.checks import check_map, check_positive
from segformer_edu.layers import Linear
from segformer_edu.strips import in_strips, joined, strips

tall = torch.randn(1, 300, 40, 32, generator=generator)
print("strips:", len(list(strips((300, 40), tall))))
for halo in (0, 1):
    same = torch.allclose(in_strips(plain, tall, halo), plain(tall), atol=1e-5)
    print(f"halo {halo}: what the whole map gives: {same}")

# %% tags=["mirror"]
# segformer_edu.strips.in_strips

# %% [markdown]
# The package's class is ours, in strips (its `Linear` is `nn.Linear`, faster on maps):

# %% tags=["mirror"]
# segformer_edu.mix_ffn.MixFFN

# %% [markdown]
# It works in strips in evaluation only. In training it takes the whole map, because the gradient needs all of it anyway. It also does so where the padding is not zeros, because a convolution that pads in a circle (section 3) needs rows from the other end of the map.

# %% [markdown]
# ## 3 · Two kinds of position
#
# "Position" means two things, and they come from two places.
#
# - **Next to whom?** *My left neighbour is bright.* This is relative position.
# - **Where?** *I am in the top row.* This is absolute position.
#
# There is an instrument for each. If a layer gives the same answers, *shuffled*, for shuffled tokens, it does not know who stands beside whom: it is *blind to a shuffle*. The other instrument *rolls* the map by 4 rows and 6 columns, so that what leaves at one side comes in at the other. A layer that is *blind to a roll* gives the same answers, rolled. It may know who is beside whom, but not where.
#
# We try four layers: attention with r = 1, attention with r = 2 (lesson 03), Mix-FFN as published, and Mix-FFN whose convolution pads in a circle, so that the map keeps its size and has no border.
#
# **Predict.** Which of the four are blind to a roll?

# %%
prediction = ...  # in this order, for example "no yes no yes"


# %%
def roll(x):
    return x.roll((4, 6), dims=(1, 2))


layers = {
    "attention, r = 1": attention,
    "attention, r = 2": SpatialReductionAttention(dim=64, num_heads=2, reduction_ratio=2),
    "Mix-FFN, zeros": MixFFN(64, 256),
    "Mix-FFN, circular": MixFFN(64, 256),
}
pad_with(layers["Mix-FFN, circular"], "circular")
blind_to_roll = []
for name, layer in layers.items():  # x: the photograph's tokens, section 1
    same = [torch.allclose(layer(f(x)), f(layer(x)), atol=1e-5) for f in (shuffle, roll)]
    print(f"{name:<18} blind to a shuffle: {same[0]!s:<5}  to a roll: {same[1]}")
    blind_to_roll.append("yes" if same[1] else "no")
compare(prediction, " ".join(blind_to_roll))

# %% [markdown]
# Compare the two lines of Mix-FFN. The *convolution* tells a token who its neighbours are, with either padding. Of the two only the *zeros* tell it where it is. A convolution (of stride 1) treats every place alike, but only as long as there is no border.
#
# Attention with r = 2 notices a shuffle, because its keys are made of windows of 2×2 neighbours, and a shuffle makes other windows. So in three of SegFormer's four stages attention knows something about who is beside whom, though nothing marks a query's own window. (Our roll moves whole windows. By odd numbers it would be noticed.)
#
# ## 4 · Who tells a token where the border is?
#
# To see what the zeros do, we take the content away. In a **flat** map all tokens are the same, so whatever differs after a layer comes from position.
#
# **Predict.** A flat map of 9×9 tokens goes through one Mix-FFN with zero padding. How many *different* tokens come out?

# %%
prediction = ...  # a number, for example 81

# %%
flat_map = torch.randn(64, generator=generator).expand(1, 9, 9, 64)
different = {}
for mode in ("zeros", "reflect", "replicate", "circular"):
    ffn = MixFFN(64, 256)
    pad_with(ffn, mode)
    different[mode] = position.kinds(ffn(flat_map)[0]).max()
    print(f"{mode:<10} kinds of token: {different[mode]}")
compare(prediction, different["zeros"])

# %%
ffn = MixFFN(64, 256)
plots.show(
    plots.token_kinds(
        [position.kinds(each[0]) for each in (flat_map, ffn(flat_map), ffn(ffn(flat_map)))],
        ["no Mix-FFN", "one", "two"],
        "One Mix-FFN makes nine kinds of token, and two make 25",
    ),
    alt="Three maps of 9 by 9 tokens, a number on each token for its kind, and a line between "
    "kinds. On the left all are of one kind. In the middle a frame: four corners, four edges and "
    "the inside are nine kinds. On the right a second frame inside the first, and 25 kinds.",
)

# %% [markdown]
# *Count the kinds in the middle panel:* four corners, four edges, and the inside. At an edge three of a kernel's nine numbers meet zeros, and at a corner five do. That changes the sum, by another amount at each side. A second Mix-FFN tells a second ring from the rest.
#
# The other paddings do nothing here. `replicate` repeats the edge and `reflect` mirrors it, so on a flat map both add more of the same. (On a photograph they are not blind to a roll either, but a flat map does not show it.)
#
# ### How far does it travel?
#
# We put several blocks in a row, each with attention and Mix-FFN, their norms and their skip connections. With each of them the border should become known one token further inward. But what if there is attention in the blocks, which connects every token with every other?

# %%
after = {}
for there in (False, True):
    after[there] = position.flat_map_deviations("zeros", kernel=3, side=24, attention=there)
for depth in (1, 2, 4, 8):
    reach = [position.travelled(maps[depth] > 0) for maps in after.values()]
    print(f"blocks: {depth}. Tokens inward: {reach[0]}, with attention: {reach[1]}")

# %%
plots.show(
    plots.deviations(
        [after[True][depth] for depth in (1, 2, 4, 8)],
        ["1 block", "2 blocks", "4 blocks", "8 blocks"],
        "Position comes in from the border, one token a block (untrained)",
        least=1e-13,
    ),
    alt="Four maps of 24 by 24 tokens after 1, 2, 4 and 8 blocks with attention. A frame of "
    "coloured tokens along the border grows inward by one token a block. Colours fade by many "
    "orders of magnitude from the border inward; the middle is crossed out, as all tokens there "
    "are alike.",
)

# %% [markdown]
# *Look at the crosses.* These tokens do not differ from the middle one by anything that float64 can hold. Position moves inward by **one token a block**, and attention, which is in the blocks drawn here, does not speed it up. Two tokens inside are alike, so they ask the same question of the same keys, and get the same answer. Attention tells every inner token of the
# border, but it tells all of them the same. (On a photograph tokens differ to begin with, so attention may pass on what it finds.)
#
# ## 5 · Can position be read?
#
# Can a network make use of it? We use a very simple instrument: we **fit a linear map from a token to its row and column**. If it can read them, the network's next Linear can learn to do so too.
#
# Such a map is called a *probe*. We fit it by *ridge regression*, which is least squares with a small λ (here a thousandth of the mean eigenvalue of XᵀX), so that the weights do not grow large to follow noise. With X the tokens, Y their places, and both centred, it has a closed form:
#
# $$W = (X^\top X + \lambda I)^{-1} X^\top Y$$
#
# The probe is judged by R². It is 1 if every token is placed right, 0 if the probe does no better than answering "the middle" every time, and below 0 if it does worse. The images are flat ones of 128×128 pixels, each of a random colour. The probe is fitted on half of them and judged on the other half.
#
# **Predict.** B0 has random weights. How well can rows be read at its last stage, whose map has 4×4 tokens, with zero padding and with circular padding?

# %%
prediction = ...  # two R², for example "0.50 0.50"

# %%
generator = torch.Generator().manual_seed(4)
pixels = torch.rand(48, 1, 1, 3, generator=generator).expand(-1, 128, 128, -1)
flat_images = torch.cat([normalize((255 * each).byte().numpy()) for each in pixels])
torch.manual_seed(0)
encoder = MixTransformer(b0).eval()
scores = {}
print("R²         stage 1    stage 2    stage 3    stage 4    (rows, columns)")
for mode in ("zeros", "replicate", "circular"):
    pad_with(encoder, mode)
    scores[mode] = [
        f"{rows:z.2f} {columns:z.2f}" for rows, columns in position_scores(encoder, flat_images)
    ]
    print(f"{mode:<10}", "  ".join(scores[mode]))
compare(prediction, " ".join(scores[mode][-1].split()[0] for mode in ("zeros", "circular")))

# %%
pad_with(encoder, "zeros")
maps = encoder_maps(encoder, flat_images)
believed = [fit_probe(each[:24]).predict(each[24:]).mean(0) for each in maps]
plots.show(
    plots.probed_places(
        believed,
        [f"stage {i}: {len(each)}×{len(each)} tokens" for i, each in enumerate(believed, 1)],
        "Tokens of stage 1 are hardly placed, those of stage 4 nearly right",
    ),
    alt="Four panels, one a stage, each with the outline of the picture as an orange square, and "
    "in it a ring for each token's place in the map and a dot where the probe places it. In stages "
    "1 and 2 nearly all dots lie in a heap in the middle. In stage 3 the outer ones are pulled "
    "outward. In stage 4 the 4 by 4 dots lie in their rings or near them.",
)

# %% [markdown]
# Each dot is a token, drawn where the probe places it (the mean over the images that it was not fitted to), and neighbours are joined. The ring is its place in the map. *Watch the heap unfold from stage to stage.* At this size **zeros** let rows and columns be read nearly perfectly at stage 4, from random weights and flat images. With **circular** or **replicate** padding R² is zero at
# every stage, because every token is the same.
#
# Why not in stage 1? Its map has 32×32 tokens, and after two blocks only the outermost two or three know of the border. One linear map has to find their faint trace in all colours. Each later stage has two more blocks, and its steps are twice as wide in pixels.
#
# So position can be read. But it means *how far to the border*, and only near enough to it.
#
# ### How near is near enough? · *further*
#
# In stage 1 a probe reads a little of the border from one colour alone, and in this network, with a smaller λ, also from all.
#
# To see how far the border is known in a picture of usual size, we send a flat one of 512×512 pixels through B0, and through nano, a small SegFormer whose trained weights the package brings.

# %%
grey = torch.tensor([0.9, -0.4, 0.3]).double().view(1, 3, 1, 1).expand(1, 3, 512, 512).contiguous()
trained = SegFormer.from_pretrained("nano").encoder
for name, network in {"B0, untrained": encoder, "nano, trained": trained}.items():
    reach = [position.border_reach(each[0]) for each in encoder_maps(network.double(), grey)]
    network.float()
    print(f"{name}: tokens from the top", *(top for top, _ in reach), end=", ")
    print("from the bottom", *(bottom for _, bottom in reach))

# %% [markdown]
# The four numbers are the four stages. At stage 4, where the stride is 32, the innermost tokens that know it have their middles on the pixel rows {{b0_row_from_the_top}} and {{b0_row_from_the_bottom}} (left and right likewise). In this picture's middle no token of either network knows where it is. Training cannot extend the reach on a flat picture, because it follows from the architecture alone. (B5 has 40 blocks in stage 3, whose map is 32×32. So there position reaches the middle, but we have not measured how strong it is there.)
#
# Position also *fades* before training: in the blocks of section 4 each ring is, on average, ten to two hundred times fainter than the one outside it. In the last two stages of the trained nano the third ring is less than ten times fainter than the outermost, measured along the middle column.
#
# Why one token fewer from the bottom? The first token has its middle on the first pixel, the last one a whole stride before the end. The patches of lesson 01 start *outside* the picture at the top and at the left. But where the side is a multiple of the stride, the last patch ends *inside* it. So no patch embedding ever reads the zeros at the bottom and at the right, and only Mix-FFN does.
#
# ## 6 · Where else does padding come in? · *further*
#
# The paper credits Mix-FFN, in which "a 3×3 convolution is sufficient to provide positional information", names the zero padding, and cites Islam and others for it (arXiv:2105.15203, Section 3.1). Of the patch embeddings' padding it gives only the size. Which parts pad? We look, and then leave the zeros in one kind of part and let all others replicate, to see how much each can tell alone. (If the others padded in a circle, they would carry what is known at the top around to the bottom.)

# %%
print(position.parts_that_pad(encoder))

# %%
kept = {"patch embeddings": ["OverlapPatchEmbedding"], "Mix-FFN": ["MixFFN"]}
kept = {"both": position.parts_that_pad(encoder)} | kept
seeds = {f"stage {stage}": {name: [] for name in kept} for stage in (2, 3, 4)}
for seed in widgets.progress(range(3), "seeds"):
    torch.manual_seed(seed)
    encoder = MixTransformer(b0).eval()
    for name, parts in kept.items():
        position.zeros_only_in(encoder, *parts)
        later_stages = position_scores(encoder, flat_images)[1:]
        for r2, (rows, columns) in zip(seeds.values(), later_stages, strict=True):
            r2[name].append((rows + columns) / 2)

# %%
plots.show(
    plots.score_ranges(
        seeds,
        "R², mean of rows and columns",
        "At stage 4 the zeros of Mix-FFN tell more than those of the patch embeddings",
    ),
    alt="R squared of the probe at stages 2, 3 and 4, for zero padding in both parts, in the patch "
    "embeddings alone, and in Mix-FFN alone, a dot for each of three seeds. At stage 2 all are "
    "low, the patch embeddings lowest; at stage 3 all lie between a half and three quarters, "
    "both highest; at stage 4 both are near one, Mix-FFN alone is close below, and the patch "
    "embeddings alone are at about 0.9.",
)

# %%
for name, r2 in seeds["stage 4"].items():
    print(f"stage 4, {name:<16}", *(f"{each:.2f}" for each in r2))

# %% [markdown]
# *Compare the three colours at stage 4.* The patch embeddings pad with zeros too, and alone they make most of position readable. But they meet zeros at the top and at the left only (section 5). Seed by seed Mix-FFN alone is ahead of them, and both together are ahead of either. (So it is with λ a hundred times smaller, too. Which is ahead at stages 2 and 3 depends on λ and the seed.)
#
# So the padding of overlapping patches also brings in position. Touching patches without padding cannot: those of section 1 went through a shuffle unnoticed. An experiment that compares the two kinds changes two things at once.
#
# ## 7 · The trap · *further*
#
# Why not probe on real images? Here are street scenes, drawn by the package.

# %%
from segformer_edu.data.scenes import Scenes

scenes = Scenes(n=64, size=128, seed=2026)
pictures = [scenes.picture(i)[0] for i in range(len(scenes))]
plots.show(
    plots.pictures(
        pictures[:4],
        ["scene 0", "scene 1", "scene 2", "scene 3"],
        "In every scene the sky is above and the road below",
    ),
    alt="Four small street scenes: sky above, houses and trees at the sides, a road with vehicles "
    "and people below.",
)

# %% [markdown]
# We probe stage 3 with zero padding and with circular padding. For comparison there is also *no network at all*, which means the mean colour of each 16×16 pixels. Which of the three can tell a token's row, and which its column?

# %%
street = torch.cat([normalize(each) for each in pictures])
torch.manual_seed(0)
encoder = MixTransformer(b0).eval()
features = {"no network": F.avg_pool2d(street, 16).permute(0, 2, 3, 1).double().numpy()}
for mode in ("zeros", "circular"):
    pad_with(encoder, mode)
    features[f"padding: {mode}"] = encoder_maps(encoder, street)[2]
groups = {"rows": {}, "columns": {}, "rows, judged on\nthe fitted scenes": {}}
for name, each in features.items():
    probe = fit_probe(each[:32])
    rows, columns = probe.score(each[32:])
    for group, r2 in zip(groups.values(), (rows, columns, probe.score(each[:32])[0]), strict=True):
        group[name] = [r2]
    print(f"{name:<18} rows readable: {rows > 0.1!s:<5}  columns: {columns > 0.1}")

# %%
plots.show(
    plots.score_ranges(
        groups,
        "R² (networks: stage 3)",
        "On scenes the content gives the row away, whatever the padding",
    ),
    alt="R squared on street scenes. For rows, colours without a network, zero padding and "
    "circular padding all score above zero, the two paddings nearly alike. For columns none is "
    "above zero. Judged on the scenes it was fitted to, the probe of either padding scores about "
    "twice as high.",
)

# %% [markdown]
# *Look at "rows" first.* Under circular padding nothing but content can tell a token where it is, and yet it scores about as much as zeros. Colours without any network reach more than half of that. The sky is above and the road is below, so **the content gives position away**. Whoever probes with zero padding alone credits the padding with what the sky said.
#
# *Columns* are the control. On average a street's left mirrors its right, and here neither padding lets the probe read them. With zeros the border is there, but 32 scenes are too few to fit its faint trace. Fitted to eight times as many, the probe finds a little of it, and with circular padding still nothing.
#
# *The last group* is a second trap. A probe with {{stage_3_channels}} numbers a token looks better than it is when it is judged on the scenes that it was fitted to. So split by **image**, and not by token, because neighbours from one image resemble each other.
#
# ### And after training?
#
# Do the features of the trained nano tell the *column*, which untrained ones did not? To tell the border from the content, we also *roll* each scene sideways by 0 to 3 tokens. That moves the content, and the border stays.

# %%
torch.manual_seed(0)
networks = {"untrained": MixTransformer(SegFormerConfig.named("nano")).eval()}
networks["trained"] = SegFormer.from_pretrained("nano").encoder
rolled = torch.stack([each.roll(32 * (i % 4), dims=-1) for i, each in enumerate(street)])
print("R² at stage 4         as they are     rolled sideways")
print("                     rows  columns    rows  columns")
for name, network in networks.items():
    for mode in ("zeros", "circular"):
        pad_with(network, mode)
        read = [position_scores(network, images)[-1] for images in (street, rolled)]
        print(f"{name:<9} {mode:<8}", *(f"{rows:>6.2f} {columns:>8.2f}" for rows, columns in read))

# %% [markdown]
# With zeros the probe reads even the columns of the trained network. (Below 0 a probe was fitted to too few scenes.) With circular padding {{columns_circular}} is left ({{columns_circular_range}} on five other sets of scenes). It comes from the content, and it is about as high on mirrored scenes, so part of it may be the slope of roofs and kerbs. Under circular padding the tokens of a rolled scene are the same tokens,
# rolled, and there the probe can no longer tell the column. With zeros it still can, so what it reads is the border. With circular padding rows are read too, because of sky and road.
#
# So this network brings the border to its last stage far more clearly than the untrained one. (It is one model, trained with zeros. To be sure, one would train several with each padding.)
#
# ## 8 · What do convolutional projections do? · *further*
#
# CvT is another Transformer without a position embedding ([Wu and others 2021](https://arxiv.org/abs/2103.15808)), and [a post on SegFormer](https://danielhoshizaki.com/2022/10/15/vision-transformers.html) quotes it: convolutional projections in every block, with a convolutional token embedding, give "the ability to model local spatial relationships through the network", and so allow "dropping the position embedding from the network without hurting performance".
#
# CvT's *token embedding* is an overlapping strided convolution, as in lesson 01. Its *projections* put a 3×3 depthwise convolution before each of attention's three Linears, for query, key and value. (Between them is a BatchNorm, and keys and values have stride 2; we leave both out.)


# %%
class ConvolutionalAttention(SpatialReductionAttention):
    """Attention whose query, key and value see 3×3 tokens, as in CvT."""

    def __init__(self, dim, num_heads):
        super().__init__(dim, num_heads, reduction_ratio=1)
        for name in ("query", "key", "value"):
            look_around = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
            setattr(
                self, name, nn.Sequential(ToMap(), look_around, ToTokens(), nn.Linear(dim, dim))
            )


class ToMap(nn.Module):
    def forward(self, x):
        return x.permute(0, 3, 1, 2)  # (B, C, H, W)


class ToTokens(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)  # (B, H, W, C)


# %% [markdown]
# We ask what this attention knows, with the two instruments of section 3 and the flat map of section 4.

# %%
for mode in ("circular", "zeros"):
    torch.manual_seed(0)
    pad_with(cvt := ConvolutionalAttention(64, 2), mode)
    blind = [torch.allclose(cvt(f(x)), f(cvt(x)), atol=1e-5) for f in (shuffle, roll)]
    differs = position.deviation(cvt(flat_map[:, :8, :8])[0].numpy()) > 1e-6
    print(f"{mode:<9} blind to a shuffle: {blind[0]}, to a roll: {blind[1]!s:<5}", end="  ")
    print("flat map: tokens inward:", position.travelled(differs))

# %% [markdown]
# It knows the same as Mix-FFN: neighbours from the convolution, and the border from its zeros, one token a layer. So two things can take the embedding's place: the *local relationships* of the quotation, and the padding, which it does not name. CPVT, which made position out of a zero-padded convolution on purpose, says so ([Chu and others 2021](https://arxiv.org/abs/2102.10882)).
#
# "Without hurting performance" was measured on ImageNet. CvT-13 reaches 81.6 % without an embedding, and 81.5 % with one in every stage. DeiT-S, which has no convolution after its patches, falls from 79.8 % to 78.0 % without (ablation *Removing Position Embedding*, [Wu and others 2021](https://arxiv.org/abs/2103.15808)). As far as the paper says these are single runs, and one run cannot show a tenth of a percent.
#
# ## 9 · What happens to a learned embedding at another size? · *further*
#
# ViT learns a table with one vector for each of its N places, and adds it to the tokens ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929)). But a table for 8×8 places has no entry for a 9th row. For larger pictures it is *resized*, as if it were an image. A table of sines has an entry for every place, but those far out were never seen in training ([Vaswani and others 2017](https://arxiv.org/abs/1706.03762)).


# %%
def resize_embedding(embedding, height, width):  # (1, h, w, C) → (1, H, W, C)
    as_image = embedding.permute(0, 3, 1, 2)
    return F.interpolate(as_image, (height, width), mode="bicubic").permute(0, 2, 3, 1)


# %% [markdown]
# To see what that does, we train two small networks on a task that needs position and nothing else. Each token is black or white, by chance, and **each shall name the colour of its left neighbour**. One network is a layer of attention with a learned embedding, the other is one Mix-FFN. Both learn on maps of 8×8.


# %%
class WithEmbedding(nn.Module):
    def __init__(self, side, dim=32):
        super().__init__()
        self.embedding = nn.Parameter(0.5 * torch.randn(1, side, side, dim))
        self.tokens, self.answer = nn.Linear(1, dim), nn.Linear(dim, 1)
        self.attention = SpatialReductionAttention(dim, num_heads=1, reduction_ratio=1)

    def placed(self, colors):  # (B, H, W, 1)
        return self.tokens(colors) + resize_embedding(self.embedding, *colors.shape[1:3])

    def forward(self, colors):
        return self.answer(self.attention(self.placed(colors)))


def with_mix_ffn(dim=32):
    return nn.Sequential(nn.Linear(1, dim), MixFFN(dim, dim), nn.Linear(dim, 1))


# %% [markdown]
# **Predict.** Then both are given maps of 16×16. How many tokens still name their left neighbour? (Guessing gives half.)

# %%
prediction = ...  # percent with the embedding and with Mix-FFN, for example (80, 80)

# %%
from segformer_edu.analysis import left_neighbour

asked = {"8×8: neighbour": (8, 1), "16×16: neighbour": (16, 1), "16×16: two to the left": (16, 2)}
shares = {question: {"embedding": [], "Mix-FFN": []} for question in asked}
for seed in widgets.progress(range(3), "seeds"):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    models = {"embedding": WithEmbedding(side=8), "Mix-FFN": with_mix_ffn()}
    for name, steps in {"embedding": 300, "Mix-FFN": 100}.items():
        left_neighbour.learn(models[name], side=8, steps=steps, generator=generator)
        for question, (side, left) in asked.items():
            share = left_neighbour.share_right(models[name], side, left, generator)
            shares[question][name].append(share)

# %%
plots.show(
    plots.score_ranges(
        shares,
        "named right (line: guessing)",
        "At twice the size the embedding looks twice as far",
        chance=0.5,
    ),
    alt="Share of right answers for three seeds. On 8 by 8 both networks are always right. On 16 "
    "by 16, asked for the neighbour, Mix-FFN is always right and the embedding hardly better than "
    "guessing. Asked for the token two to the left, the embedding does far better than guessing "
    "and Mix-FFN guesses.",
)

# %%
both = [min(values) > 0.99 for values in shares["8×8: neighbour"].values()]
neighbour, second = shares["16×16: neighbour"], shares["16×16: two to the left"]
print("on 8×8 every seed of both is right:", all(both))
print("on 16×16 every seed of Mix-FFN is right:", min(neighbour["Mix-FFN"]) > 0.99)
print("with the embedding, none above 60 %:", max(neighbour["embedding"]) < 0.6)
print("two to the left, all above 65 %:", min(second["embedding"]) > 0.65)
compare(prediction, tuple(round(100 * sum(each) / len(each)) for each in neighbour.values()))

# %% [markdown]
# The embedding does not fail at random: more often than any other token it names the one **two** to the left. To see why, we look at where one query looks, before and after.

# %%
looks, embedded = [], models["embedding"]
for side, (row, column) in {8: (3, 4), 16: (7, 9)}.items():
    placed = embedded.placed(torch.zeros(1, side, side, 1))
    looks.append(embedded.attention.weights(placed)[0, 0, row, column].numpy())
plots.show(
    plots.token_maps(
        looks,
        [f"{len(each)}×{len(each)}: brightest {each.max():.2f}" for each in looks],
        "The framed query now looks about two to its left",
        mark=[(3, 4), (7, 9)],
    ),
    alt="Two maps of attention with the query framed. On 8 by 8, as trained, the token to its left "
    "has nearly all the weight. On 16 by 16, with the embedding resized, the brightest is two to "
    "the left and has less than a quarter; the direct neighbour and the tokens above these two "
    "have about half as much each.",
)

# %% [markdown]
# *Look at the brightest token of each map* (the scales differ). The network learned "one place to the left" as a step of an eighth of the picture. On 16×16 an eighth of the picture is two tokens. **A resized embedding measures in fractions of the picture, a convolution in tokens.**
#
# Which of the two is right? That depends on *why* there are more tokens. If the picture shows *more*, as when a network trained on crops is given the whole photograph, things keep their size in pixels, and tokens are the right measure. If it shows the same scene *finer*, things grow with it, and a fraction of the picture would be right (but convolutions then meet things of another size). So say which of the two you test.
#
# The paper's numbers fit the first, though size and procedure change together: on Cityscapes, seen through windows of 768×768 and then whole at 1024×2048, mIoU falls from 77.3 to 74.0 with a position embedding, and from 80.5 to 79.8 with Mix-FFN (arXiv:2105.15203, Table 1c).
#
# [The post of section 8](https://danielhoshizaki.com/2022/10/15/vision-transformers.html) blames patches that do not overlap. But a token here is one colour, so patches play no part, and the map of attention shows the *table* at fault.
#
# ## Play
#
# How far has position travelled from the border of a flat map? You can change padding, kernel, depth and size of the map, and put attention between. All sliders answer to the arrow keys.

# %%
widgets.Position()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Each block moves position ⌊k/2⌋ tokens inward. So half a side of 8 tokens takes 8 blocks of 3×3, or 4 of 5×5, or 3 of 7×7. Attention changes how much tokens differ, but not which ones. No other padding tells anything on a flat map, at any depth. A kernel of 1×1 does not either, because it needs no padding.
#
# </details>
#
# ## Break it
#
# This is the Mix-FFN of a published library, which we put into PyTorch: the `MixFFN` of KerasHub, and of KerasCV before it ([mit_layers.py at commit adce690](https://github.com/keras-team/keras-hub/blob/adce69008f8bb66f2204869cd31aefce6ea7b775/keras_hub/src/models/mit/mit_layers.py)). Tokens arrive as a list, become a map for the convolution, and then a list again. Here is this step alone, on a square map and on one that is not.


# %%
def mixed_by_a_library(tokens, depthwise):  # (B, N, C)
    B, N, C = tokens.shape
    H, W = int(math.sqrt(N)), int(math.sqrt(N))
    as_map = tokens.reshape(B, H, W, C).permute(0, 3, 1, 2)
    return depthwise(as_map).permute(0, 2, 3, 1).reshape(B, -1, C)


def mixed_on_the_map(x, depthwise):  # (B, H, W, C)
    return depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


torch.manual_seed(0)
depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
for height, width in ((16, 16), (8, 32)):
    tokens = torch.randn(1, height, width, 16)
    library = mixed_by_a_library(tokens.flatten(1, 2), depthwise).view_as(tokens)
    same = torch.allclose(library, mixed_on_the_map(tokens, depthwise), atol=1e-6)
    print(f"{height}×{width} tokens: as it should be: {same}")

# %% [markdown]
# On 8×32 tokens, a panorama four times as wide as high, it runs, gives a list of the right length, and is wrong. To find out how, take lesson 03's instrument: **change one token, and see which others notice.** How many should it be, and where are they?

# %%
touched = tokens.clone()
touched[0, 4, 20] += 1
changes = [
    mixed_by_a_library(touched.flatten(1, 2), depthwise)
    - mixed_by_a_library(tokens.flatten(1, 2), depthwise),
    mixed_on_the_map(touched, depthwise) - mixed_on_the_map(tokens, depthwise),
]
notice = [(each.abs().amax(-1) > 1e-6).double().view(8, 32).numpy() for each in changes]
plots.show(
    plots.token_maps(
        notice,
        ["the library's", "as it should be"],
        "When the framed token changes, six wrong ones notice in the library",
        mark=[(4, 20)] * 2,
    ),
    alt="Two maps of 8 by 32 tokens with the changed one framed. On the right the 3 by 3 tokens "
    "around it are lit. On the left nine are lit too: three in its own row, around it, and a block "
    "of six, sixteen columns to the left.",
)

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# The function is given no height and no width, so it takes the square root of N for both. On 8×32 tokens that is 16 and 16, and the reshape lays each row of 32 as two rows of 16. A token's left and right neighbours are still the right ones, except where a row is cut in two. But what it takes for above and below is half a row away in the list. And the padding tells of a border in the middle of the picture, where there is none.
#
# A square test image never shows it, and shapes do not either. One test does: *a map that is not square, against a convolution on the map itself*. The mend is to pass the height and the width along, or better, the map. That is why maps travel as `(B, H, W, C)` through this package: there is no loose H and W to lose or to swap.
#
# </details>
#
# ### When is it silent? · *further*
#
# <details><summary>The ratios, and a relative of this bug</summary>
#
# Where N is no square, the reshape fails, so one is told. It is silent where height is to width as one square to another: 9 to 16 (as in a picture of 2560×1440), or 1 to 4, or 4 to 9. Swapping H and W hides in the same way: torchtitan's resizing of a position embedding did it in two places, and on square maps one hid the other ([pull request 4244](https://github.com/pytorch/torchtitan/pull/4244)).
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("04.1")` gives a hint, and another one each time you ask; `solution("04.1")` gives the answer.
#
# ### Exercise 04.1 ★ 5 minutes · What does Mix-FFN hold?
#
# How many parameters has one Mix-FFN? You are given its channels, its expansion ratio, and the side of the depthwise kernel. Biases count.


# %%
def mix_ffn_parameters(channels, ratio, kernel):
    return ...


check("04.1", mix_ffn_parameters)

# %% [markdown]
# ### Exercise 04.2 ★ 5 minutes · How many blocks until the middle knows?
#
# A flat map of `height` × `width` tokens goes through blocks with a `kernel` × `kernel` convolution padded by zeros (the kernel is odd, and 3 or more). After how many blocks, at least, is the border known to *every* token? On an odd side that includes the single token in the middle.


# %%
def blocks_needed(height, width, kernel):
    return ...


check("04.2", blocks_needed)

# %% [markdown]
# ### Exercise 04.3 ★★ 10 minutes · The depthwise convolution by hand
#
# Do it without a convolution: x is `(B, H, W, C)`, weight is `(C, 1, 3, 3)` and bias is `(C,)`, as in `nn.Conv2d(C, C, 3, padding=1, groups=C)`. The padding is zeros, and the answer is a map again.


# %%
def depthwise_by_hand(x, weight, bias):
    return ...


check("04.3", depthwise_by_hand)

# %% [markdown]
# ### Exercise 04.4 ★★ 8 minutes · Mend the library
#
# Tokens come as a list, `(B, N, C)`, with N = height · width, row by row. Run the depthwise convolution with the given weight and bias (shapes as in Exercise 04.3) on the map, and give a list back, for any height and width.


# %%
def mix_tokens(tokens, height, width, weight, bias):
    return ...


check("04.4", mix_tokens)

# %% [markdown]
# ### Exercise 04.5 ★★ 10 minutes · Resize a learned embedding
#
# This one needs section 9. A table is kept as a list, `(1, h·w, C)`, row by row. Resize it to `(1, H·W, C)`, where `old` is (h, w) and `new` is (H, W). Use bilinear interpolation with `align_corners=False`.


# %%
def resize_table(table, old, new):
    return ...


check("04.5", resize_table)

# %% [markdown]
# ### Exercise 04.6 ★★★ 15 minutes · Build the probe
#
# Fit a ridge regression in closed form. features is `(n, C)`, places is `(n, 2)`, and strength is λ itself, not a share of an eigenvalue. Centre both, and return the predictions for `others`, `(m, C)` → `(m, 2)`, in the units of places.


# %%
def probe_places(features, places, strength, others):
    return ...


check("04.6", probe_places)

# %% [markdown]
# ### Exercise 04.7 ★★ 8 minutes · Put Mix-FFN together
#
# x is a map, `(B, H, W, C)`. You are given the three layers: `expand` and `contract` are Linears and act on the last axis; `convolve` is the depthwise convolution, and takes and gives `(B, C', H, W)`. Put equation 3 together, without its skip connection, so that the answer has the shape of x.


# %%
def mix_ffn(x, expand, convolve, contract):
    return ...


check("04.7", mix_ffn)

# %% [markdown]
# ## Recap
#
# - Attention with r = 1, and all that acts on single tokens, is equivariant to permutations.
# - Mix-FFN is Linear, 3×3 depthwise convolution, GELU, Linear. The convolution is a small share of its parameters.
# - The convolution says *next to whom*. Its zero padding says *where*, and other paddings say nothing on a flat map.
# - Position comes in from the border, one token a block for a 3×3 kernel. Attention does not carry it further on a flat map.
# - A linear probe reads it in the last stages, from untrained features of small flat images.
# - *Further:* the patch embeddings pad too, but see zeros at two sides only (section 6). On scenes the content gives the row away, so compare with circular padding, and with no network (7). CvT's projections work for the same reasons (8). A resized embedding measures in fractions of the picture, a convolution in tokens (9).
#
# **Can you answer without scrolling up?**
#
# 1. Mix-FFN with circular padding: is it blind to a shuffle, and to a roll?
# 2. A flat map of 20×20 tokens goes through three blocks with 3×3 kernels and zeros. How many tokens are still like the middle one?
#
# *Further:*
#
# 3. Which bits of attention's answers may change under a shuffle of all tokens, and why?
# 4. A probe on photographs reads rows with an R² well above zero. What would you compare with before you say "zero padding"?
# 5. A network with a learned embedding was trained at 224×224 and is used at 448×448. What has changed for "my left neighbour"?
#
# <details><summary>Answers</summary>
#
# 1. To a roll, yes; to a shuffle, no. It knows its neighbours, and has no border.
# 2. `(20 − 2·3)² = 196`.
# 3. The last ones, because the sums over the keys run in another order, and each addition rounds.
# 4. With circular padding and the same weights, and with the colours alone, because content gives rows away. And judge it on images that it was not fitted to.
# 5. In units of the embedding it is half as far away as before. Attention that learned "one step of the table" now looks two tokens to the left.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *Equation 3* (arXiv:2105.15203, eq. 3) writes MLP twice, where code has one Linear each. It includes the skip connection, which code keeps outside, and leaves out the norm that comes before.
# - *The expansion ratio.* Table 6 of the paper (arXiv:2105.15203) says 8, 8, 4, 4 for B0 to B4, but the released models have 4 in every stage (lesson 06).
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1, eq. 3, Tables 1c and 6. M. A. Islam, S. Jia, N. Bruce, *How much position information do convolutional neural networks encode?*, [arXiv:2001.08248](https://arxiv.org/abs/2001.08248). X. Chu and others, *Conditional positional encodings* (CPVT),
# [arXiv:2102.10882](https://arxiv.org/abs/2102.10882). H. Wu and others, *CvT*, [arXiv:2103.15808](https://arxiv.org/abs/2103.15808). A. Dosovitskiy and others, *An image is worth 16×16 words* (ViT), [arXiv:2010.11929](https://arxiv.org/abs/2010.11929).
#
# **Next:** lesson 05. Attention and Mix-FFN are each added to what comes in. What if, in training, one leaves them out at random?
