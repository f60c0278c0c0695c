# %% [markdown]
# # Lesson 04 · Where does position come from?
#
# Cut a photograph into tiles, shuffle them, and show them to attention: it gives the same answers, shuffled. It does not know that the sky is up. ViT mends this by adding to every token a vector that says where it stands. SegFormer adds nothing, and knows all the same. From where?
#
# The answer hides in a 3×3 convolution inside the *other* half of each block, **Mix-FFN**, and there in something that one hardly looks at: its padding.
#
# **After this lesson you will be able to**
#
# - show that attention alone does not know where a token is, to within the rounding of its sums;
# - build Mix-FFN, and count its parameters;
# - tell two kinds of position apart: *next to whom*, and *where*; and say which comes from the convolution, and which from its padding;
# - read position out of features with a linear probe, and not fall into the trap that photographs set for it;
# - say what happens to a learned position embedding at another size, and what CvT does instead.
#
# **Time** 80 minutes, and 55 for the exercises. **You need** lessons 01 to 03. No GPU.

# %%
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import (
    EncoderBlock,
    MixTransformer,
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
    plots,
    widgets,
)
from segformer_edu.analysis.position import (
    deviation,
    encoder_maps,
    fit_probe,
    pad_with,
    travelled,
)
from segformer_edu.checks import check_map, check_positive
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.data.scenes import Scenes
from segformer_edu.exercises import check, hint, solution
from segformer_edu.layers import Linear
from segformer_edu.strips import joined, strips

# %%
torch.set_grad_enabled(False)  # until section 9, nothing is trained
torch.set_num_threads(1)  # sums in one order, however many cores there are
photo = sample_photo("astronaut")
b0 = SegFormerConfig.named("b0")

# %% [markdown]
# ## 1 · Does attention know where a token is?
#
# Tokens as ViT makes them: tiles of 32×32 pixels, 16×16 of them. And an order to shuffle them into.

# %%
generator = torch.Generator().manual_seed(0)
order = torch.randperm(256, generator=generator)


def shuffle(x):  # a map of 16×16 tokens, (B, 16, 16, C)
    return x.flatten(1, 2)[:, order].unflatten(1, (16, 16))


# %%
tiles = torch.tensor(photo).unflatten(0, (16, 32)).unflatten(2, (16, 32)).transpose(1, 2)
shuffled = shuffle(tiles.flatten(2)[None])[0].view_as(tiles)
shuffled_photo = shuffled.transpose(1, 2).flatten(2, 3).flatten(0, 1).numpy()
plots.show(
    plots.pictures(
        [photo, shuffled_photo], ["the photograph", "its tiles, shuffled"], "Two pictures to you"
    ),
    alt="The portrait of the astronaut, and beside it the same 256 tiles in random order, in which "
    "nobody could find a face.",
)

# %% [markdown]
# **Predict.** Both go through one attention layer. How do the answers for the right picture differ from those for the left?

# %%
prediction = ...  # in your words

# %%
torch.manual_seed(0)
embed = OverlapPatchEmbedding(in_channels=3, embed_dim=64, patch_size=32, stride=32)
embed.projection.padding = (0, 0)  # tiles that touch, and nothing else
x = embed(normalize(photo))  # (1, 16, 16, 64)
attention = SpatialReductionAttention(dim=64, num_heads=2, reduction_ratio=1)
difference = (attention(embed(normalize(shuffled_photo))) - shuffle(attention(x))).abs().max()
print(f"answers of size {attention(x).abs().max():.1f} differ by less than a millionth:", end=" ")
print(bool(difference < 1e-6))

# %% [markdown]
# Not at all: each tile gets the answer that it got before, wherever it now stands. Attention is **permutation-equivariant**, and it fits on one line. A permutation P of the tokens permutes the rows of Q, K and V, so (the factor 1/√d left out)
#
# $$\mathrm{softmax}\!\left(PQ\,(PK)^\top\right)PV \;=\; P\,\mathrm{softmax}\!\left(QK^\top\right)P^\top P\,V \;=\; P\,\mathrm{softmax}\!\left(QK^\top\right)V .$$
#
# The Linears around it act on each token alone, and so do LayerNorm and GELU. A network of these parts can tell you *what* is in the photograph, as one knows the contents of a bag. It cannot tell you where.
#
# ### To the last bit?
#
# Less than a millionth is not zero. The equation says zero. Who is right?
#
# **Predict.** Shuffle only the queries; then queries, keys and values. Which of the two changes a bit of an answer?

# %%
prediction = ...  # "queries", "all three", both or none


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
# Each query's answer is a computation of its own, and shuffling the queries changes the order of these computations: not one bit. Shuffle the *keys*, and a query adds up the same terms in another order, once under the softmax and once over the values. Floating-point addition rounds after each term, so the last bits change. Compute with more digits, and all the float32 bits agree again. Equivariance is exact; a sum in floating point depends on its order.
#
# ### And with fewer keys?
#
# **Predict.** Lesson 03's attention with r = 2 merges windows of 2×2 tokens. Is it still blind to a shuffle?

# %%
prediction = ...  # yes or no

# %%
reducing = SpatialReductionAttention(dim=64, num_heads=2, reduction_ratio=2)
difference = (reducing(shuffle(x)) - shuffle(reducing(x))).abs().max()
print("r = 2 answers a shuffled map differently:", bool(difference > 0.01))

# %% [markdown]
# No: a key is now made of *neighbours*, in an order, and a shuffle makes other windows. So three of SegFormer's four stages know a little about who stands beside whom. But windows can change places as a whole, and a query's own neighbourhood is still unknown to it. More is needed, and it comes next.
#
# ## 2 · What is inside Mix-FFN?
#
# After attention, each block of a Transformer has a feed-forward network: two Linears with a nonlinearity between, applied to each token alone. SegFormer puts a 3×3 convolution into it (arXiv:2105.15203, eq. 3):
#
# $$x_\mathrm{out} = \mathrm{MLP}\left(\mathrm{GELU}\left(\mathrm{Conv}_{3\times3}\left(\mathrm{MLP}(x_\mathrm{in})\right)\right)\right) + x_\mathrm{in}$$
#
# Read it from the inside. The first "MLP" is *one* Linear, which widens a token from C to 4C channels. The convolution looks at the token and its eight neighbours. GELU. The second "MLP", a Linear again, narrows to C. The sum with x_in is the skip connection, which belongs to the block (lessons 05 and 06).
#
# The convolution is **depthwise**: each channel has a 3×3 kernel of its own and sees no other channel. Mixing channels is what the Linears are for.
#
# **Predict.** Stage 1 of B0 has C = 32, and 4C is {{stage_1_hidden}}. How many parameters would a plain 3×3 convolution on so many channels have, and how many has the depthwise one?

# %%
prediction = ...  # two numbers

# %%
for name, groups in {"plain": 1, "depthwise": 128}.items():
    convolution = nn.Conv2d(128, 128, kernel_size=3, padding=1, groups=groups)
    print(f"{name:<9} {sum(each.numel() for each in convolution.parameters()):>7,} parameters")


# %% [markdown]
# More than a hundred times fewer. Now write the equation down, in the order in which it is read:


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
# **Predict.** Of the parameters of this class with C = 32, what share is in the convolution, the part that the lesson is about?

# %%
prediction = ...  # percent

# %%
plain = PlainMixFFN(dim=32, hidden_dim=128)
held = {
    name: sum(each.numel() for each in part.parameters()) for name, part in plain.named_children()
}
for name, count in held.items():
    print(f"{name:<10}{count:>6,} parameters, {count / sum(held.values()):.0%}")

# %% [markdown]
# Two Linears of C · 4C weights, and 9 · 4C for the kernels: **8C² + 36C** weights, and 9C biases. The wider the stage, the smaller the convolution's share: in stage 4 of B0, with C = {{b0_last_channels}}, it is {{depthwise_share_stage_4}}. In all of B0 the depthwise convolutions hold {{depthwise_parameters}} parameters, {{depthwise_share}} of the encoder's. For that price every token gets a look at its neighbours in every block.
#
# ### Is a 1×1 convolution a Linear?
#
# Some codes have a 1×1 convolution where the paper has an MLP, and readers wonder whether that is a mistake ([mmsegmentation, issue 1287](https://github.com/open-mmlab/mmsegmentation/issues/1287)). Give both the same weights and see.

# %%
linear = nn.Linear(64, 256)
one_by_one = nn.Conv2d(64, 256, kernel_size=1)
one_by_one.weight.copy_(linear.weight[:, :, None, None])  # (256, 64) → (256, 64, 1, 1)
one_by_one.bias.copy_(linear.bias)
by_convolution = one_by_one(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
assert torch.allclose(linear(x), by_convolution, atol=1e-5)
print("a 1×1 convolution is a Linear on the channels of each token")

# %% [markdown]
# No mistake: a kernel of 1×1 sees one token, and what it does to the channels is a matrix. Which of the two is *faster* is another question, and depends on the machine; the package's `Linear` picks by device (lesson 10).
#
# ### Build it
#
# The package's class computes the same, a few rows at a time: the widened map is four times as large as the one that comes in, and in strips it never exists as a whole. A strip needs one more row above and below, since that is how far the convolution looks; what comes out of those rows is cut off.

# %% tags=["mirror"]
# segformer_edu.strips.in_strips

# %% [markdown]
# Two cases take the whole map at once. In training the gradient wants all of it anyway. And a convolution that pads with the map's own rows, as one in section 3 does, would find the wrong ones in a strip.

# %% tags=["mirror"]
# segformer_edu.mix_ffn.MixFFN

# %% [markdown]
# **Check it** against equation 3 written out by hand: nine shifted copies of the padded map, each times its number of the kernel, and GELU as x·Φ(x), with the error function. The map is tall enough for several strips.

# %%
ffn = MixFFN(dim=8, hidden_dim=32).eval()
tall = torch.randn(1, 300, 40, 8, generator=generator)
padded = F.pad(tall @ ffn.expand.weight.T + ffn.expand.bias, (0, 0, 1, 1, 1, 1))  # a ring of zeros
hidden = ffn.depthwise.bias + sum(
    padded[:, row : row + 300, column : column + 40] * ffn.depthwise.weight[:, 0, row, column]
    for row in range(3)
    for column in range(3)
)
gelu = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
assert torch.allclose(ffn(tall), gelu @ ffn.contract.weight.T + ffn.contract.bias, atol=1e-5)
print(f"{len(list(strips((300, 40), tall)))} strips, and eq. 3 by hand agrees")

# %% [markdown]
# ## 3 · Two kinds of position
#
# "Position" means two things, and they come from two places.
#
# - **Next to whom?** *My left neighbour is bright.* Relative.
# - **Where?** *I am in the top row.* Absolute.
#
# There is an instrument for each. Shuffle the tokens: who answers the same, shuffled, does not know its neighbours. Roll the whole map by a few rows, so that what leaves at the bottom comes in at the top: who answers the same, rolled, knows its neighbours perhaps, but not where it is.
#
# **Predict.** Four layers: attention with r = 1 and r = 2, Mix-FFN as published, and Mix-FFN whose convolution pads in a circle, so that the map has no border. Which are blind to a shuffle, and which to a roll?

# %%
prediction = ...  # eight times yes or no


# %%
def roll(x):  # by 4 rows and 6 columns
    return x.roll((4, 6), dims=(1, 2))


zeros, circular = MixFFN(64, 256), MixFFN(64, 256)
pad_with(circular, "circular")
layers = {"attention, r = 1": attention, "attention, r = 2": reducing}
layers |= {"Mix-FFN, circular": circular, "Mix-FFN, zeros": zeros}
for name, layer in layers.items():
    blind = [torch.allclose(layer(f(x)), f(layer(x)), atol=1e-5) for f in (shuffle, roll)]
    print(f"{name:<18} blind to a shuffle: {blind[0]!s:<5}  to a roll: {blind[1]}")

# %% [markdown]
# Read the last two lines together. The *convolution* lets a token know its neighbours. Only the *padding* lets it know where it is. (With r = 2 a roll by an even number of tokens moves whole windows, and nothing is noticed; by an odd number it would be.)
#
# A convolution, people say, treats every place alike. It does, as long as there is no border.
#
# ## 4 · Who tells a token where the border is?
#
# Take the content away, and see what is left. A **flat** map: every token the same.
#
# **Predict.** A flat map of 9×9 tokens goes through one Mix-FFN with zero padding. How many *different* tokens come out?

# %%
prediction = ...  # a number

# %%
flat_map = torch.randn(64, generator=generator).expand(1, 9, 9, 64)


def kinds(tokens):  # (1, H, W, C) → how many different ones, and which is which
    rounded = tokens[0].flatten(0, 1).mul(1e4).round()
    different, which = rounded.unique(dim=0, return_inverse=True)
    return len(different), 1 + which.view(tokens.shape[1:3]).numpy()


for mode in ("zeros", "reflect", "replicate", "circular"):
    pad_with(ffn := MixFFN(64, 256), mode)
    print(f"{mode:<10} kinds of token: {kinds(ffn(flat_map))[0]}")

# %%
pad_with(ffn, "zeros")
plots.show(
    plots.token_maps(
        [kinds(flat_map)[1], kinds(ffn(flat_map))[1], kinds(ffn(ffn(flat_map)))[1]],
        ["no Mix-FFN", "one", "two"],
        "Nine kinds of token after one Mix-FFN, 25 after two",
        numbered=True,
    ),
    alt="Three maps of 9 by 9 tokens, a number and a colour for each kind of token. On the left "
    "all are of one kind. In the middle a frame: four corners, four edges and the inside are nine "
    "kinds. On the right a second frame inside the first, and 25 kinds.",
)

# %% [markdown]
# *Count the kinds in the middle.* Nine: four corners, four edges, and the inside. At an edge three of the nine numbers of a kernel meet zeros, at a corner five. That changes the sum, by another amount at each side, since the kernel's numbers differ. Two of them in a row tell two rings from the rest.
#
# Only zeros do this. `replicate` repeats the edge and `reflect` mirrors it: on a flat map both add more of the same. (On a photograph they are not blind to a roll either; a flat map does not show what a network could make of that.)
#
# **Predict.** After d layers, how many tokens inward is the border known? And when attention stands between, which connects every token with every other: is it then known everywhere at once?

# %%
prediction = ...  # a formula, and yes or no


# %%
def stack(depth, with_attention):
    """How far each token of a flat map is from the middle one after so many blocks."""
    torch.manual_seed(0)
    blocks = nn.Sequential(*(EncoderBlock(16, 2, reduction_ratio=1) for _ in range(depth)))
    for block in blocks:
        block.attention.output.weight.mul_(with_attention)  # by 0 it is silent
    return deviation(blocks.double()(tokens)[0].numpy())


tokens = torch.randn(16, generator=generator).double().expand(1, 24, 24, 16).contiguous()
for depth in (1, 2, 4, 8):
    reach = [travelled(stack(depth, with_attention) > 0) for with_attention in (0, 1)]
    print(f"blocks: {depth}. Tokens inward: {reach[0]}, with attention {reach[1]}")

# %%
plots.show(
    plots.deviations(
        [stack(depth, 1) for depth in (1, 2, 4, 8)],
        [f"{depth} block{'s' * (depth > 1)}" for depth in (1, 2, 4, 8)],
        "Position comes in from the border, one token a block, and fades",
        least=1e-12,
    ),
    alt="Four maps of 24 by 24 tokens after 1, 2, 4 and 8 blocks. A frame of coloured tokens along "
    "the border grows inward by one token a block. Colours fade by many orders of magnitude "
    "from the border inward; the middle is crossed out, as all tokens there are alike.",
)

# %% [markdown]
# *Look at the crosses.* They are tokens that do not differ from the middle one by anything that float64 can hold: not *nearly* the same, the same. Position moves inward by **one token a block**, and attention does not help. Why not? Two tokens inside are alike, so they ask the same question; all the keys are there for both; they get the same answer. Attention brings word of the border to everybody, but
# *the same word*, and so tells no one apart. (On a photograph tokens differ to begin with, and attention may pass on what it finds: the flat map shows what the border does by itself.)
#
# And see how it *fades*: in this untrained stack each ring is fainter than the one outside it, some ten times at the border and up to a hundred times further in.
#
# ## 5 · Can position be read?
#
# That tokens differ does not mean that a network can use it. So ask for it: **fit a linear map from a token to its row and column**. If it can be read off by a Linear, the next Linear can read it too.
#
# A *probe* is such a map, fitted on some images and judged on others. In closed form, with a small ridge λ that keeps it from leaning on noise (X and Y centred):
#
# $$W = (X^\top X + \lambda I)^{-1} X^\top Y$$
#
# It is judged by R²: 1 means every token placed right; 0, no better than answering "the middle" every time; below 0, worse than that. First, the images: flat ones, each of a random colour. Half of them to fit, half to judge.

# %%
pixels = torch.rand(48, 1, 1, 3, generator=generator).expand(-1, 128, 128, -1)
flat_images = torch.cat([normalize((255 * each).byte().numpy()) for each in pixels])


def probe(images, encoder):
    """R² for rows and columns at each stage; half the images to fit, half to judge."""
    half = len(images) // 2
    maps = encoder_maps(encoder, images)
    return [fit_probe(each[:half]).score(each[half:]) for each in maps]


# %% [markdown]
# **Predict.** B0 with random weights, never trained. At which of its four stages can position be read, with zero padding, and with circular padding?

# %%
prediction = ...  # stages, twice

# %%
torch.manual_seed(0)
encoder = MixTransformer(b0).eval()
scores = {}
print("R²         stage 1    stage 2    stage 3    stage 4    (rows, columns)")
for mode in ("zeros", "replicate", "circular"):
    pad_with(encoder, mode)
    scores[mode] = probe(flat_images, encoder)
    print(
        f"{mode:<10}",
        "  ".join(f"{round(r, 2) + 0:.2f} {round(c, 2) + 0:.2f}" for r, c in scores[mode]),
    )

# %%
pad_with(encoder, "zeros")
maps = encoder_maps(encoder, flat_images)
believed = [fit_probe(each[:24]).predict(each[24:]).mean(0) for each in maps]
plots.show(
    plots.probed_places(
        believed,
        [f"stage {i}: {len(each)}×{len(each)} tokens" for i, each in enumerate(believed, 1)],
        "Where the probe believes tokens to be: at the end, nearly right",
    ),
    alt="Four panels, one a stage, each with the believed places of its tokens inside an orange "
    "square. In stages 1 and 2 nearly all lie in a heap in the middle. In stage 3 the outer "
    "tokens are pulled outward. In stage 4 the 4 by 4 tokens form a nearly regular grid.",
)

# %% [markdown]
# *Watch the heap unfold.* With **zeros**, rows and columns can be read nearly perfectly at stage 4, from random weights and images without content. With **circular** or **replicate** padding, R² is zero at every stage: every token is the same, and there is nothing to read. Nothing else was changed.
#
# Why not in stage 1? Its map has 32×32 tokens, and after two blocks only the outermost two or three know of the border. And one linear map has to serve all colours: on images of a single colour R² is about a quarter there. Each stage halves the map, so that a token stands for twice as many pixels, and its own two blocks carry the word two tokens on. How far does it get in a photograph of usual size?

# %%
grey = torch.tensor([0.9, -0.4, 0.3]).double().view(1, 3, 1, 1).expand(1, 3, 512, 512)
large_maps = encoder_maps(encoder.double(), grey.contiguous())
encoder.float()
print("            tokens a side   known from the top   from the bottom")
for stage, each in enumerate(large_maps, start=1):
    differs = deviation(each[0])[:, len(each[0]) // 2] > 0  # down the middle column
    top, bottom = differs.argmin(), differs[::-1].argmin()  # the first that is like the middle
    pixels = 2 ** (stage + 1)
    print(f"stage {stage} {len(differs):>12} {top:>8}, {top * pixels:>3} pixels", end="")
    print(f"{bottom:>7}, {bottom * pixels:>3} pixels")

# %% [markdown]
# Down from the top it is {{b0_pixels_from_the_top}} pixels, up from the bottom {{b0_pixels_from_the_bottom}} (left and right likewise), and in the middle of a picture of 512×512 untrained B0 does not know where it is. So *position* here means *how far to the border*, for those who are near it. That is what the network is given to start with; section 7 has a look at what training makes of it. (B5 has 40 blocks in stage 3 alone, whose map is 32×32: there the equations bring the word to the middle, but each ring makes it fainter.)
#
# Why less from the bottom? The patches of lesson 01 start *outside* the picture, at the top and at the left. Where the side is a multiple of the stride, the last patch ends *inside* it: the zeros at the bottom and at the right are there, and no patch embedding ever reads them. Only Mix-FFN does.

# %% [markdown]
# ## 6 · Where else does padding come in?
#
# The paper credits Mix-FFN (arXiv:2105.15203, Section 3.1). But Mix-FFN is not the only part that pads.
#
# **Predict.** Which other part of the encoder does? Leave zeros in one of the two and make the other circular: which of them alone tells more?

# %%
prediction = ...  # a part, and which tells more

# %%
padded_parts = {
    type(part).__name__
    for part in encoder.modules()
    if any(isinstance(each, nn.Conv2d) and any(each.padding) for each in part.children())
}
print(sorted(padded_parts))


# %%
def only(part_name, encoder):
    """Zero padding in all parts of one name, circular in the others."""
    pad_with(encoder, "circular")
    for name, part in encoder.named_modules():
        if name.endswith(part_name):
            pad_with(part, "zeros")


compared = {"both": "", "patch embeddings": "patch_embedding", "Mix-FFN": "mix_ffn"}
seeds = {f"stage {stage}": {name: [] for name in compared} for stage in (2, 3, 4)}
for seed in range(3):
    torch.manual_seed(seed)
    encoder = MixTransformer(b0).eval()
    for name, part_name in compared.items():
        only(part_name, encoder)
        for stage, (rows, columns) in zip(seeds, probe(flat_images, encoder)[1:], strict=True):
            seeds[stage][name].append((rows + columns) / 2)

# %%
plots.show(
    plots.score_ranges(
        seeds, "R², mean of rows and columns", "Either padding alone tells where tokens are"
    ),
    alt="R squared of the probe at stages 2, 3 and 4, for zero padding in both parts, in the patch "
    "embeddings alone, and in Mix-FFN alone, a dot for each of three seeds. At stage 2 all are "
    "low; at stage 3 all lie between a half and three quarters, Mix-FFN alone lowest; at "
    "stage 4 all are near one.",
)

# %%
stage_4 = seeds["stage 4"]
print("each alone above 0.8 at stage 4:", all(min(values) > 0.8 for values in stage_4.values()))
for stage, r2 in seeds.items():
    gains = [b - alone for b, alone in zip(r2["both"], r2["patch embeddings"], strict=True)]
    told = " ".join(f"{gain:.3f}" for gain in gains)
    print(f"{stage}: both, less the patch embeddings alone, seed by seed: {told}")

# %% [markdown]
# *Compare the three colours at stage 4.* The overlapping patch embeddings pad with zeros too, and alone they tell nearly as much as both, from zeros at the top and the left. Compared seed by seed, both are ahead at stages 2 and 3; at stage 4 they differ by about a hundredth or less. Mix-FFN alone tells a little less there. At stage 2, where there is little to read for any, it tells more than the patch embeddings alone.
#
# So overlapping patches do one more thing than lesson 01 said. An experiment that compares overlapping with touching patches and says "position" changes two things at once.
#
# ## 7 · The trap
#
# Flat images are dull. Why not probe on real ones? Here are street scenes, drawn by the package.

# %%
scenes = Scenes(n=64, size=128, seed=2026)
pictures = [scenes.picture(i)[0] for i in range(len(scenes))]
plots.show(
    plots.pictures(
        pictures[:4], ["scene 0", "scene 1", "scene 2", "scene 3"], "Sky above, road below"
    ),
    alt="Four small street scenes: sky above, houses and trees at the sides, a road with vehicles "
    "and people below.",
)

# %% [markdown]
# **Predict.** Probe stage 3 on scenes: with zero padding, with circular padding, and, for comparison, with *no network at all*, the mean colour of each 16×16 pixels. Which can tell a token's row? Which its column?

# %%
prediction = ...  # three times two

# %%
street = torch.cat([normalize(each) for each in pictures])
torch.manual_seed(0)
encoder = MixTransformer(b0).eval()
features = {"no network": F.avg_pool2d(street, 16).permute(0, 2, 3, 1).double().numpy()}
for mode in ("zeros", "circular"):
    pad_with(encoder, mode)
    features[f"padding: {mode}"] = encoder_maps(encoder, street)[2]
for name, each in features.items():
    rows, columns = fit_probe(each[:32]).score(each[32:])
    print(f"{name:<18} rows readable: {rows > 0.1!s:<5}  columns: {columns > 0.1}")

# %%
plots.show(
    plots.score_ranges(
        {
            "rows": {name: [fit_probe(e[:32]).score(e[32:])[0]] for name, e in features.items()},
            "columns": {name: [fit_probe(e[:32]).score(e[32:])[1]] for name, e in features.items()},
            "rows, judged on\nthe fitted scenes": {
                name: [fit_probe(e[:32]).score(e[:32])[0]] for name, e in features.items()
            },
        },
        "R² at stage 3",
        "On scenes the content gives the row away, whatever the padding",
    ),
    alt="R squared on street scenes. For rows, colours without a network, zero padding and "
    "circular padding all score above zero, the two paddings nearly alike. For columns none is "
    "above zero. Judged on the scenes it was fitted to, the probe of either padding scores about "
    "twice as high.",
)

# %% [markdown]
# *Look at "rows" first.* Circular padding, under which nothing but content can tell a token where it is, scores about as much as zeros, and colours without any network are not far behind. Sky is up and road is down: **the content gives position away**. Whoever probes such pictures with zero padding alone finds a score well above zero, and credits the padding with what the sky said.
#
# *Columns* are the control: a street looks alike on its left and right, and nobody can read them here, with either padding. On busy images the faint trace of the border drowns in content, for a *linear* probe of *untrained* features.
#
# *The last group* is a second trap: judged on the very scenes that it was fitted to, a probe with {{stage_3_channels}} numbers a token looks better than it is. Split by **image**, not by token, or neighbours from one image help each other across the split.
#
# ### And after training?
#
# The package brings the weights of nano, a small SegFormer that was trained on streets like these.
#
# **Predict.** Will its features tell the *column*, which untrained ones did not? With which padding?

# %%
prediction = ...  # yes or no, twice

# %%
torch.manual_seed(0)
untrained = MixTransformer(SegFormerConfig.named("nano")).eval()
learned = SegFormer.from_pretrained("nano").encoder
rolled = torch.stack([each.roll(32 * (i % 4), dims=-1) for i, each in enumerate(street)])
print("R² at stage 4 (rows, columns)   rolled sideways, each scene by another number of tokens")
for name, network in {"untrained": untrained, "trained": learned}.items():
    for mode in ("zeros", "circular"):
        pad_with(network, mode)
        read = [probe(images, network)[-1] for images in (street, rolled)]
        print(f"{name:<9} {mode:<8}", *(f"{rows:>8.2f} {columns:>5.2f}" for rows, columns in read))

# %% [markdown]
# Now the control turns round. With zeros a linear probe reads even the columns of the trained network, though the streets look alike on both sides. With circular padding {{columns_circular}} is left ({{columns_circular_range}} on three other sets of scenes), more than the `0.1` that we called readable above. Where does it come from? From the content: under circular padding the tokens of a rolled scene are the same tokens, rolled, and
# from them the probe can no longer tell the column. (Which part of the content it is, we have not looked.) With zeros it can: what it reads there is the border. Rows are read well with either: sky and road again. So this network, having learned to segment, *carries the border's word along* to its last stage, where in the untrained one no linear probe finds it. It is one
# model, and with circular padding it works under conditions that it was not trained for; to be sure, one would train several with each.
#
# ## 8 · What do convolutional projections do?
#
# A post that you may come from ([*An Efficient Transformer Encoder from Scratch*](https://danielhoshizaki.com/2022/10/15/vision-transformers.html)) explains the missing embedding with a quotation from CvT ([Wu and others 2021](https://arxiv.org/abs/2103.15808)): convolutional projections in every block, with a convolutional token embedding, give "the ability to model local spatial relationships through the network", and so allow "dropping the position embedding from the network without hurting performance". CvT is another network than SegFormer. What does it do?
#
# Its *token embedding* is an overlapping strided convolution, as lesson 01's. Its *projections* put a 3×3 depthwise convolution before each of the three Linears of attention, for query, key and value (with a BatchNorm between, and stride 2 for keys and values, both left out here).


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
# **Predict.** With the two instruments of section 3, and the flat map of section 4: what does this attention know, with circular and with zero padding?

# %%
prediction = ...  # neighbours, border; twice

# %%
for mode in ("circular", "zeros"):
    torch.manual_seed(0)
    pad_with(cvt := ConvolutionalAttention(64, 2), mode)
    blind = [torch.allclose(cvt(f(x)), f(cvt(x)), atol=1e-5) for f in (shuffle, roll)]
    reach = travelled(deviation(cvt(flat_map[:, :8, :8])[0].numpy()) > 1e-6)
    print(f"{mode:<9} blind to a shuffle: {blind[0]}, to a roll: {blind[1]!s:<5}", end="  ")
    print(f"flat map: border known {reach} token inward")

# %% [markdown]
# The same as Mix-FFN: neighbours from the convolution, the border from its zeros, one token a layer. It replaces the embedding for the same two reasons, and the quotation names one of them, the *local relationships*. The other, the padding, it does not mention; CPVT, which made position out of a zero-padded convolution on purpose, does ([Chu and others 2021](https://arxiv.org/abs/2102.10882)).
#
# "Without hurting performance" is CvT's own measurement on ImageNet: CvT-13 reaches 81.6 % without and 81.5 % with an embedding in every stage, while DeiT-S, which has no convolution after its patches, falls from 79.8 % to 78.0 % without (ablation *Removing Position Embedding*, [Wu and others 2021](https://arxiv.org/abs/2103.15808)). As far as the paper says these are single runs, and a tenth of a percent is nothing that one run can show.
#
# ## 9 · What happens to a learned embedding at another size?
#
# ViT learns a table, one vector for each of its N places, and adds it to the tokens ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929)). A table for 8×8 places has no entry for a 9th row. For larger pictures it is *resized*, as if it were one:


# %%
def resize_embedding(embedding, height, width):  # (1, h, w, C) → (1, H, W, C)
    as_image = embedding.permute(0, 3, 1, 2)
    return F.interpolate(as_image, (height, width), mode="bicubic").permute(0, 2, 3, 1)


print(tuple(resize_embedding(torch.zeros(1, 8, 8, 32), 16, 16).shape))

# %% [markdown]
# To see what that does, we train a small network that needs position, on a small task. Each token is black or white, at random. **Each shall say the colour of its left neighbour.** One layer of attention with a learned embedding, against one Mix-FFN. Both are trained on maps of 8×8.


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


# %%
def colors(side, generator):
    return torch.randint(0, 2, (16, side, side, 1), generator=generator) * 2.0 - 1


@torch.enable_grad()
def trained(model, steps, generator):
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        x = colors(8, generator)
        loss = F.mse_loss(model(x)[:, :, 1:], x[:, :, :-1])  # each, and its left neighbour
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def right(model, side, steps_left, generator):
    """The share of tokens that name the colour so many steps to their left."""
    x = colors(side, generator)
    return (model(x)[:, :, steps_left:] * x[:, :, :-steps_left] > 0).double().mean().item()


# %% [markdown]
# **Predict.** Both learn it on 8×8. Then they are given 16×16: how many tokens still name their left neighbour? Guessing would give half.

# %%
prediction = ...  # two percentages

# %%
asked = {"8×8: neighbour": (8, 1), "16×16: neighbour": (16, 1), "16×16: two to the left": (16, 2)}
shares = {question: {"embedding": [], "Mix-FFN": []} for question in asked}
for seed in widgets.progress(range(3), "seeds"):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    embedded = trained(WithEmbedding(side=8), 300, generator)
    models = {"embedding": embedded, "Mix-FFN": trained(with_mix_ffn(), 100, generator)}
    for question, (side, left) in asked.items():
        for name, model in models.items():
            shares[question][name].append(right(model, side, left, generator))

# %%
plots.show(
    plots.score_ranges(
        shares,
        "tokens that name the right colour",
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

# %% [markdown]
# It does not fail at random: it looks **two** tokens to the left. Here is where one query looks, before and after.

# %%
looks = []
for side, (row, column) in {8: (3, 4), 16: (7, 9)}.items():
    placed = embedded.placed(torch.zeros(1, side, side, 1))
    looks.append(embedded.attention.weights(placed)[0, 0, row, column].numpy())
plots.show(
    plots.token_maps(
        looks,
        ["8×8, as trained", "16×16, embedding resized"],
        "The query (framed) now looks two tokens to the left",
        mark=[(3, 4), (7, 9)],
    ),
    alt="Two maps of attention with the query framed. On 8 by 8 the token to its left is bright, "
    "and no other. On 16 by 16 several tokens about two to the left are bright, the direct "
    "neighbour much less.",
)

# %% [markdown]
# *Look at the bright tokens.* "One place to the left" was learned as a step of an eighth of the picture. On 16×16 an eighth of the picture is two tokens. **An embedding measures in fractions of the picture, a convolution in tokens.**
#
# Which is right? That depends on *why* there are more tokens. If the picture is larger because one sees *more*, as when a network trained on crops is given the whole photograph, things keep their size in pixels, and tokens are the right measure. If it is the same scene seen *finer*, things grow with it, and a fraction of the picture would be right; but then the content has grown
# for the convolution too, and for every other layer. Say which of the two you test.
#
# The paper tests the first, and in the same direction: on Cityscapes, seen through windows of 768×768 and then whole at 1024×2048, mIoU falls from 77.3 to 74.0 with a position embedding, and from 80.5 to 79.8 with Mix-FFN (arXiv:2105.15203, Table 1c).
#
# The post of section 8 blames patches that do not overlap. Here nothing overlaps, with either network: a token is one colour. With the table it fails at the new size, without the table it does not. So the *table* is enough to fail: what breaks here at a new size is the table of position embeddings. (Overlap has effects of its own: lesson 01.)
#
# ## Play
#
# Padding, kernel, depth, size of the map, with and without attention between: how far has position travelled from the border of a flat map? All sliders answer to the arrow keys.

# %%
widgets.Position()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Each block moves position ⌊k/2⌋ tokens inward, so half a side of 8 tokens takes 8 blocks of 3×3, or 4 of 5×5, or 3 of 7×7. Attention changes by how much tokens differ, and not which do. No other padding tells anything on a flat map, at any depth; nor does a kernel of 1×1, which needs no padding.
#
# </details>
#
# ## Break it
#
# This is the Mix-FFN of a published library, put into PyTorch by us. It is the `MixFFN` of KerasHub, and of KerasCV before it ([mit_layers.py at commit adce690](https://github.com/keras-team/keras-hub/blob/adce69008f8bb66f2204869cd31aefce6ea7b775/keras_hub/src/models/mit/mit_layers.py)). Tokens arrive as a list, become a map for the convolution, and a list again. Here is that step
# alone.


# %%
def mixed_by_a_library(tokens, depthwise):  # (B, N, C)
    B, N, C = tokens.shape
    H, W = int(math.sqrt(N)), int(math.sqrt(N))
    as_map = tokens.reshape(B, H, W, C).permute(0, 3, 1, 2)
    return depthwise(as_map).permute(0, 2, 3, 1).reshape(B, -1, C)


torch.manual_seed(0)
depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
for size in ((16, 16), (8, 32)):
    tokens = torch.randn(1, *size, 16)
    expected = depthwise(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
    same = torch.allclose(mixed_by_a_library(tokens.flatten(1, 2), depthwise), expected, atol=1e-6)
    print(f"{size[0]}×{size[1]} tokens: as it should be: {same}")

# %% [markdown]
# On a square map it is right. On 8×32 tokens, a panorama four times as wide as high, it runs, gives a list of the right length, and is wrong. Take lesson 03's instrument: **change one token, and see which notice.**
#
# **Predict.** How many tokens should notice, and where are they?

# %%
prediction = ...  # a number and a shape

# %%
touched = tokens.clone()
touched[0, 4, 20] += 1
notice = []
for mixed in (mixed_by_a_library, lambda t, d: d(t.mT.unflatten(2, (8, 32))).flatten(2).mT):
    change = mixed(touched.flatten(1, 2), depthwise) - mixed(tokens.flatten(1, 2), depthwise)
    notice.append((change.abs().amax(-1) > 1e-6).float().view(8, 32))
plots.show(
    plots.token_maps(
        [each.numpy() for each in notice],
        ["the library's", "as it should be"],
        "One token is changed (framed): in the library, others notice",
        mark=[(4, 20)] * 2,
    ),
    alt="Two maps of 8 by 32 tokens with the changed one framed. On the right the 3 by 3 tokens "
    "around it are lit. On the left nine are lit too: three in its own row, around it, and a block "
    "of six, sixteen columns to the left.",
)

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# The function has no height and no width, so it takes the square root of N for both. On 8×32 tokens that is 16 and 16: the reshape lays each row of 32 as two rows of 16. A token's neighbours to the left and right are still the right ones, except at the fold. What should be above and below is half a row away. And the padding tells of a border that is not there, in the middle of
# the picture.
#
# Where N is no square, the reshape fails, and one is told. The silent case is a picture whose sides are as 1 to 4 (or 4 to 9, or 1 to 9). A square test image never shows it; nor do shapes. One test does: *a map that is not square, against a convolution on the map itself*.
#
# The mend is to pass the height and the width along, or better, the map. That is why maps travel as `(B, H, W, C)` through this package: there is no loose H and W to lose or to swap. Swapping is the other form of this mistake, and hides in the same way: torchtitan's resizing of a position embedding had its two axes swapped in two places, and on square maps one swap hid the other
# ([pull request 4244](https://github.com/pytorch/torchtitan/pull/4244)).
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("04.1")` gives a hint, and another one each time you ask; `solution("04.1")` the answer.
#
# ### Exercise 04.1 ★ 5 minutes · What does Mix-FFN hold?
#
# The number of parameters of one Mix-FFN: channels, expansion ratio, and side of the depthwise kernel. Biases count.


# %%
def mix_ffn_parameters(channels, ratio, kernel):
    return ...


check("04.1", mix_ffn_parameters)

# %% [markdown]
# ### Exercise 04.2 ★ 5 minutes · How many blocks until the middle knows?
#
# A flat map of `height` × `width` tokens, blocks with a `kernel` × `kernel` convolution padded by zeros (kernel 3 or more, odd). The smallest number of blocks after which word of the border has reached *every* token, also one that stands in the middle alone.


# %%
def blocks_needed(height, width, kernel):
    return ...


check("04.2", blocks_needed)

# %% [markdown]
# ### Exercise 04.3 ★★ 10 minutes · The depthwise convolution by hand
#
# Without a convolution: x is `(B, H, W, C)`, weight `(C, 1, 3, 3)` and bias `(C,)`, as in `nn.Conv2d(C, C, 3, padding=1, groups=C)`. Padding is zeros; the answer is a map again.


# %%
def depthwise_by_hand(x, weight, bias):
    return ...


check("04.3", depthwise_by_hand)

# %% [markdown]
# ### Exercise 04.4 ★★ 8 minutes · Mend the library
#
# Tokens come as a list, `(B, N, C)`, N = height · width, row by row. Run the depthwise convolution with the given weight and bias (shapes as in Exercise 04.3) on the map, and give a list back. Any height and width.


# %%
def mix_tokens(tokens, height, width, weight, bias):
    # side = int(math.sqrt(tokens.shape[1]))
    return ...


check("04.4", mix_tokens)

# %% [markdown]
# ### Exercise 04.5 ★★ 10 minutes · Resize a learned embedding
#
# A ViT keeps its table as a list, `(1, h·w, C)`, row by row. Resize it to `(1, H·W, C)`: `old` is (h, w), `new` is (H, W). Bilinear, `align_corners=False`.


# %%
def resize_table(table, old, new):
    return ...


check("04.5", resize_table)

# %% [markdown]
# ### Exercise 04.6 ★★★ 15 minutes · Build the probe
#
# Ridge regression in closed form. features is `(n, C)`, places `(n, 2)`, strength is λ itself. Center both; return the predictions for `others`, `(m, C)` → `(m, 2)`, in the units of places.


# %%
def probe_places(features, places, strength, others):
    return ...


check("04.6", probe_places)

# %% [markdown]
# ## Recap
#
# - Attention, and all that acts on tokens one by one, is equivariant to permutations: exactly in arithmetic, up to the order of sums in floating point.
# - Mix-FFN: Linear, 3×3 depthwise convolution, GELU, Linear. The convolution is a small share of its parameters.
# - The convolution says *next to whom*. Its zero padding says *where*, and other paddings say nothing on a flat map.
# - Position comes in from the border, one token a block for a 3×3 kernel, and fades. Attention alone does not carry it further on a flat map.
# - A linear probe reads it, from untrained features of flat images. On scenes the content gives the row away: compare with circular padding, and with no network. In the trained nano, zeros let it be read on scenes too.
# - The patch embeddings pad too. CvT's projections work for the same reasons.
# - A learned embedding measures in fractions of the picture, a convolution in tokens.
#
# **Can you answer without scrolling up?**
#
# 1. Which bits of attention's answers may change under a shuffle of all tokens, and why?
# 2. Mix-FFN with circular padding: is it blind to a shuffle, and to a roll?
# 3. A flat map of 20×20 tokens, three blocks with 3×3 kernels and zeros: how many tokens are still like the middle one?
# 4. A probe on photographs reads rows with an R² well above zero. What would you compare with before you say "zero padding"?
# 5. A network with a learned embedding was trained at 224×224 and is used at 448×448. What has changed for "my left neighbour"?
#
# <details><summary>Answers</summary>
#
# 1. The last ones: the sums over the keys run in another order, and each addition rounds.
# 2. To a roll, yes; to a shuffle, no. It knows its neighbours, and has no border.
# 3. `(20 − 2·3)² = 196`.
# 4. With circular padding and the same weights, and with the colours alone: content gives rows away. And judge it on images that it was not fitted to.
# 5. In units of the embedding it is half as far away as before. Attention that learned "one step of the table" now looks two tokens to the left.
#
# </details>
#
# > **Where paper, code and posts differ**
# >
# > - *Equation 3* (arXiv:2105.15203, eq. 3) writes MLP twice, where code has one Linear each; and it includes the skip connection, which code keeps outside. Neither has the norm before it.
# > - *MLP or 1×1 convolution.* The same map ([mmsegmentation, issue 1287](https://github.com/open-mmlab/mmsegmentation/issues/1287)).
# > - *The expansion ratio.* Table 6 of the paper says 8, 8, 4, 4 for B0 to B4; the released models have 4 in every stage (arXiv:2105.15203, Table 6).
# > - *"A 3×3 convolution is sufficient to provide positional information"* (arXiv:2105.15203, Section 3.1). The text names the zero padding, and cites Islam and others for it. It does not say that the patch embeddings pad as well, and alone tell nearly as much as both at stage 4 (section 6).
# > - *Table 1c* compares crops of 768×768, seen through a sliding window, with whole pictures of 1024×2048: size and procedure change together (arXiv:2105.15203, Section 4.2).
# > - *"Model local spatial relationships."* The post of section 8 quotes CvT to explain a model that has no convolutional projections. Local relationships alone leave a network blind to a roll; the zeros do the rest.
# > - *Why ViT transfers badly to other sizes.* The same post blames patches that do not overlap. In section 9 nothing overlaps, and of two networks only the one with the table fails.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.1, eq. 3, Tables 1c and 6. M. A. Islam, S. Jia, N. Bruce, *How much position information do convolutional neural networks encode?*, [arXiv:2001.08248](https://arxiv.org/abs/2001.08248). X. Chu and others, *Conditional positional encodings* (CPVT),
# [arXiv:2102.10882](https://arxiv.org/abs/2102.10882). H. Wu and others, *CvT*, [arXiv:2103.15808](https://arxiv.org/abs/2103.15808). A. Dosovitskiy and others, *An image is worth 16×16 words* (ViT), [arXiv:2010.11929](https://arxiv.org/abs/2010.11929).
#
# **Next:** lesson 05. Attention and Mix-FFN are each added to what comes in. What if, in training, one leaves them out at random?
