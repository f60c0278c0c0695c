# %% [markdown]
# # Lesson 01 · How does an image become tokens?
#
# A transformer reads a list of vectors, its *tokens*. A photograph is not a list but a grid of pixels, and there are far too many of them to make each one a token. So something has to turn the grid into a short list
# before attention can begin. That part is small, only a convolution and a norm, but it decides how many tokens there are, what each of them sees of its surroundings, and whether every pixel is seen at all.
#
# **After this lesson you will be able to**
#
# - cut an image into tokens in three ways that give the same numbers, and say why they do;
# - compute how many tokens any image makes, and which pixels are lost;
# - go from a map to tokens and back without scrambling either;
# - say what overlap buys, what it costs, and how you know;
# - build `OverlapPatchEmbedding`, which begins every stage of SegFormer.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip what is marked *further*: the core path does not need it. **You need** lesson 00, and to have met a convolution before. No GPU.

# %%
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import SegFormer, SegFormerConfig, plots
from segformer_edu.analysis.edge import loudest_answer
from segformer_edu.analysis.patches import PatchRow
from segformer_edu.analysis.receptive_field import receptive_field
from segformer_edu.analysis.shift import change_under_shift
from segformer_edu.checks import check_images, check_positive
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.widgets import Patches

torch.set_grad_enabled(False)  # nothing is trained in this lesson
photo = sample_photo("astronaut")
images = normalize(photo)  # (1, 3, 512, 512)

# %% [markdown]
# ## 1 · How does ViT cut?
#
# The Vision Transformer, ViT, cuts the photograph into squares that touch and do not overlap, for example of 16×16 pixels, and makes each square one token ([Dosovitskiy and others 2020](https://arxiv.org/abs/2010.11929)). Before you read the cell, work out how many squares
# a photograph of 512×512 has, and how many numbers one square holds when there are three colours.

# %%
# Batch, colour, row of squares, row in a square, column of squares, column in a square:
squares = images.unflatten(2, (32, 16)).unflatten(4, (32, 16))  # (1, 3, 32, 16, 32, 16)
squares = squares.permute(0, 2, 4, 1, 3, 5)  # (1, 32, 32, 3, 16, 16): the square comes first
patches = squares.flatten(3).flatten(1, 2)  # (1, N, 3·16·16)
print("patches", tuple(patches.shape))

# %%
plots.show(
    plots.patches(photo, [(16, 16, 0)], finding="ViT cuts a photograph into squares"),
    alt="The portrait under a grid of 32 by 32 squares that touch.",
)

# %% [markdown]
# *Look at the face.* An eye is a little wider than a square. The photograph has become a list of {{vit_tokens}} squares of {{vit_values}} numbers each.
#
# These numbers are still pixels. One learned matrix, a `Linear`, turns the {{vit_values}} numbers of each square into as many channels as the model works with. This step is called the *embedding*.

# %%
torch.manual_seed(0)
linear = nn.Linear(3 * 16 * 16, 48)
tokens = linear(patches)  # (1, N, 48)
print("tokens", tuple(tokens.shape))

# %% [markdown]
# ### The same as a strided convolution
#
# Libraries such as Hugging Face's `transformers` leave out the cutting and use a convolution whose *stride*, the step from one patch to the next, is as large as its kernel. The rest of the lesson needs the reason why that works. So we copy the weights of our Linear, of shape `(48, 768)`,
# into a convolution, whose weights have the shape `(48, 3, 16, 16)`. Would you use a `view` for that, or do you need a `permute` as well?

# %%
conv = nn.Conv2d(3, 48, kernel_size=16, stride=16)
conv.weight.copy_(linear.weight.view(48, 3, 16, 16))
conv.bias.copy_(linear.bias)
by_conv = conv(images).flatten(2).transpose(1, 2)  # (1, 48, 32, 32) → (1, N, 48)
assert torch.allclose(by_conv, tokens, atol=1e-4)
print("a convolution with stride = kernel is a Linear on patches")

# %% [markdown]
# A `view` is enough, because we flattened each square in the order in which a convolution keeps its weights, which is colour, then row, then column. A convolution lays its kernel on a patch, multiplies
# number by number, and adds up. A Linear does the same with a flat list.
#
# A third way cuts overlapping patches too. `F.unfold` lays each patch out as one column, in the same order.

# %%
unfolded = F.unfold(images, kernel_size=16, stride=16)  # (1, 3·16·16, N): a column for each patch
assert torch.equal(unfolded.transpose(1, 2), patches)
print("unfold cuts the same patches")

# %% [markdown]
# ## 2 · Why should patches overlap?
#
# SegFormer has to name every pixel, so it cuts much finer than ViT and makes a token every four pixels. It also lets the patches overlap, because cutting without overlap
# "fails to preserve the local continuity around those patches" (arXiv:2105.15203, Section 3.1). To see what that means in numbers,
# we take an edge that is dark on the left and bright on the right, and filters that look for change. The weights of such a filter sum to zero for each colour (here there is only grey), so it answers zero wherever the image is flat.
#
# **Predict.** Patches of 4×4 touch, and the edge moves to the right one pixel at a time. At one place in how many does *no* token notice it?

# %%
prediction = ...  # for example 2, or 0 if every edge is noticed

# %%
columns = range(28, 37)  # places near the middle of 64
# 64 random filters whose weights sum to zero look at a patch every 4 pixels, all at each patch.
# The loudest of their answers, of either sign:
touching = [loudest_answer(4, 0, column) for column in columns]  # 4×4 without padding
overlapping = [loudest_answer(7, 3, column) for column in columns]  # 7×7, padding 3

# %%
plots.show(
    plots.shift_curves(
        columns,
        {"4×4 patches that touch": touching, "7×7 patches that overlap": overlapping},
        what="loudest answer to the edge",
        stride=4,
        where="place of the edge",
        finding="Patches that touch miss a sharp edge at every fourth place",
    ),
    alt="Two curves over the place of the edge. Patches of 4 by 4 answer strongly at most "
    "places, and with zero at 28, 32 and 36. Overlapping patches of 7 by 7 answer at every place.",
)
unseen = [column for column, answer in zip(columns, touching, strict=True) if answer < 1e-5]
compare(prediction, unseen[1] - unseen[0])

# %% [markdown]
# *Look at the vertical lines, which stand a whole token apart.* There the edge runs exactly between two patches, along what we call a *seam*. The patch on its left is all dark and the one on its right all bright, so both are flat, and all 64 random filters are silent.
# No training can mend that. A filter whose weights sum to zero for each colour answers zero on a flat patch, whatever they are. A filter whose weights do not sum to zero tells how bright a flat patch is, but nothing else.
#
# The edge is not lost to the *network*, because one token says dark, the next says bright, and a later layer can compare the two. But whether a single token knows of so sharp an edge depends on where the edge falls.
#
# That is how we read "local continuity"; the paper does not define it. It states its sizes, K = 7, S = 4 and P = 3 (Section 3.1), but compares them with no others. Training speaks for overlap. *PVT*, a similar model, names the subject of 81.1% of ImageNet's photographs with SegFormer's sizes, and of 79.8% with patches that touch (arXiv:2106.13797, Table 6). But the overlapping ones are padded, and zeros tell of position too (lesson 04).
#
# ### See it on the photograph
#
# SegFormer's patches are seven pixels wide, and one begins every four, so neighbours share 7 − 4 = 3 columns. Here are both kinds of patches on an eye.

# %%
eye = photo[84:116, 186:218]  # 32 × 32 pixels
plots.show(
    plots.patches(
        eye,
        [(4, 4, 0), (7, 4, 3)],
        finding="Seven pixels wide, every four: as many tokens as before, and no seam",
    ),
    alt="An eye, 32 by 32 pixels, twice. On the left squares of 4 pixels touch. On the right "
    "squares of 7 pixels begin every 4 pixels; three framed neighbours overlap in hatched strips 3 "
    "pixels wide, and the top and left ones reach 3 pixels into a grey frame, the padding. Both "
    "grids make 8 by 8 tokens.",
)

# %% [markdown]
# *Look at the hatched strips.* (Thin lines are beginnings and ends of patches.) The yellow patch shares three columns with the blue one and three rows with the orange one. The grey frame is *padding*, three rings of zeros. It puts the middle of the
# first patch on the first pixel. Because of the padding, both grids have the same number of tokens.
#
# Away from the border, one pixel in four along a side lies in one patch only, and the others lie in two. So overlap has a **price**. A patch holds {{values_7}} numbers instead of {{values_4}}, so this convolution takes {{overlap_factor}} times the multiply-adds (multiplications, each with the addition that follows it). In B0, with 32 channels, it has {{parameters_7}} parameters instead of {{parameters_4}}. But the number of tokens, for which all
# later layers pay, stays the same.
#
# So overlap closes the seams, and costs three times the arithmetic of this one convolution.
#
# ### In how many patches does a pixel lie? · *further*
#
# `F.fold` puts the columns of `F.unfold` back, and adds up where patches overlap. So if every patch is made of ones, it counts.

# %%
ones = torch.ones(1, 1, 32, 32)
cut = F.unfold(ones, kernel_size=7, stride=4, padding=3)  # (1, 49, 64): 64 patches of 49 numbers
counts = F.fold(torch.ones_like(cut), (32, 32), kernel_size=7, stride=4, padding=3)[0, 0]
print(counts[8:16, 8:16].int())

# %% [markdown]
# With both directions that makes up to four patches a pixel. Each token there has one pixel for itself, its middle, and the average is (7/4)² = {{overlap_factor}} patches a pixel.
#
# ## 3 · How many tokens does an image make?
#
# Later lessons count everything in tokens, so we need their number for any image. Slide a patch of K pixels along a side of H pixels with P zeros at both ends, S pixels at a time. It starts at the left end and has H + 2P − K pixels left to travel. That makes ⌊(H + 2P − K) / S⌋ steps,
# rounded down because half a step is not taken. The patch from which it started counts as well:
#
# $$H' = \left\lfloor \frac{H + 2P - K}{S} \right\rfloor + 1$$
#
# **Predict.** 16 divides neither side of 500 × 300. How many rows and columns of tokens do ViT's patches make of it (kernel 16, stride 16, padding 0)? And how many do SegFormer's (7, 4, 3)?

# %%
prediction = ...  # ViT's and SegFormer's, for example ((50, 30), (100, 60))


# %%
def tokens_along(length: int, patch_size: int, stride: int, padding: int) -> int:
    return (length + 2 * padding - patch_size) // stride + 1


vit = tokens_along(500, 16, 16, 0), tokens_along(300, 16, 16, 0)
segformer = tokens_along(500, 7, 4, 3), tokens_along(300, 7, 4, 3)
print("ViT", vit, " SegFormer", segformer)
compare(prediction, (vit, segformer))

# %% [markdown]
# SegFormer's kernels, 7 and 3, are odd and padded by half, P = (K − 1)/2. Then 2P − K is −1, so the formula becomes ⌊(H − 1) / S⌋ + 1, which is H/S rounded *up*. Its first stage divides each side by 4 and the later ones divide it by 2. No embedding of SegFormer asks for sides that are multiples of something (lesson 03 has a layer that leaves some tokens out). Nor must a photograph be square, or of one size, because no weight of SegFormer has the image's size in its shape (ViT's table of positions has, as section 8 shows).
#
# Patches that touch, without padding, round *down*, and whatever does not fill a patch is thrown away. This is what happens with patches of 32, the largest in ViT's paper:

# %%
tall = photo[6:506, 106:406]  # 500 × 300
plots.show(
    plots.patches(tall, [(32, 32, 0)], finding="What fills no patch is lost"),
    alt="A portrait of 500 by 300 pixels under 15 by 9 patches of 32 pixels that touch. They leave "
    "a strip at the right and one at the bottom that no patch sees; both are veiled in grey.",
)

# %% [markdown]
# *Look at the veiled strips.* Twenty rows and twelve columns reach no token. Only {{seen_by_32}} of the pixels are seen, and the model cannot know that there was more.
#
# ### Which kernels lose no pixel? · *further*
#
# First we **check** the formula and the rounding up against torch itself, for SegFormer's two kernels and every size up to a hundred.

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
# > **A trap.** Padding by `K // 2` centres the patch on its pixel only when K is odd. Patches of 4 with a padding of 2 make one token *more* than H/4 where 4 divides H:

# %%
print(tokens_along(512, 4, 4, 2), "tokens along 512, with kernel 4, stride 4, padding 2")

# %% [markdown]
# The number of tokens says how many patches there are, but not how far they reach. So we ask which odd kernels, padded by half, reach every pixel of every size. `PatchRow` knows the patches along one side of an image, and its `coverage` counts, for each pixel, the patches that it lies in.

# %%
for stride in (2, 4):
    for patch_size in (1, 3, 5, 7, 9):
        rows = [PatchRow(length, patch_size, stride, patch_size // 2) for length in range(1, 101)]
        lost = sum(row.coverage.min() == 0 for row in rows)
        print(f"stride {stride}, kernel {patch_size}: pixels are lost at {lost:>2} of 100 sizes")

# %% [markdown]
# The smallest odd ones are 3 for stride 2 and 7 for stride 4, and these are the kernels of SegFormer. A kernel of 5 at stride 4 overlaps too, but it loses the last row and column whenever 4
# divides the side. The rule is K ≥ 2S − 1, for the following reason. Patches have their middles at pixels 0, S, 2S and so on, and up to S − 1 more pixels follow the last middle, so half a kernel, (K − 1)/2, must reach over them. The paper does not give this as its reason. PVT v2 sets K = 2S − 1.
#
# The same gap shows when we count how many pairs of neighbouring pixels lie together in some patch:

# %%
for patch_size, padding in ((4, 0), (5, 2), (7, 3)):
    seen = PatchRow(512, patch_size, stride=4, padding=padding).pairs_seen
    print(f"{patch_size}×{patch_size}, stride 4: {seen:.1%} of pairs")

# %% [markdown]
# In the first row every fourth pair falls on a seam. In the second, one column of overlap closes all seams, but the last patch ends a pixel short of the border, so the last pair is not seen.
#
# ## 4 · How do you get from a map to tokens, and back?
#
# A convolution gives a *map*, (B, C, H', W'), and attention wants *tokens*, (B, N, C). Both hold the same numbers in another order. But this step is easy to get wrong, because a wrong order raises no error.
#
# **Predict.** A map has two rows, three columns and two channels. The first channel counts from 0 to 5, the second from 10 to 15. What is the first token?

# %%
prediction = ...  # for example [0, 3]

# %%
small = torch.tensor([[[[0, 1, 2], [3, 4, 5]], [[10, 11, 12], [13, 14, 15]]]])  # (1, 2, 2, 3)
print("right:", small.flatten(2).transpose(1, 2).tolist())
print("wrong:", small.reshape(1, 6, 2).tolist())
compare(prediction, small.flatten(2).transpose(1, 2)[0, 0].tolist())

# %% [markdown]
# A token is *all channels of one place*, so the first token is (0, 10), what both channels say about the top left corner. The wrong line has the right shape, (1, 6, 2), so nothing complains, but its first token is
# two neighbours of one channel. The reason is that `reshape` reads the numbers in the order of the axes, the last axis fastest, and cuts that list anew. It never swaps axes.
#
# The same slip is easy to see on a photograph. Its "map" has three channels, its colours, so each token is a pixel.

# %%
colors = torch.as_tensor(photo).permute(2, 0, 1)[None]  # (1, 3, 512, 512), as a map
right = colors.flatten(2).transpose(1, 2)  # (1, N, 3)
wrong = colors.reshape(1, 512 * 512, 3)  # the same shape
plots.show(
    plots.pictures(
        [tokens.unflatten(1, (512, 512))[0].numpy() for tokens in (right, wrong)],
        ["flatten, then transpose", "reshape"],
        finding="Both have the right shape, and only one has the right order",
    ),
    alt="On the left the portrait, unharmed. On the right nine small, grey copies of it in "
    "three rows of three: a row for the red, the green and the blue channel. Each of the three "
    "copies in a row has every third row of the photograph.",
)

# %% [markdown]
# *Count the faces on the right.* The red channel comes first in the list, so the first third of the "pixels" is made of red alone, three neighbours at a time. That squeezes three rows of the photograph side by side into one, and so each channel shows three faces.
#
# This course avoids the question where it can. Inside a stage, its modules pass **maps with channels last**, (B, H', W', C), because LayerNorm and Linear act on the last axis. So height and width need not travel beside the tensor,
# tokens are one `flatten(1, 2)` away, and `unflatten` is the way back.

# %%
channels_last = small.permute(0, 2, 3, 1)  # (1, 2, 3, 2)
assert torch.equal(channels_last.flatten(1, 2), small.flatten(2).transpose(1, 2))
assert torch.equal(channels_last.flatten(1, 2).unflatten(1, (2, 3)), channels_last)
print("permute once; after that, flatten and unflatten are enough")

# %% [markdown]
# ## 5 · LayerNorm or BatchNorm?
#
# In SegFormer a norm comes after the projection, and brings the numbers to a common level and scale. Convolutional networks mostly use BatchNorm, and transformers LayerNorm. They differ in which numbers share a mean. Here are three tokens of three channels, by hand:

# %%
three = torch.tensor([[1.0, 2, 3], [10, 20, 30], [101, 102, 103]])  # 3 tokens, 3 channels
by_token = (three - three.mean(1, keepdim=True)) / three.std(1, keepdim=True, correction=0)
by_channel = (three - three.mean(0)) / three.std(0, correction=0)
print("LayerNorm, each token over its channels\n", by_token.round(decimals=2))
print("BatchNorm, each channel over the tokens\n", by_channel.round(decimals=2))
assert torch.allclose(by_token, nn.LayerNorm(3)(three), atol=1e-4)
assert torch.allclose(by_channel, nn.BatchNorm1d(3)(three), atol=1e-4)

# %% [markdown]
# LayerNorm keeps the *pattern* of a token's channels and drops their level and their scale. If you multiply all of them by ten, or add a hundred to each, the result is the same. (A flat patch's brightness can pass, because the projection's bias does not grow with it.) Then each channel is multiplied by a learned *weight* and a learned *bias* is added, which begin at 1 and 0, so we do not see them yet. (Both norms also add a small number, `1e-5`, to the
# variance, so that equal numbers are not divided by zero.) BatchNorm asks whether a token has more of a channel *than the other tokens*.
# In training, its means are taken over whatever photographs share the batch. LayerNorm looks at one token only, in training and evaluation alike.
#
# ### Do a photograph's tokens depend on its batch? · *further*
#
# **Predict.** Send the astronaut alone, and then with a very dark copy of herself, in training mode. With which norm do *her* tokens change?

# %%
prediction = ...  # "LayerNorm", "BatchNorm", "LayerNorm and BatchNorm" or "neither"

# %%
conv = nn.Conv2d(3, 32, kernel_size=7, stride=4, padding=3)
dark = 0.2 * images - 1.5
alone = conv(images).flatten(2).transpose(1, 2).flatten(0, 1)  # (N, 32): her tokens
together = conv(torch.cat([images, dark])).flatten(2).transpose(1, 2).flatten(0, 1)  # (2N, 32)
changed = []  # both norms are in training mode, as new modules are
for name, norm in {"LayerNorm": nn.LayerNorm(32), "BatchNorm": nn.BatchNorm1d(32)}.items():
    change = (norm(alone) - norm(together)[: len(alone)]).abs().max()
    print(f"{name}: her tokens change by {change:.1f} at most")
    if change > 0.01:
        changed.append(name)
compare(prediction, " and ".join(changed))

# %% [markdown]
# With BatchNorm, in training, they depend on it. In evaluation it uses averages collected in training. Where batches are small, its statistics are poor
# ([Wu and He 2018](https://arxiv.org/abs/1803.08494) measure what that costs). LayerNorm has neither trouble. (SegFormer uses one BatchNorm all the same, in its decoder. Lesson 07 folds it away.)
#
# ### A LayerNorm on the wrong axis · *further*
#
# `nn.LayerNorm(32)` normalises the *last* axis and does not ask what it is. So give it a map with channels second, whose width happens to be 32 too:

# %%
small_photo = F.interpolate(images, (128, 128), mode="area")
embed = nn.Conv2d(3, 32, kernel_size=7, stride=4, padding=3)
channels_second = embed(small_photo)  # (1, 32, 32, 32): which 32 is which?
norm = nn.LayerNorm(32)
silent = norm(channels_second)  # no error
meant = norm(channels_second.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
print("same shape:", silent.shape == meant.shape, " same numbers:", torch.allclose(silent, meant))

# %% [markdown]
# B0 has 32 channels in its first stage, and a photograph of 128×128 makes a map 32 wide. At any other width torch would have refused. So test your modules on sizes that are *all different*.
#
# ## Build it
#
# The module takes a map with its channels first and gives one with them last. `check_positive` and `check_images` explain the error when sizes or images cannot be right.

# %% tags=["mirror"]
# segformer_edu.patch_embedding.OverlapPatchEmbedding

# %% [markdown]
# **Check it** against parts that you trust by now, `unfold`, a Linear, and a norm by hand. They get the same weights, and an image whose sides are different and prime. The norm's weights are drawn, because 1 and 0 could not show that they are used.

# %%
embedding = OverlapPatchEmbedding(3, 32, patch_size=7, stride=4)
for parameter in embedding.norm.parameters():
    nn.init.normal_(parameter)
odd = images[..., :101, :67]
cut = F.unfold(odd, 7, padding=3, stride=4).transpose(1, 2)  # (1, N, 3·7·7)
tokens = F.linear(cut, embedding.projection.weight.flatten(1), embedding.projection.bias)
tokens = tokens - tokens.mean(-1, keepdim=True)
tokens = tokens / (tokens.square().mean(-1, keepdim=True) + 1e-5).sqrt()
tokens = tokens * embedding.norm.weight + embedding.norm.bias
assert torch.allclose(embedding(odd).flatten(1, 2), tokens, atol=1e-4)
print(tuple(odd.shape), "→", tuple(embedding(odd).shape), "as by hand")

# %% [markdown]
# ### Images with more or fewer colours than three · *further*
#
# Satellite images often have more channels than three, and X-rays have one. How much of a SegFormer depends on that number?

# %%
three, four = (
    SegFormer(SegFormerConfig.named("b0", in_channels=number)).state_dict() for number in (3, 4)
)
print([name for name in three if three[name].shape != four[name].shape])

# %% [markdown]
# Only the kernel of the first patch embedding does. So you can load all other weights of a published file. An added channel's kernel can begin with zeros, so that it is ignored at first. A lone grey channel's can begin with the sum of the three.

# %% [markdown]
# ## 6 · What do four of them make?
#
# A SegFormer has four patch embeddings, one at the start of each stage. The first reads the photograph, and each of the others reads the map of the stage before. They make SegFormer a *pyramid*, because each stage has fewer tokens than the one before.
#
# **Predict.** The second embedding has a kernel of 3 and a stride of 2, and the tokens that it reads stand four pixels apart. How many pixels apart are *its* tokens, and how many pixels wide is what one of them sees?

# %%
prediction = ...  # (apart, wide), for example (6, 9)

# %%
model = SegFormer(SegFormerConfig.named("b0"))
pyramid = [stage.patch_embedding for stage in model.encoder.stages]


def stage_map(stage: int, x: Tensor) -> Tensor:
    for embedding in pyramid[:stage]:
        x = embedding(x).permute(0, 3, 1, 2)  # (B, C, H', W'): channels first for the next
    return x


for height, width in ((512, 512), (500, 300)):
    maps = [stage_map(stage, images[..., :height, :width]) for stage in (1, 2, 3, 4)]
    print(f"{height} × {width}:", ", ".join("{} × {}".format(*each.shape[2:]) for each in maps))

# %% [markdown]
# The sides are H/4, H/8, H/16 and H/32, rounded up at each stage. What a token sees can be measured. `receptive_field` takes the gradient of the middle token with respect to every pixel, and we count the columns of pixels in which it is not zero.

# %%
apart_and_wide = []
for stage in (1, 2, 3, 4):
    generator = torch.Generator().manual_seed(0)
    field = receptive_field(partial(stage_map, stage), images[..., :256, :256], generator)
    apart, wide = 4 * 2 ** (stage - 1), int((field.sum(0) > 0).sum())
    apart_and_wide.append((apart, wide))
    print(f"stage {stage}: tokens {apart:>2} apart, each sees {wide:>2} pixels")
compare(prediction, apart_and_wide[1])

# %%
plots.show(
    plots.patches(
        photo[43:171, 188:316],
        [(wide, apart, wide // 2) for apart, wide in apart_and_wide],
        captions=[
            f"stage {stage} sees {wide}×{wide}, every {apart}"
            for stage, (apart, wide) in enumerate(apart_and_wide, start=1)
        ],
        finding="Four embeddings: neighbours share almost half of the pixels they see",
    ),
    alt="Most of a face, with the hair and the wall to its right, 128 by 128 pixels, four times. "
    "A token sees 7, 15, 31 and 63 pixels, and there are 32, 16, 8 and 4 tokens a side. In each, "
    "what three neighbours see is framed, and overlaps in hatched strips.",
)

# %% [markdown]
# *Follow the yellow frame, what one token sees, from left to right.* At each stage it becomes twice as wide, and one pixel more. It grows from a few pixels beside an eye to a quarter of the picture. In stage 1 the overlap is three pixels of seven, in stage 4 it is 31 of 63.
# From stage 2 on, neighbours share a column of tokens of the stage before, and with it nearly half of their pixels. Attention and Mix-FFN widen this further. Exercise 01.6 asks you for the rule.
#
# ## 7 · What if the photograph moves by one pixel? · *further*
#
# How much do the tokens change when the camera moves by a pixel? We compare the tokens of the photograph with those of the photograph moved to the right,
# and when the content has moved by a whole stride, we compare with the token next door. We take the convolutions alone, because the LayerNorm would rescale every token.
#
# **Predict.** Which tokens change more under a shift of one pixel, those of 4×4 patches that touch, or those of 7×7 patches that overlap?

# %%
prediction = ...  # "touching", "overlapping" or "about the same"

# %% [markdown]
# `change_under_shift` is 0 when the tokens are the same, and √2 when they are as different as two tokens picked at random. It leaves out the border, where padding changes them too. We try eight random initialisations of each kind, because one could be luck.

# %%
shifts = range(9)
changes = {}
for patch_size, padding in ((4, 0), (7, 3)):
    torch.manual_seed(0)
    embeds = [nn.Conv2d(3, 32, patch_size, stride=4, padding=padding) for _ in range(8)]
    rows = [[change_under_shift(embed, images, by) for by in shifts] for embed in embeds]
    changes[patch_size] = torch.tensor(rows)  # (8, 9)
touching, overlapping = changes[4][:, 1], changes[7][:, 1]  # one pixel
difference = overlapping.mean() - touching.mean()
error = ((overlapping.var() + touching.var()) / 8).sqrt()  # the difference's standard error
print(f"one pixel: touching {touching.mean():.2f}, overlapping {overlapping.mean():.2f}")
print(f"the difference is {abs(difference / error):.1f} of its standard errors")
more = "overlapping" if difference > 0 else "touching"
compare(prediction, more if abs(difference) > 2 * error else "about the same")

# %% [markdown]
# The difference is smaller than its standard error. *With random weights, overlap makes tokens no steadier.* The reason is that a random filter weighs neighbouring pixels without regard to each other. So its answer changes as much as
# the pixels under it do, and pixels change as much under a wide patch as under a narrow one.
#
# But overlap leaves *room* for steadiness, because at stride 4 only overlapping patches can be wider than four pixels. So we compare filters that average. In the first two all weights are alike, for 4×4 and for 7×7. The third is a
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
smooth = {
    name: [change_under_shift(embed, images, shift) for shift in shifts]
    for name, embed in averages.items()
}
for name, values in smooth.items():
    print(f"{name}: one pixel {values[1]:.3f}, two {values[2]:.3f}, four {values[4]:.3f}")

# %%
plots.show(
    plots.shift_curves(
        shifts,
        {f"{k}×{k}, random weights": change.mean(0) for k, change in changes.items()} | smooth,
        what="change of the tokens",
        stride=4,
        finding="A whole stride changes nothing; in between, averages are the steadiest",
    ),
    alt="Five curves over a shift of 0 to 8 pixels, all zero at 0, 4 and 8 and highest at 2 and 6. "
    "The two with random weights lie close together. The three that average lie lower, between "
    "three tenths and three fifths of that: 4 by 4 highest, 7 by 7 lowest, the tent between.",
)

# %% [markdown]
# *Look at 0, 4 and 8.* Away from the border, a shift by a whole stride moves every token to the place next door, unchanged. A convolution promises that with or without overlap, and it promises nothing in between.
# In between, averages change about half as much as random filters, or less, and the wide average is the steadiest. When a plain average moves by one pixel, it exchanges one of its columns, which is one of seven or one of four. The tent is smoother, but not steadier here. Which of the two is steadier depends on the photograph. With pure noise, at one pixel, it is the tent.
#
# This is what overlap does, as far as we have measured it:
#
# | question | touching 4×4 | overlapping 7×7 |
# |---|---|---|
# | where does no token see a sharp upright edge? | at every fourth place | nowhere |
# | how much do tokens change when this photograph moves by a pixel, with random weights? | as much | as much |
# | and with filters that average? | more | less |
# | and with *learned* filters? | not measured | not measured: it takes a training run |
#
# ## 8 · Is it the patches that keep ViT from other sizes? · *further*
#
# A ViT that was trained at one size often loses accuracy at another (arXiv:2105.15203, Section 3.1). Do its patches cause that, because they do not overlap? ViT also has
# a learned *position embedding*, a vector that it adds to each token to say where it stands. This is a table with one row for each place, so the training size is built into it.
#
# This is ViT's patch embedding, as a module:


# %% tags=["stage"]
class PatchEmbedding(nn.Module):
    """Patches that touch, as ViT cuts them: (B, 3, H, W) → (B, N, C)."""

    def __init__(self, in_channels: int, embed_dim: int, patch_size: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x).flatten(2).transpose(1, 2)  # (B, C, H', W') → (B, N, C)


# %% [markdown]
# We embed with and without overlap, with and without a table. All four combinations are made for 256×256 and get 512×512. Which of them run?

# %%
touching = PatchEmbedding(3, 32, 4)(images)
overlapping = OverlapPatchEmbedding(3, 32, 7, 4)(images).flatten(1, 2)
table = torch.zeros(1, 64 * 64, 32)  # one row for each place at 256 × 256
for kind, tokens in (("touching", touching), ("overlapping", overlapping)):
    for name, positions in (("no table", 0), ("a table", table)):
        try:
            outcome = f"runs, {(tokens + positions).shape[1]:,} tokens"
        except RuntimeError:
            outcome = f"stops: {tokens.shape[1]:,} tokens and {table.shape[1]:,} rows"
        print(f"{kind:<11} with {name:<8}: {outcome}")

# %% [markdown]
# Overlap makes no difference here, but the table does. ViT's authors interpolate it for other sizes (Section 3.2 of [their paper](https://arxiv.org/abs/2010.11929)). SegFormer's authors name the accuracy that this costs as their reason to have no table (arXiv:2105.15203, Section 3.1).
#
# There is a second effect of size. In a larger photograph of the same scene, a patch holds *less of the scene*. Would wider patches cure that? We take the same photograph at three sizes and measure how much the pixels of a patch differ among themselves:

# %%
for side in (128, 256, 512):
    resized = F.interpolate(images, (side, side), mode="area")
    contrast = [F.unfold(resized, k, stride=4).view(3, k * k, -1).std(1).mean() for k in (4, 7)]
    print(f"{side} × {side}: contrast {contrast[0]:.2f} in a 4×4 patch, {contrast[1]:.2f} in 7×7")

# %% [markdown]
# Not here. In this photograph the wider patch starts higher and falls as fast, probably because most things in it are larger than a patch and grow under it. (A fine texture can even gain contrast, because the smaller photographs have averaged it away.)
#
# Here we have *not* measured how much accuracy a trained model loses at another size, with either kind of patch. Lesson 04 (section 9) measures it for two toy networks, one with a table and one without, and lesson 11
# puts the claim to the test.
#
# ## Play
#
# **Task.** Cut 32 × 32 pixels into 8 × 8 tokens whose neighbours share three columns. Then take 33 × 47 and lower the padding until a pixel is lost.

# %%
Patches()

# %% [markdown]
# *Start with kernel 4, stride 4, padding 0*, and change one slider at a time.
#
# <details><summary>What you may have found</summary>
#
# Kernel 7, stride 4 and padding 3 (or 2) solve the task. At 33 × 47 a padding of 1 loses the last column on the right, because the patches end one pixel short of it.
#
# </details>
#
# ## Break it · *further*
#
# A published ViT cut its images like this, with `torch.Tensor.unfold` instead of `F.unfold`. It ran without an error, and somebody found it by reading ([gupta-abhay/pytorch-vit, issue 7](https://github.com/gupta-abhay/pytorch-vit/issues/7)).


# %%
def suspect_patches(x: Tensor) -> Tensor:
    cut = x.unfold(2, 16, 16).unfold(3, 16, 16)  # (1, 3, 32, 32, 16, 16)
    return cut.contiguous().view(1, -1, 3 * 16 * 16)  # (1, 1024, 768), the shape that we want


suspect = suspect_patches(images)
print(
    "same shape:", suspect.shape == patches.shape, " same numbers:", torch.equal(suspect, patches)
)

# %% [markdown]
# **Diagnose it** before you read on. What is in a token of `suspect`? Two tools help. First, change one pixel and see how many tokens notice:

# %%
poked = images.clone()
poked[..., 200, 300] += 1  # one pixel, in all three colours
noticed = (suspect_patches(poked) != suspect).any(-1)[0].nonzero().flatten()
print("tokens that notice:", noticed.tolist())

# %% [markdown]
# Second, paint every token in the colour that it seems to have, if the first third of its numbers is red, the second green and the last blue:

# %%
cuts = F.unfold(colors.float(), 16, stride=16).transpose(1, 2), suspect_patches(colors.float())
painted = [cut.view(32, 32, 3, 256).mean(-1).byte().numpy() for cut in cuts]
plots.show(
    plots.pictures(
        painted,
        ["our patches", "the published ones"],
        finding="Same shape, other numbers: in the published cut a token is not a place",
    ),
    alt="Two mosaics of 32 by 32 squares. The left one is a coarse portrait in colour. The right "
    "one is a confetti of loud, wrong colours, in which three bands and three columns repeat the "
    "same dark shapes.",
)

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# After both `unfold`s the axes are (B, colour, row, column, 16, 16), so colour still comes first. The `view` cuts that into pieces of three patches, and a token becomes *three consecutive patches, of one colour* (but for two tokens, in which one colour ends and the next begins). The red, green and blue of a pixel
# end up in three tokens far apart, and that is why three notice. To mend it, bring the colours behind the grid before the view: `cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)`.
#
# The issue guesses that training at one size hardly suffers, but that it is hard to move to another size. (We would add why: at one size, every token still comes from places that never change.) Nobody measured it there, and we have not. All shapes are right along the way, so no error shows such a bug. A comparison of
# *numbers* with something independent does, as in section 1.
#
# </details>

# %%
cut = images.unfold(2, 16, 16).unfold(3, 16, 16)
mended = cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
print("mended:", torch.equal(mended, patches))

# %% [markdown]
# ## Exercises
#
# Fill in the function, run the cell, and read what `check` says. `hint("01.1")` helps a step at a time, `solution("01.1")` shows one way.
#
# ### Exercise 01.1 ★ 4 minutes · How many tokens?
#
# Give rows and columns, for an image of any size.


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
# You are given images (B, C, H, W), and the weight (D, C, K, K) and bias of a convolution. Make the tokens (B, N, D) that it would make, without using a convolution (`F.unfold` is allowed).


# %%
def embed_patches(images, weight, bias, stride, padding):
    return ...


check("01.4", embed_patches)

# %% [markdown]
# ### Exercise 01.5 ★★ 8 minutes · LayerNorm by hand
#
# The map is (B, H, W, C). The learned weight and bias have C numbers each, and `1e-5` is added to the variance.


# %%
def normalize_tokens(x, weight, bias):
    return ...


check("01.5", normalize_tokens)

# %% [markdown]
# ### Exercise 01.6 ★★★ 12 minutes · How many pixels reach a token?
#
# How many pixels, along one side, reach a token through a chain of patch embeddings? For kernels `(7, 3, 3, 3)` with strides `(4, 2, 2, 2)`, section 6 has the answer. No stride is larger than its kernel.


# %%
def field_of_a_token(patch_sizes, strides):
    return ...


check("01.6", field_of_a_token)

# %% [markdown]
# ## Recap
#
# - A patch embedding cuts an image into patches and sends each through one Linear. As a convolution, its kernel is the patch and its stride the step from patch to patch; the weights are the same, reshaped.
# - Per side it makes ⌊(H + 2P − K) / S⌋ + 1 tokens. With an odd kernel and half of it as padding that is H/S, rounded up.
# - Patches that touch have seams. At every fourth place no token of 4×4 pixels sees a sharp upright edge. Patches of 7 at stride 4 share three columns and have no seams.
# - Tokens are a map, flattened. A `reshape` in place of a `transpose` keeps the shape and scrambles the numbers.
# - LayerNorm looks at one token, and BatchNorm, in training, at one channel of all of them.
# - Four embeddings make a pyramid, from H/4 to H/32 a side. What neighbours see overlaps by almost half.
# - From the *further* sections: an odd kernel padded by half loses no pixel if K ≥ 2S − 1. Overlap leaves room for steadiness under a shift, but the filters must use it. What stops ViT at another size, unless it is interpolated, is its table of positions, and not its patches.
#
# **Can you answer without scrolling up?**
#
# 1. What must you do to the weight of a Linear on patches to get the weight of a convolution?
# 2. How many tokens does a 7×7 kernel with stride 4 and padding 3 make of 101 × 67?
# 3. Why can no training teach touching 4×4 patches to see every edge in some token?
# 4. A colleague's tokens have the right shape, but the model does badly. What do you compare with what?
#
# <details><summary>Answers</summary>
#
# 1. View it as (channels out, channels in, K, K), because each row of it is one flattened filter.
# 2. 26 × 17, a quarter of each side, rounded up.
# 3. Where the edge runs between two patches, each patch is flat. A token of a flat patch knows its brightness and nothing of an edge.
# 4. Compare the tokens with tokens made in another way, by unfold and a Linear with the same weights. (*Break it*, a *further* section, has a second way: change one pixel and count the tokens that notice.)
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *4×4 or 7×7.* The overview speaks of patches of 4×4 (Section 3). The model that is described and released has patches of 7×7 at stride 4, then 3×3 at stride 2 (Section 3.1). So 4 is the stride, and a token sees 7×7 pixels.
# - *One merging too many.* The drawing of the architecture (Figure 2) shows an overlap patch embedding, and then a patch merging in each of the four blocks, which makes five steps. But the strides 4 · 2 · 2 · 2 make 32 in four, as the released model has them.
# - *Embedding or merging.* The drawing calls the first an embedding and the others merging (Figure 2). Section 3.1 calls all of them merging, and Appendix A all of them embedding. They are the same layer with other numbers.
# - *Patches and image size.* [*An Efficient Transformer Encoder from Scratch*](https://danielhoshizaki.com/2022/10/15/vision-transformers.html) blames patches without overlap for the trouble that ViT has with larger images. Section 8 measures contrast, not accuracy.
# - *Which epsilon?* The published code adds `1e-5` to the variance in this LayerNorm, as torch does, and `1e-6` in others. Lesson 07 shows what that changes.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203): Section 3.1, overlapped patch merging, and Table 6. A. Dosovitskiy and others, *An Image is Worth 16×16 Words*, [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): eq. 1 is the embedding, Section 3.2 the
# interpolation. J. L. Ba, J. R. Kiros and G. E. Hinton, *Layer Normalization*, [arXiv:1607.06450](https://arxiv.org/abs/1607.06450). R. Zhang, *Making Convolutional Networks Shift-Invariant Again*, [arXiv:1904.11486](https://arxiv.org/abs/1904.11486), takes section 7 further with smooth filters before every stride. W. Wang and others, *PVT v2*, [arXiv:2106.13797](https://arxiv.org/abs/2106.13797). Photograph: NASA, public domain.
#
# **Next:** lesson 02. You have {{stage_1_tokens}} tokens. What does it cost to let each of them look at every other?
