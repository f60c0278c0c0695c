# %% [markdown]
# # Lesson 01 · How does an image become tokens?
#
# A transformer reads a list of vectors, its *tokens*. A photograph is no list: it is a grid of pixels, and far too many of them. Something has to turn one into the other before
# any attention can begin. That something is small, a convolution and a norm, and it settles more than it seems to: how fine the answer can be, what a token knows of its neighbours, and whether
# every pixel of the photograph is seen.
#
# **After this lesson you will be able to**
#
# - cut an image into tokens in three ways that give the same numbers, and say why they do;
# - compute how many tokens any image makes, and which pixels are lost;
# - go from a map to tokens and back without scrambling either;
# - say what overlap buys, what it does not, and how you know;
# - build `OverlapPatchEmbedding`, the first layer of every stage of SegFormer.
#
# **Time** 70 minutes, and 45 for the exercises. **You need** lesson 00, and to have met a convolution before. No GPU.

# %%
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import SegFormerConfig, plots
from segformer_edu.analysis.patches import PatchRow
from segformer_edu.checks import check_images, check_positive
from segformer_edu.data.photos import IMAGENET_MEAN, IMAGENET_STD, normalize, sample_photo
from segformer_edu.exercises import check, hint, solution
from segformer_edu.widgets import Patches

torch.set_grad_enabled(False)  # nothing is trained in this lesson
photo = sample_photo("astronaut")
images = normalize(photo)  # (1, 3, 512, 512)

# %% [markdown]
# ## 1 · How does ViT cut?
#
# The Vision Transformer cuts the photograph into squares of 16×16 that touch and do not overlap, and calls each one a token ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929)).
#
# **Predict.** How many squares are there in a photograph of 512×512? And how many numbers are in one of them, with three colours?

# %%
prediction = ...  # two numbers, for example (100, 256)

# %%
squares = images.unflatten(2, (32, 16)).unflatten(4, (32, 16))  # (1, 3, 32, 16, 32, 16)
squares = squares.permute(0, 2, 4, 1, 3, 5)  # (1, 32, 32, 3, 16, 16): the square comes first
patches = squares.flatten(3).flatten(1, 2)  # (1, N, 3·16·16)
print("patches", tuple(patches.shape))

# %%
plots.show(
    plots.patches(photo, [(16, 16, 0)], finding="A photograph, cut as ViT cuts it"),
    alt="The portrait under a grid of 32 by 32 squares that touch. Three of them, near the middle, "
    "are framed in colour: a square, the one to its right and the one below.",
)

# %% [markdown]
# *Look at the face.* An eye is a little wider than a square. {{vit_tokens}} squares, {{vit_values}} numbers each: what was an image is now a list.
#
# The numbers of a square are raw pixels. One learned matrix, a `Linear`, turns each list of {{vit_values}} into as many channels as the model works with: that is the *embedding*.

# %%
torch.manual_seed(0)
linear = nn.Linear(3 * 16 * 16, 32)
tokens = linear(patches)  # (1, N, 32)
print("tokens", tuple(tokens.shape))

# %% [markdown]
# ### The same as a strided convolution
#
# Most implementations leave out the permutes and use a convolution whose stride is its kernel. It is worth knowing exactly why that is allowed.
#
# **Predict.** `linear.weight` has the shape `(32, 768)`, the convolution's has `(32, 3, 16, 16)`. Which operation takes the one to the other: a `view`, or a `permute` as well?

# %%
prediction = ...  # "view" or "permute"

# %%
conv = nn.Conv2d(3, 32, kernel_size=16, stride=16)
conv.weight.copy_(linear.weight.view(32, 3, 16, 16))
conv.bias.copy_(linear.bias)
by_conv = conv(images).flatten(2).transpose(1, 2)  # (1, 32, 32, 32) → (1, N, 32)
assert torch.allclose(by_conv, tokens, atol=1e-4)
print("a convolution with stride = kernel is a Linear on patches")

# %% [markdown]
# A `view` is enough, because we flattened each square in the order in which a convolution keeps its weights: colour, then row, then column. A convolution lays its kernel on a patch, multiplies
# number by number, and sums; a Linear does that to a flat list. The stride says where the next patch begins. There is no other difference.
#
# So here is ViT's patch embedding, whole:


# %% tags=["stage"]
class PatchEmbedding(nn.Module):
    """Patches that touch, as ViT cuts them: (B, 3, H, W) → (B, N, C)."""

    def __init__(self, in_channels: int, embed_dim: int, patch_size: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x).flatten(2).transpose(1, 2)  # (B, C, H', W') → (B, N, C)


# %% [markdown]
# ## 2 · Why should patches overlap?
#
# SegFormer wants to name every pixel, so it cuts much finer: a token every four pixels. And it lets the patches overlap, because cutting without overlap
# "fails to preserve the local continuity around those patches" (arXiv:2105.15203, Section 3.1). What does that mean, in numbers?
#
# Take the simplest thing there is to see: an edge, dark on the left and bright on the right. And take a filter that looks for change, one whose weights sum to zero, so that it says nothing
# where all is flat.
#
# **Predict.** Patches of 4×4 that touch. Move the edge to the right one pixel at a time. Is there a place where *no* token notices it?

# %%
prediction = ...  # yes or no; and if yes, in one place of how many?


# %%
def edge(column: int) -> Tensor:
    image = torch.zeros(1, 1, 64, 64)
    image[..., column:] = 1
    return image


def change_filters(patch_size: int) -> Tensor:
    weight = torch.randn(64, 1, patch_size, patch_size, generator=torch.Generator().manual_seed(0))
    weight = weight - weight.mean((2, 3), keepdim=True)  # sums to zero: silent where all is flat
    return weight / weight.square().sum((2, 3), keepdim=True).sqrt()


def loudest(patch_size: int, padding: int, column: int) -> float:
    answers = F.conv2d(edge(column), change_filters(patch_size), stride=4, padding=padding)
    return answers[..., 2:-2, 2:-2].abs().max().item()  # without the image's own border


columns = range(28, 37)
touching = [loudest(4, 0, column) for column in columns]
overlapping = [loudest(7, 3, column) for column in columns]
print("4×4  ", *(f"{answer:.1f}" for answer in touching))
print("7×7  ", *(f"{answer:.1f}" for answer in overlapping))

# %%
plots.show(
    plots.shift_curves(
        range(9),
        {"4×4 patches that touch": touching, "7×7 patches that overlap": overlapping},
        what="loudest answer to the edge",
        stride=4,
        finding="At every fourth place, an edge lies between all the patches",
    ),
    alt="Two curves over the place of the edge, in pixels. Patches of 4 by 4 answer strongly at "
    "most places, and with zero at 0, 4 and 8. Overlapping patches of 7 by 7 answer at "
    "every place.",
)

# %% [markdown]
# *Look at the lines of whole tokens.* There the edge runs exactly between two patches. The patch on its left is all dark, the one on its right all bright; both are flat, and 64 random filters are silent.
# No training can mend that: any filter whose weights sum to zero answers zero on a flat patch, whatever the weights are; and one whose weights do not says how bright the patch is, no more.
#
# The edge is not lost to the *network*: one token says dark, the next says bright, and a later layer may compare them. But no single token knows of it, and that depends on where the photographer stood.
#
# Now count for a photograph: how many pairs of neighbouring pixels in a row are seen together by some patch? (`PatchRow` lists the patches along one side of an image: at which pixel each of them `starts`, and for each pixel its `coverage`, how many
# patches it lies in.)


# %%
def pairs_seen(patch_size: int, stride: int, padding: int) -> float:
    starts = torch.as_tensor(PatchRow(512, patch_size, stride, padding).starts)
    left = torch.arange(511)[:, None]  # pixel `left`, and the one to its right
    return ((starts <= left) & (left + 1 < starts + patch_size)).any(1).float().mean().item()


for patch_size, padding in ((4, 0), (5, 2), (7, 3)):
    print(f"{patch_size}×{patch_size}, stride 4: {pairs_seen(patch_size, 4, padding):.1%} of pairs")

# %% [markdown]
# That is local continuity, measured. The middle row tells you something else: with **one** column of overlap only one pair is left, at the far end, where the last patch ends a pixel short. SegFormer takes three. The paper states the numbers, K = 7, S = 4, P = 3 (Section 3.1),
# and compares no others. Section 3 finds something that speaks for 7; whether a model *learns* better with it, only training could say.
#
# ### See it on the photograph
#
# **Predict.** Patches are seven pixels wide and begin every four. How many columns of pixels does a patch share with the next?

# %%
prediction = ...  # one number

# %%
first, second = set(range(0, 7)), set(range(4, 11))
print("shared columns:", sorted(first & second))

# %%
eye = photo[84:116, 186:218]  # 32 × 32 pixels
plots.show(
    plots.patches(eye, [(4, 4, 0), (7, 4, 3)], finding="As many tokens, and no seam between them"),
    alt="An eye, 32 by 32 pixels, twice. On the left squares of 4 pixels touch. On the right "
    "squares of 7 pixels begin every 4 pixels; three framed neighbours overlap in hatched strips 3 "
    "pixels wide, and patches at the border reach 3 pixels into a grey frame, the padding. Both "
    "grids make 8 by 8 tokens.",
)

# %% [markdown]
# *Look at the hatched strips.* The yellow patch shares three columns with the blue one and three rows with the orange one. The grey frame is *padding*: three rings of zeros, so that the first patch can
# stand with its middle on the first pixel. Padding is why both grids have the same number of tokens.
#
# How many patches does a pixel lie in, then? `F.fold` adds up patches where they came from; fed with ones, it counts.

# %%
ones = torch.ones(1, 1, 32, 32)
cut = F.unfold(ones, kernel_size=7, stride=4, padding=3)  # (1, 49, 64): 64 patches of 49 numbers
counts = F.fold(torch.ones_like(cut), (32, 32), kernel_size=7, stride=4, padding=3)[0, 0]
print(counts[8:16, 8:16].int())

# %% [markdown]
# Along a side, one pixel in four lies in one patch only, and the others in two; counting both directions, up to four. (No token has a pixel for itself: each patch holds {{places_7}} of them.) Away from the border, the average is (7/4)² = {{overlap_factor}} patches a pixel.
#
# That is also the **price**: {{values_7}} numbers a patch instead of {{values_4}}, so {{overlap_factor}} times the multiply-adds, and {{parameters_7}} parameters instead of {{parameters_4}} (B0, 32 channels). The number of tokens, which all
# later layers pay for, stays the same.
#
# **Check** that overlap changes nothing in the argument of section 1: with `F.unfold` to cut, a Linear with the convolution's weights still gives its numbers.

# %%
conv = nn.Conv2d(3, 32, kernel_size=7, stride=4, padding=3)
cut = F.unfold(images, kernel_size=7, stride=4, padding=3).transpose(1, 2)  # (1, N, 3·7·7)
by_linear = F.linear(cut, conv.weight.flatten(1), conv.bias)  # (1, N, 32)
assert torch.allclose(by_linear, conv(images).flatten(2).transpose(1, 2), atol=1e-4)
print("overlapping or not, a convolution is a Linear on patches")

# %% [markdown]
# ## 3 · How many tokens does an image make?
#
# Slide a patch of K along a side of H pixels, with P zeros on both ends, S at a time. It starts at the left end, and has H + 2P − K left to travel. That makes ⌊(H + 2P − K) / S⌋ steps,
# rounded down because half a step is not taken; and one more patch, the one it started from:
#
# $$H' = \left\lfloor \frac{H + 2P - K}{S} \right\rfloor + 1$$
#
# **Predict.** Neither side of 500 × 300 divides by 16. How many tokens do ViT's patches make of it (kernel 16, stride 16, padding 0)? And SegFormer's (7, 4, 3)?

# %%
prediction = ...  # four numbers: rows and columns, twice


# %%
def tokens_along(length: int, patch_size: int, stride: int, padding: int) -> int:
    return (length + 2 * padding - patch_size) // stride + 1


for name, patch in (("ViT      ", (16, 16, 0)), ("SegFormer", (7, 4, 3))):
    print(name, tokens_along(500, *patch), "×", tokens_along(300, *patch))

# %% [markdown]
# A formula is a claim. **Check** it against torch itself, on every size up to a hundred, and look for something simpler while we are at it.

# %%
for length in range(1, 101):
    row = torch.zeros(1, 1, 1, length)
    for patch_size, stride in ((7, 4), (3, 2)):
        out = F.conv2d(
            F.pad(row, [patch_size // 2] * 2), torch.ones(1, 1, 1, patch_size), stride=stride
        )
        assert out.shape[-1] == tokens_along(length, patch_size, stride, patch_size // 2)
        assert out.shape[-1] == -(-length // stride)  # ⌈length / stride⌉
print("with an odd kernel and half of it as padding: the side over the stride, rounded up")

# %% [markdown]
# So SegFormer's stages divide by 4 and then by 2, *rounded up*: no photograph is too odd for them. Without padding it is rounded *down*, and what does
# not fill a patch is thrown away. With patches of 32, the largest that ViT comes in:

# %%
tall = photo[6:506, 106:406]  # 500 × 300
plots.show(
    plots.patches(tall, [(32, 32, 0), (63, 32, 31)], finding="Without padding, the rest is lost"),
    alt="A portrait of 500 by 300 pixels, twice. On the left 15 by 9 patches of 32 pixels touch, "
    "and leave a grey strip at the right and at the bottom that no patch sees. On the right 16 by "
    "10 overlapping patches of 63 pixels, 32 apart, reach past every border.",
)

# %% [markdown]
# *Look at the grey strips on the left.* Twenty rows and twelve columns reach no token: {{seen_by_32}} of the pixels are seen, and the model cannot know that there was more. (The patches on the right are those of SegFormer's last
# stage; section 6 shows why they are 63 wide.)
#
# So is a side "over the stride, rounded up" enough to lose nothing? Not yet: a token count says how many patches there are, not how far they reach. For strides of 2 and 4, which is the smallest odd kernel, padded by half, that
# reaches every pixel of every size?

# %%
for stride in (2, 4):
    for patch_size in (1, 3, 5, 7, 9):
        rows = [PatchRow(length, patch_size, stride, patch_size // 2) for length in range(1, 101)]
        lost = sum(row.coverage.min() == 0 for row in rows)
        print(f"stride {stride}, kernel {patch_size}: pixels are lost at {lost:>2} of 100 sizes")

# %% [markdown]
# There they are: 3 for stride 2, and 7 for stride 4, the kernels of SegFormer. A kernel of 5 at stride 4 overlaps too, and still loses the last row and column whenever 4
# divides the side. The rule is K ≥ 2S − 1: patches have their middles at pixels 0, S, 2S and so on; up to S − 1 more follow the last middle, and half a kernel, (K − 1)/2, must reach over them. The paper does not give this as its reason; it is a good one.
#
# > **A trap.** Padding by `K // 2` centres the patch on its pixel only when K is odd. Patches of 4 with a padding of 2 make one token *more* than H/4:

# %%
print(tokens_along(512, 4, 4, 2), "tokens along 512, with kernel 4, stride 4, padding 2")

# %% [markdown]
# ## 4 · How do you get from a map to tokens, and back?
#
# A convolution gives a *map*, (B, C, H', W'). Attention wants *tokens*, (B, N, C). They hold the same numbers; to go from one to the other is a question of order, and it is where most bugs of this lesson live.
#
# **Predict.** Here is a map of two rows and three columns with two channels: the first channel counts 0 to 5, the second 10 to 15. What is the first token?

# %%
prediction = ...  # two numbers

# %%
small = torch.tensor([[[[0, 1, 2], [3, 4, 5]], [[10, 11, 12], [13, 14, 15]]]])  # (1, 2, 2, 3)
print("right:", small.flatten(2).transpose(1, 2).tolist())
print("wrong:", small.reshape(1, 6, 2).tolist())

# %% [markdown]
# A token is *all channels of one place*: (0, 10), what both channels say about the top left corner. The wrong line has the right shape, (1, 6, 2), and so nothing complains; but its first token is
# two neighbours of one channel. `reshape` reads the numbers in the order of the axes, the last axis fastest, and cuts that list anew; it swaps nothing.
#
# See the same slip on a photograph, whose "map" has three channels, its colours:


# %%
def as_picture(tokens: Tensor, side: int):
    """(N, 3) tokens, each a colour as `normalize` leaves it → (side, side, 3) bytes."""
    colors = tokens * torch.tensor(IMAGENET_STD) + torch.tensor(IMAGENET_MEAN)
    return (colors.clamp(0, 1) * 255).byte().unflatten(0, (side, side)).numpy()


right = images.flatten(2).transpose(1, 2)[0]  # (N, 3)
wrong = images.reshape(1, 512 * 512, 3)[0]
plots.show(
    plots.pictures(
        [as_picture(right, 512), as_picture(wrong, 512)],
        ["flatten, transpose; and back", "reshape, same shape"],
        finding="The shape is right in both",
    ),
    alt="On the left the portrait, unharmed. On the right nine small, flat, grey-toned copies of "
    "it in three rows of three: a row for the red, the green and the blue channel. Each of the "
    "three copies in a row has every third row of the photograph.",
)

# %% [markdown]
# *Count the faces on the right.* The red channel comes first in the list, so the first third of the "pixels" is made of red alone, three neighbours at a time. Three rows of the photograph then fit side by side into one, and that is why each channel shows three faces.
#
# The course avoids the question where it can. Its modules pass **maps with channels last**, (B, H', W', C): LayerNorm and Linear act on the last axis as they are, no height and width travel beside the tensor, and
# tokens are one `flatten(1, 2)` away, with `unflatten` for the way back.

# %%
channels_last = small.permute(0, 2, 3, 1)  # (1, 2, 3, 2)
assert torch.equal(channels_last.flatten(1, 2), small.flatten(2).transpose(1, 2))
assert torch.equal(channels_last.flatten(1, 2).unflatten(1, (2, 3)), channels_last)
print("permute once; after that, flatten and unflatten are enough")

# %% [markdown]
# ## 5 · LayerNorm or BatchNorm?
#
# After the projection comes a norm. Convolutional networks mostly use BatchNorm, transformers LayerNorm, and the difference is which numbers share a mean. Three tokens of three channels, by hand:

# %%
three = torch.tensor([[1.0, 2, 3], [10, 20, 30], [101, 102, 103]])  # 3 tokens, 3 channels
by_token = (three - three.mean(1, keepdim=True)) / three.std(1, keepdim=True, correction=0)
by_channel = (three - three.mean(0)) / three.std(0, correction=0)
print("LayerNorm, each token over its channels\n", by_token.round(decimals=2))
print("BatchNorm, each channel over the tokens\n", by_channel.round(decimals=2))
assert torch.allclose(by_token, nn.LayerNorm(3)(three), atol=1e-4)
assert torch.allclose(by_channel, nn.BatchNorm1d(3)(three), atol=1e-4)

# %% [markdown]
# LayerNorm keeps the *pattern* of a token's channels, and drops their level and their scale: multiply all of them by ten, or add a hundred to each, and the result is the same. BatchNorm asks whether a token has more of a channel *than the other tokens*, so what a token becomes depends on
# its company.
#
# **Predict.** Send the astronaut through alone, and then in a batch with a very dark copy of herself. With which norm do *her* tokens change?

# %%
prediction = ...  # "LayerNorm", "BatchNorm", both or none

# %%
dark = 0.2 * images - 1.5
alone, together = conv(images), conv(torch.cat([images, dark]))
layer_norm, batch_norm = nn.LayerNorm(32), nn.BatchNorm2d(32)
by_layer = [layer_norm(each.permute(0, 2, 3, 1))[0] for each in (alone, together)]
by_batch = [batch_norm(each)[0] for each in (alone, together)]
print(f"LayerNorm: her tokens change by {(by_layer[0] - by_layer[1]).abs().max():.1f} at most")
print(f"BatchNorm: her tokens change by {(by_batch[0] - by_batch[1]).abs().max():.1f} at most")

# %% [markdown]
# With BatchNorm, in training, what a photograph looks like to the network depends on which others were drawn with it. For evaluation it keeps running averages instead. Where batches are small, its statistics are poor
# ([Wu and He 2018](https://arxiv.org/abs/1803.08494) measure what that costs). LayerNorm has no such memory, and does the same in training and evaluation. (SegFormer uses one BatchNorm all the same, in its decoder: lesson 07 folds it away.)
#
# One warning. `nn.LayerNorm(32)` normalises the *last* axis, and does not ask what it is. Give it a map with channels second, whose width happens to be 32 too:

# %%
small_photo = F.interpolate(images, (128, 128), mode="area")
channels_second = conv(small_photo)  # (1, 32, 32, 32): which 32 is which?
silent = layer_norm(channels_second)  # no error
meant = layer_norm(channels_second.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
print("same shape:", silent.shape == meant.shape, " same numbers:", torch.allclose(silent, meant))

# %% [markdown]
# B0 has 32 channels in its first stage, and a photograph of 128×128 makes a map 32 wide. At any other width torch would have refused. Test shapes on sizes that are *all different*.
#
# ## Build it
#
# You have all the parts. First with tokens, and their height and width beside them:


# %% tags=["stage"]
class OverlappingTokens(nn.Module):
    """Overlapping patches as tokens: (B, C_in, H, W) → (B, N, C), and the map's size."""

    def __init__(self, in_channels: int, embed_dim: int, patch_size: int, stride: int) -> None:
        super().__init__()
        padding = patch_size // 2
        self.projection = nn.Conv2d(in_channels, embed_dim, patch_size, stride, padding)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        tokens = self.projection(x)  # (B, C, H', W')
        height, width = tokens.shape[2:]
        return self.norm(tokens.flatten(2).transpose(1, 2)), (height, width)  # (B, N, C)


# %% [markdown]
# And as this course keeps it: one map in, one map out, and a word with whoever hands it something else (`check_positive` and `check_images` raise those sentences).

# %% tags=["mirror"]
# segformer_edu.patch_embedding.OverlapPatchEmbedding

# %% [markdown]
# **Check it** against the parts that you trust by now: unfold, a Linear, and a norm by hand, with the same weights, on an image whose sides are different and divide by nothing.

# %%
embedding = OverlapPatchEmbedding(3, 32, patch_size=7, stride=4)
odd = images[..., :101, :67]
cut = F.unfold(odd, 7, padding=3, stride=4).transpose(1, 2)  # (1, N, 3·7·7)
tokens = F.linear(cut, embedding.projection.weight.flatten(1), embedding.projection.bias)
tokens = tokens - tokens.mean(-1, keepdim=True)
tokens = tokens / (tokens.square().mean(-1, keepdim=True) + 1e-5).sqrt()
assert torch.allclose(embedding(odd).flatten(1, 2), tokens, atol=1e-4)
print(tuple(odd.shape), "→", tuple(embedding(odd).shape), "as by hand")

# %% [markdown]
# ## 6 · What do four of them make?
#
# A SegFormer has four patch embeddings, one at the start of each stage. The first reads the photograph, the others the map of the stage before; they are what makes it a *pyramid*.
#
# **Predict.** The second has a kernel of 3 and a stride of 2, on tokens that stand four pixels apart. How far apart are *its* tokens, and how many pixels wide is what one of them sees?

# %%
prediction = ...  # two numbers

# %%
config = SegFormerConfig.named("b0")
channels = zip((3, *config.embed_dims[:-1]), config.embed_dims, strict=True)
patch = zip(config.patch_sizes, config.strides, strict=True)
pyramid = [OverlapPatchEmbedding(*a, *b) for a, b in zip(channels, patch, strict=True)]
for name, size in (("512 × 512", (512, 512)), ("500 × 300", (500, 300))):
    x, grids = images[..., : size[0], : size[1]], []
    for stage in pyramid:
        x = stage(x).permute(0, 3, 1, 2)  # (B, C, H', W'), as the next convolution wants it
        grids.append(" × ".join(map(str, x.shape[2:])))
    print(f"{name}:", ", ".join(grids))

# %% [markdown]
# H/4, H/8, H/16, H/32, rounded up at each stage. And what a token sees, we can measure: ask for the gradient of one token with respect to the pixels, and count the columns where it is not zero.

# %%
pixels = images[..., :256, :256].clone().requires_grad_()
with torch.enable_grad():
    x = pixels
    for number, stage in enumerate(pyramid, start=1):
        x = stage(x).permute(0, 3, 1, 2)
        middle = x.shape[-1] // 2
        (gradient,) = torch.autograd.grad(x[0, 0, middle, middle], pixels, retain_graph=True)
        seen = int((gradient[0].abs().sum((0, 1)) > 0).sum())
        print(f"stage {number}: tokens {256 // x.shape[-1]:>2} apart, each sees {seen:>2} pixels")

# %%
plots.show(
    plots.patches(
        photo[43:171, 188:316],
        [(7, 4, 3), (15, 8, 7), (31, 16, 15), (63, 32, 31)],
        finding="Four embeddings in a row: every patch overlaps the next by almost half",
    ),
    alt="Half of a face and the wall beside it, 128 by 128 pixels, four times. Patches of 7, 15, "
    "31 and 63 pixels make 32, 16, 8 and 4 tokens a side. In each, three framed neighbours overlap "
    "in hatched strips.",
)

# %% [markdown]
# *Follow the yellow frame from left to right.* It doubles, and one pixel more: from an iris, by way of an eye and its brow, to most of two eyes and the hair above them. In stage 1 the overlap is three of seven, in stage 4 it is 31 of 63: a
# kernel of 3 with stride 2 keeps neighbours sharing a token, and through it nearly half of their pixels. (Attention and Mix-FFN widen this further; here are the embeddings alone. Exercise 01.6 asks you for the rule.)
#
# ## 7 · What if the photograph moves by one pixel?
#
# Nothing in the world has changed when the camera moves by a pixel. Does the network notice? Let us compare the tokens of the photograph with those of the photograph a few pixels further right,
# and be fair: when the content has moved by a whole stride, we compare with the token next door. And since the question is about patches, we take the convolutions alone, without the LayerNorm, which rescales every token.
#
# **Predict.** Which tokens change more under a shift of one pixel: 4×4 patches that touch, or 7×7 patches that overlap? By how much? And after a shift of four?

# %%
prediction = ...  # "touching", "overlapping" or "about the same"


# %%
def shifted(shift: int) -> Tensor:
    return images[..., 128:384, 128 - shift : 384 - shift]  # one window, its content moves right


def change(embed, shift: int) -> float:
    before, after = embed(shifted(0)), embed(shifted(shift))  # (1, C, H', W')
    moved = (shift + 2) // 4  # the content moved by so many tokens, rounded
    before = before[..., 4:-4, 4 : -4 - moved]  # every token but those at the border,
    after = after[..., 4:-4, 4 + moved : -4]  # and the tokens at the places it moved to
    difference = (after - before).square().mean()
    spread = (before - before.mean((2, 3), keepdim=True)).square().mean()  # among the tokens
    return (difference / spread).sqrt().item()


# %% [markdown]
# `change` is 0 when the tokens are the same, and √2 when they are as different as two tokens picked at random. (The border is left out: there, padding changes them too.) Eight random initialisations of each kind, because one could be luck:

# %%
shifts = range(9)
random_weights = {}
for patch_size, padding in ((4, 0), (7, 3)):
    torch.manual_seed(0)
    embeds = [nn.Conv2d(3, 32, patch_size, stride=4, padding=padding) for _ in range(8)]
    each = torch.tensor([[change(embed, shift) for shift in shifts] for embed in embeds])
    random_weights[f"{patch_size}×{patch_size}, random weights"] = each.mean(0).tolist()
    low, mean, high = each[:, 1].min(), each[:, 1].mean(), each[:, 1].max()
    print(f"{patch_size}×{patch_size}, one pixel: {mean:.2f} on average, {low:.2f} to {high:.2f}")

# %% [markdown]
# Did you expect more? The averages are close, and the two ranges overlap. *With random weights, overlap makes tokens hardly steadier.* There is a reason: a random filter weighs neighbouring pixels without regard to each other, so its answer changes as much as
# the pixels under it do, and pixels change as much under a wide patch as under a narrow one.
#
# Overlap is not steadiness; it is *room* for it, because at stride 4 only overlapping patches can be wider than four pixels. So compare filters that average: all weights alike, for 4×4 and for 7×7; and a
# tent, 1 2 3 4 3 2 1, which lets a pixel in gradually and out gradually.


# %%
def averaging(profile: list[int], padding: int):
    shares = torch.tensor(profile) / sum(profile)
    weight = torch.outer(shares, shares).expand(3, 1, -1, -1)  # each colour by itself
    return lambda x: F.conv2d(x, weight, stride=4, padding=padding, groups=3)


averages = {
    "4×4, average": averaging([1] * 4, 0),
    "7×7, average": averaging([1] * 7, 3),
    "7×7, tent": averaging([1, 2, 3, 4, 3, 2, 1], 3),
}
smooth = {name: [change(embed, shift) for shift in shifts] for name, embed in averages.items()}
for name, values in smooth.items():
    print(f"{name}: one pixel {values[1]:.3f}, two {values[2]:.3f}, four {values[4]:.3f}")

# %%
plots.show(
    plots.shift_curves(
        shifts,
        random_weights | smooth,
        what="change of the tokens",
        stride=4,
        finding="A whole stride changes nothing; in between, averages are the steadiest",
    ),
    alt="Five curves over a shift of 0 to 8 pixels, all zero at 0, 4 and 8 and highest at 2 and 6. "
    "The two with random weights lie close together. The three that average lie lower, between a "
    "third and three fifths of that: 4 by 4 the highest, 7 by 7 the lowest, the tent between.",
)

# %% [markdown]
# *Look at 0, 4 and 8.* Away from the border, a shift by a whole stride moves every token to the place next door, unchanged: that is what a convolution promises, with or without overlap, and it promises nothing in between.
# In between, averages change about half as much as random filters, or less, and of the averages the widest is the steadiest. The tent is no better, although it is smoother: what counts is the width. When a plain average moves by one pixel, one of its columns is exchanged, one of seven or one of four.
#
# So the honest summary of what overlap does, measured:
#
# | question | touching 4×4 | overlapping 7×7 |
# |---|---|---|
# | at which places does no token see an upright edge? | every fourth | none |
# | how much do tokens change when this photograph moves by a pixel, with random weights? | as much | as much |
# | and with filters that average? | more | less |
# | and with *learned* filters? | not measured | not measured: it takes a training run |
#
# ## 8 · Is it the patches that keep ViT from other sizes?
#
# You may have read that a ViT trained at one size works badly at another *because its patches do not overlap* ([*An Efficient Transformer Encoder from Scratch*](https://danielhoshizaki.com/2022/10/15/vision-transformers.html) says so). Two things are mixed in that sentence. Let us separate them: embed with and without overlap, and with and without
# a learned *position embedding*, the vector that ViT adds to each token to say where it stands. It is a table with one row for each place, so it has the training size built in.
#
# **Predict.** Four combinations, made for 256×256 and then handed 512×512. Which of them run?

# %%
prediction = ...  # some of "touching", "overlapping", with and without positions

# %%
kinds = {"touching": PatchEmbedding(3, 32, 4), "overlapping": OverlappingTokens(3, 32, 7, 4)}
table = torch.zeros(1, 64 * 64, 32)  # one row for each place at 256 × 256
for kind, embed in kinds.items():
    tokens = embed(images) if kind == "touching" else embed(images)[0]  # the second gives its size
    for name, positions in (("no table", 0), ("a table", table)):
        try:
            outcome = f"runs, {(tokens + positions).shape[1]:,} tokens"
        except RuntimeError:
            outcome = f"stops: {tokens.shape[1]:,} tokens and {table.shape[1]:,} rows"
        print(f"{kind:<11} with {name:<8}: {outcome}")

# %% [markdown]
# Overlap makes no difference here. The table does. ViT's authors interpolate it for other sizes (Section 3.2 of [their paper](https://arxiv.org/abs/2010.11929)), and SegFormer's name the loss of accuracy that comes with that as the reason to have none (arXiv:2105.15203, Section 3.1).
#
# The other half of the argument is that a patch of a larger photograph holds *less of the scene*. That is true. Is it cured by overlap? Take the same photograph at three sizes and measure how much the pixels of a patch differ among themselves:

# %%
for side in (128, 256, 512):
    resized = F.interpolate(images, (side, side), mode="area")
    contrast = [F.unfold(resized, k, stride=4).view(3, k * k, -1).std(1).mean() for k in (4, 7)]
    print(f"{side} × {side}: contrast {contrast[0]:.2f} in a 4×4 patch, {contrast[1]:.2f} in 7×7")

# %% [markdown]
# Both fall, at the same pace: a patch is so many pixels wide, and things grow under it. Overlap is no cure for scale.
#
# What is *not* measured here: how much accuracy a trained model loses at another size, with a position table, without one, and with either kind of patch. That takes training. Lesson 04 asks where position comes from when there is no table; lesson 11
# will put the claim to the test.
#
# ## Play
#
# **Task.** Cut 32 × 32 pixels into 8 × 8 tokens whose neighbours share three columns. Then break it.

# %%
Patches()

# %% [markdown]
# *Start with kernel 4, stride 4, padding 0*, and change one slider at a time. On the left the photograph with its patches, in the middle how many patches each pixel lies in, on the right the arithmetic.
#
# <details><summary>What you may have found</summary>
#
# Kernel 7, stride 4, padding 3. At 33 × 47 a padding of 1 loses the last column on the right: the patches end one pixel short of it. And the smallest kernel at stride 4 with two patches for every pixel is 8, with padding 4:
# seven leaves one column in four to a single token. But 8 is even, and makes 9 × 9 tokens.
#
# </details>
#
# ## Break it
#
# A published ViT cut its images like this, with `torch.Tensor.unfold` instead of `F.unfold`. It ran. Then somebody read it ([gupta-abhay/pytorch-vit, issue 7](https://github.com/gupta-abhay/pytorch-vit/issues/7)).

# %%
cut = images.unfold(2, 16, 16).unfold(3, 16, 16)  # (1, 3, 32, 32, 16, 16)
suspect = cut.contiguous().view(1, -1, 3 * 16 * 16)  # (1, 1024, 768), the shape that we want
print(suspect.shape == patches.shape, torch.equal(suspect, patches))

# %% [markdown]
# **Diagnose it** before you read on. What is in a token of `suspect`? Two tools help. First, change one pixel and see how many tokens notice:


# %%
def suspect_patches(x: Tensor) -> Tensor:
    return x.unfold(2, 16, 16).unfold(3, 16, 16).contiguous().view(1, -1, 3 * 16 * 16)


poked = images.clone()
poked[..., 200, 300] += 1  # one pixel, in all three colours
noticed = (suspect_patches(poked) != suspect_patches(images)).any(-1)[0].nonzero().flatten()
print("tokens that notice:", noticed.tolist())

# %% [markdown]
# Second, paint every token in the colour that it *believes* it has, the mean of its first, second and last third:

# %%
believed = [each[0].view(-1, 3, 256).mean(-1) for each in (patches, suspect)]  # (N, 3)
plots.show(
    plots.pictures(
        [as_picture(each, 32) for each in believed],
        ["our patches", "the published ones"],
        finding="1,024 tokens, each painted in its own colour",
    ),
    alt="Two mosaics of 32 by 32 squares. The left one is a coarse portrait in colour. The right "
    "one is a confetti of loud, wrong colours, in which three bands and three columns repeat the "
    "same dark shapes.",
)

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# After both `unfold`s the axes are (B, colour, row, column, 16, 16): colour still comes first. The `view` then cuts that into pieces of three patches, so a token is *three patches in a row, of one colour* (but for two tokens, in which one colour ends and the next begins). A pixel's red, green and blue
# end up in three tokens far apart, which is why three notice. The mend is to bring the colours behind the grid before the view: `cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)`.
#
# The issue's own guess is that training at one size hardly suffers, since every token still comes from places that never change, and that another size would. Nobody measured it there, and we have not. Shapes are right all the way: what finds such a bug is a comparison of
# *numbers* with something independent, as in section 1.
#
# </details>

# %%
mended = cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
print("mended:", torch.equal(mended, patches))

# %% [markdown]
# ## Exercises
#
# Fill in the function, run the cell, and read what `check` says. `hint("01.1")` helps a step at a time, `solution("01.1")` shows one way.
#
# ### Exercise 01.1 ★ 4 minutes · How many tokens?
#
# Rows and columns, for an image of any size.


# %%
def token_grid(height, width, patch_size, stride, padding):
    return ...


check("01.1", token_grid)

# %% [markdown]
# ### Exercise 01.2 ★ 3 minutes · What do neighbours share?
#
# How many columns of pixels do two neighbouring patches share, for any kernel and stride?


# %%
def shared_pixels(patch_size, stride):
    return ...


check("01.2", shared_pixels)

# %% [markdown]
# ### Exercise 01.3 ★★ 6 minutes · From tokens back to a map
#
# `tokens` are (B, N, C). Make them a map again, (B, C, height, width).


# %%
def tokens_to_map(tokens, height, width):
    return ...


check("01.3", tokens_to_map)

# %% [markdown]
# ### Exercise 01.4 ★★ 10 minutes · A convolution by hand
#
# A convolution without a convolution: you are given images (B, C, H, W), and the weight (D, C, K, K) and bias of a convolution. Make the tokens (B, N, D) that it would make.


# %%
def embed_patches(images, weight, bias, stride, padding):
    return ...


check("01.4", embed_patches)

# %% [markdown]
# ### Exercise 01.5 ★★ 8 minutes · LayerNorm by hand
#
# For a map (B, H, W, C), with learned weight and bias of C numbers each, and `1e-5` added to the variance.


# %%
def normalize_tokens(x, weight, bias):
    return ...


check("01.5", normalize_tokens)

# %% [markdown]
# ### Exercise 01.6 ★★★ 12 minutes · How many pixels reach a token?
#
# How many pixels, along one side, reach a token through a chain of patch embeddings? For `(7, 3, 3, 3)` and `(4, 2, 2, 2)` you have seen the answer in section 6.


# %%
def field_of_a_token(patch_sizes, strides):
    return ...


check("01.6", field_of_a_token)

# %% [markdown]
# ## Recap
#
# - A patch embedding cuts an image into patches and sends each through one Linear. As a convolution, kernel is the patch and stride the step; the weights are the same, reshaped.
# - Per side it makes ⌊(H + 2P − K) / S⌋ + 1 tokens. With an odd kernel and half of it as padding that is H/S, rounded up; and with K ≥ 2S − 1 no pixel is lost.
# - Patches that touch have seams: with 4×4, at every fourth place no single token sees an edge. Patches of 7 at stride 4 share three columns and have none. Steadiness under a shift is another matter; overlap leaves room for it, and filters must use it.
# - Tokens are a map, flattened; a `reshape` in place of a `transpose` keeps the shape and scrambles the rest.
# - LayerNorm looks at one token, BatchNorm at all of them.
# - What ties ViT to one size is its table of positions. Patches of either kind run at any size.
#
# **Can you answer without scrolling up?**
#
# 1. What must you do to the weight of a Linear on patches to get the weight of a convolution?
# 2. How many tokens does a 7×7 kernel with stride 4 and padding 3 make of 101 × 67?
# 3. Why can no training teach touching 4×4 patches to see every edge in some token?
# 4. A colleague's tokens have the right shape, and the model learns nothing. What do you compare with what?
# 5. Someone says: overlapping patches make SegFormer independent of the image size. What do you answer?
#
# <details><summary>Answers</summary>
#
# 1. View it as (channels out, channels in, K, K): each row of it is one flattened filter.
# 2. 26 × 17: a quarter of each side, rounded up.
# 3. Where the edge runs between two patches, each patch is flat. A token of a flat patch knows its brightness and nothing of an edge.
# 4. The tokens themselves with tokens made in another way, unfold and a Linear with the same weights, on sizes that all differ. Or change one pixel and count who notices.
# 5. That every patch embedding runs at any size, with overlap and without. SegFormer has no position table; that is the difference. How well it does at other sizes is for a training run to say.
#
# </details>
#
# > **Where paper, code and posts differ**
# >
# > - *4×4 or 7×7.* The overview speaks of patches of 4×4 (Section 3); the model that is described and released has patches of 7×7 at stride 4, then 3×3 at stride 2 (Section 3.1). "4×4" is how much image there is for each token, 7×7 is what a token sees.
# > - *One merging too many.* The drawing of the architecture (Figure 2) begins with an overlap patch embedding and shows a patch merging in each of the four blocks too, five steps in all. Four strides, 4 · 2 · 2 · 2, make 32; the released model has four.
# > - *Embedding or merging.* The drawing calls the first an embedding and the others merging (Figure 2); the text calls all of them merging (Section 3.1). They are the same layer with other numbers, and so it is in the code.
# > - *Why ViT transfers badly.* The post that section 8 links (first *Efficient Vision Transformer From Scratch*) gives patches without overlap as the cause. Section 8 separates the two: what has one size built in is the position table, and the paper names *its* interpolation as what costs accuracy (Section 3.1). What overlap adds is continuity between neighbours.
# > - *Efficient by overlap?* The same post calls SegFormer's attention efficient by its overlapping patches. Overlap only costs, {{overlap_factor}} times the multiply-adds of this layer. What saves is that a token stands for four pixels a side, and what lesson 03 does to the keys.
# > - *Channels.* Stage 1 has 64 channels in B1 to B5, and 32 in B0 (Table 6).
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203): Section 3.1, overlapped patch merging, and Table 6. A. Dosovitskiy and others, *An Image is Worth 16×16 Words*, [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): eq. 1 is the embedding, Section 3.2 the
# interpolation. J. L. Ba, J. R. Kiros and G. E. Hinton, *Layer Normalization*, [arXiv:1607.06450](https://arxiv.org/abs/1607.06450). R. Zhang, *Making Convolutional Networks Shift-Invariant Again*, [arXiv:1904.11486](https://arxiv.org/abs/1904.11486), takes section 7 further: smooth filters before every stride. Photograph: NASA, public domain.
#
# **Next:** lesson 02. You have {{stage_1_tokens}} tokens. What does it cost to let each of them look at every other?
