# %% [markdown]
# # Lesson 07 · Is a linear decoder enough?
#
# The encoder of lesson 06 hands over four maps. Somebody has to turn them into a class for every pixel, and in many segmentation networks that somebody is large: pyramids of dilated convolutions, attention of its own, skip connections. SegFormer's decoder is a few Linears, a resize, and one ReLU.
# The paper says why it may be so small: the encoder has seen enough (arXiv:2105.15203, Section 3.2). You will measure that, build the decoder twice, and put the whole model together.
#
# **After this lesson you will be able to**
#
# - measure how far a token sees, and say what that has to do with the size of a decoder;
# - write the decoder as it was published, name what equation 4 leaves out, and prove the cheaper form equal to it;
# - say what align_corners does, and why logits are resized before the argmax and not after;
# - load published weights under any of their four names, and check your model against another library's;
# - take a single logit apart and say which stage contributed what, exactly.
#
# **Time** 80 minutes, and 50 for the exercises. **You need** lessons 01 to 06. No GPU.

# %%
import copy
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import MixTransformer, SegFormer, SegFormerConfig, plots, widgets
from segformer_edu.analysis import cost
from segformer_edu.analysis.contributions import contributions
from segformer_edu.analysis.receptive_field import area, receptive_field
from segformer_edu.checkpoints.layouts import PUBLISHED
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.exercises import check, hint, solution
from segformer_edu.plots.labels import color_labels
from segformer_edu.training import confusion_matrix, scores

torch.set_grad_enabled(False)
torch.set_num_threads(1)

# %% [markdown]
# ## 1 · What does the decoder get, and what must it give?
#
# A model ships with this package: **nano**, trained on street scenes that the package draws. It has {{nano_parameters}} parameters, and all the parts of B0. Lesson 08 is about the training; here you use it. Twenty-four scenes that it has never seen:

# %%
nano = SegFormer.from_pretrained("nano")
scenes = Scenes(24, 128, seed=707)
images, labels = (torch.stack(each) for each in zip(*scenes, strict=True))
maps = nano.encoder(images)
for stage, x in enumerate(maps, start=1):
    print(f"stage {stage}: {tuple(x.shape[1:])}")
print("wanted:  a class for each of", tuple(labels.shape[1:]), "pixels")

# %%
shown = 4  # the scene that you will meet again below
photo = scenes.picture(shown)[0]
answer = nano.predict(images)
plots.show(
    plots.segmentation(photo, answer[shown].numpy(), CLASSES, "What nano makes of an unseen scene"),
    alt="A drawn street scene under the classes that the model gave its pixels: road, sky and "
    "building cover most of it; three persons, a van, a sign on its pole and trees stand in front, "
    "with their shares in a legend.",
)

# %% [markdown]
# *Look at the borders and at the thin things.* Large regions are easy; posts and legs are where a decoder shows what it can do. (Signs and traffic lights count as part of their pole.)
#
# How good is that? **IoU** of a class is the number of pixels that both the model and the truth call by it, over the number that either does; mIoU is the mean over the classes. Lesson 08 takes the measure apart. We need it as a ruler.


# %%
def score(predicted):
    return scores(confusion_matrix(predicted, labels, len(CLASSES)))


whole = score(answer)
print(f"mIoU {whole.miou:.2f}")
print(", ".join(f"{name} {iou:.2f}" for name, iou in zip(CLASSES, whole.iou, strict=True)))

# %% [markdown]
# **Predict.** What share of B0's parameters is in its decoder, and what share of its multiply-adds at 512×512, in the published form?

# %%
prediction = ...  # two percentages

# %%
b0 = cost(SegFormerConfig.named("b0"), (512, 512))
decoder_share = b0.decoder.reference_multiply_adds / b0.reference_multiply_adds
print(f"parameters     {b0.decoder.parameters / b0.parameters:.0%}")
print(f"multiply-adds  {decoder_share:.0%}")

# %% [markdown]
# Small in parameters, and yet more than half of the work. Keep that in mind: section 4 takes most of it away.
#
# ## 2 · Why may the head be so small?
#
# A Linear on channels looks at one position. The resize mixes direct neighbours. So the decoder can hardly bring anything in from elsewhere, and whatever a pixel has to know about the rest of the picture, its four tokens must know *before*. Do they?
#
# Ask the gradient: **if this pixel changed a little, would that token change?** The map of the answers, one number a pixel, is the token's *effective receptive field* ([Luo and others 2016](https://arxiv.org/abs/1701.04128)).
#
# For comparison we need a conv net. The fairest is nano's own twin: the same stages, the same depth, and in the place of every attention a 3×3 convolution.


# %%
class Mixing3x3(nn.Module):
    """What a conv net has where we have attention."""

    def __init__(self, dim):
        super().__init__()
        self.dim, self.reduction_ratio = dim, 1
        self.convolution = nn.Conv2d(dim, dim, kernel_size=3, padding=1)

    def forward(self, x):  # (B, H, W, C)
        return self.convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


torch.manual_seed(0)
untrained = MixTransformer(nano.config).eval()
conv_twin = MixTransformer(nano.config).eval()
for stage in conv_twin.stages:
    for block in stage.blocks:
        block.attention = Mixing3x3(block.attention.dim)

# %% [markdown]
# **Predict.** A picture of 256×256. In stage 1 of the twin, a token is made by a 7×7 patch of stride 4, and then by two blocks of two 3×3 convolutions each (ours, and the one in Mix-FFN). How many pixels across can it see at most? And a token of nano's stage 1?

# %%
prediction = ...  # two numbers of pixels

# %%
large = torch.stack([image for image, _ in Scenes(4, 256, seed=708)])
generator = torch.Generator().manual_seed(0)
fields = {
    name: [
        receptive_field(lambda x, s=s, encoder=encoder: encoder(x)[s], large, generator)
        for s in range(4)
    ]
    for name, encoder in {
        "conv twin": conv_twin,
        "nano, untrained": untrained,
        "nano, trained": nano.encoder,
    }.items()
}
for name, row in fields.items():
    reached = ", ".join(f"{(field > 0).double().mean():>4.0%}" for field in row)
    print(f"{name:<16} reaches {reached} of the picture, stages 1 to 4")

# %% [markdown]
# The twin's first stage reaches {{twin_reach_1}} pixels across, and no training can change that: outside, the gradient is zero whatever the weights are. With attention a token reaches the whole picture from the first block on. *Reaching* is not yet *using*. How much lies where?

# %%
parts = {name: [area(field) for field in row] for name, row in fields.items()}
plots.show(
    plots.receptive_fields(
        {name: [field.numpy() for field in row] for name, row in fields.items()},
        {
            name: [f"stage {i}: 90 % in {share:.1%}" for i, share in enumerate(row, start=1)]
            for name, row in parts.items()
        },
        "What the middle token answers to, from stage 1 (left) to stage 4",
    ),
    alt="Three rows of four heat maps: a conv net's twin, nano untrained and nano trained, "
    "stages 1 "
    "to 4. The twin's fields are squares that end sharply and grow with the stage. Nano's have a "
    "small bright middle when untrained; when trained, stages 1 and 2 have a bright middle among "
    "faint specks all over, and stages 3 and 4 glow over most of the picture.",
)

# %% [markdown]
# *Compare the second row with the third.* Colours are logarithmic, each panel's own: what is black has less than a thousandth of the brightest pixel. Above each panel stands the smallest part of the picture that holds nine tenths of the gradient. Untrained, attention looks everywhere alike, and what comes from far away is faint. Training makes the far parts count: the wide field is **learned**, the architecture only allows it. In stage 1 the ground is so faint that the colours
# hardly show it: most of the gradient lies in the small bright middle, and the rest is spread so thinly that nine tenths of it need a large part of the picture. The token is about its own place, and knows a little about everything.
#
# *And compare with the first row honestly.* The twin is untrained, so its inner distribution may still change; its sharp borders may not. In stages 3 and 4 even the twin reaches all or nearly all of a picture this small. So what can be said at this scale?

# %%
for stage in range(4):
    here = parts["nano, trained"][stage]
    reach = (fields["conv twin"][stage] > 0).double().mean().item()
    wider = here > parts["nano, untrained"][stage], here > reach
    print(
        f"stage {stage + 1}: wider than untrained {wider[0]}, than all the twin can see {wider[1]}"
    )

# %% [markdown]
# Training widens the field of every stage. Where the second answer is True, nine tenths of it take more room than the twin could reach with any weights. In the late stages that comparison needs larger pictures. The paper has them: for Cityscapes, beside DeepLabv3+, even stage 4 of the conv net covers a small part, and SegFormer's covers much (arXiv:2105.15203, Figure 3).
#
# ## 3 · What does equation 4 say, and what does it leave out?
#
# The decoder in the paper (arXiv:2105.15203, eq. 4):
#
# $$\hat F_i = \mathrm{Linear}(C_i, C)(F_i) \qquad \hat F_i = \mathrm{Upsample}(\tfrac W4 \times \tfrac W4)(\hat F_i)$$
# $$F = \mathrm{Linear}(4C, C)(\mathrm{Concat}(\hat F_i)) \qquad M = \mathrm{Linear}(C, N_{cls})(F)$$
#
# (One of the two W is an H.) Do it step by step, with nano's own weights. Here C is called D = 64, to keep it apart from the C_i.

# %%
decoder = nano.decoder
projected = [
    project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, D, H_i, W_i)
    for project, x in zip(decoder.projections, maps, strict=True)
]
size = maps[0].shape[2:]
resized = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in projected]
stacked = torch.cat(resized[::-1], dim=1)  # stage 4 first: that is how it was published
fused = decoder.fuse(stacked)
print("one width   ", [tuple(x.shape[1:]) for x in projected])
print("one size    ", [tuple(x.shape[1:]) for x in resized])
print("side by side", tuple(stacked.shape[1:]), "→ fused", tuple(fused.shape[1:]))

# %% [markdown]
# Now the last Linear, and you have M. In the released model three more things stand in front of it: a **BatchNorm**, a **ReLU**, and in training a **dropout** of whole channels (lesson 05).
#
# **Predict.** Take nano's weights, and leave the BatchNorm and the ReLU out as equation 4 does. Does the answer change much? And what if somebody concatenates from stage 1 to stage 4, as the equation's index suggests?

# %%
prediction = ...  # two guesses at an mIoU


# %%
def labels_of(logits):
    return F.interpolate(logits, images.shape[2:], mode="bilinear").argmax(dim=1)


in_order = decoder.norm(decoder.fuse(torch.cat(resized, dim=1)))
ways = {
    "eq. 4 to the letter": fused,
    "and a ReLU": F.relu(fused),
    "and a BatchNorm": decoder.norm(fused),
    "both: the model": F.relu(decoder.norm(fused)),
    "both, stages 1 to 4": F.relu(in_order),
}
for name, before in ways.items():
    print(f"{name:<20} mIoU {score(labels_of(decoder.classifier(before))).miou:.2f}")

# %% [markdown]
# The last line is the one to remember. All shapes fit, since every stage has D channels by then; nothing complains, and next to nothing is right. A file of weights does not say in which order its columns were meant: **stage 4 comes first**.
#
# The other lines say that the weights were trained *with* norm and ReLU, no more than that. Would a decoder trained without do as well? Section 5 asks.
#
# As a class, in the order in which it was published:


# %% tags=["stage"]
class PublishedDecoder(nn.Module):
    """Project, resize, concatenate, fuse; norm, ReLU, dropout; classify."""

    def __init__(self, embed_dims, decoder_dim, num_classes, dropout=0.1):
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(dim, decoder_dim) for dim in embed_dims)
        self.fuse = nn.Conv2d(len(embed_dims) * decoder_dim, decoder_dim, 1, bias=False)
        self.norm = nn.BatchNorm2d(decoder_dim)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(decoder_dim, num_classes, 1)

    def forward(self, maps):  # (B, C_i, H_i, W_i) each
        resized = []
        for project, x in zip(self.projections, maps, strict=True):
            x = project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, D, H_i, W_i)
            resized.append(F.interpolate(x, maps[0].shape[2:], mode="bilinear"))
        fused = self.fuse(torch.cat(resized[::-1], dim=1))  # (B, 4D, H/4, W/4) → (B, D, H/4, W/4)
        return self.classifier(self.dropout(F.relu(self.norm(fused))))


# %%
published = PublishedDecoder(nano.config.embed_dims, nano.config.decoder_dim, len(CLASSES))
published.load_state_dict(decoder.state_dict())
published.eval()
assert torch.allclose(published(maps), nano(images), atol=1e-4)
print("the published form, with nano's weights, gives nano's logits")

# %% [markdown]
# ## 4 · Must the widest map exist?
#
# The list of steps hides a large thing: a map of 4·D channels at a quarter of the picture's size. For B0 at 512×512 it has {{b0_stacked}} million numbers, and fusing it is where the work is. Look at what happens between the Linear A_i of a stage and its share W_i of the fusion: nothing but a resize.
#
# **Predict.** A resize computes each new pixel as a weighted mean of old ones. A Linear computes each new channel as a weighted sum of old ones. Does it matter which comes first?

# %%
prediction = ...  # yes or no, and what about the bias?

# %% [markdown]
# **On paper.** Let the resize be a matrix S over positions and the Linear a matrix A over channels, so that x_{qc} becomes
#
# $$\sum_c A_{dc} \Big( \sum_q S_{pq}\, x_{qc} \Big) \;=\; \sum_q S_{pq} \Big( \sum_c A_{dc}\, x_{qc} \Big).$$
#
# Both are the same double sum: they act on different axes, so they **commute**. The bias b_d is added at every position; resized, it becomes $\sum_q S_{pq} b_d = b_d$, since the weights of a bilinear resize sum to one. And a concatenation followed by a Linear is a sum, each stage with its own slice W_i. Together:
#
# $$W\,\mathrm{Concat}\big(S_i(A_i x_i + b_i)\big) \;=\; \sum_i W_i S_i (A_i x_i + b_i) \;=\; \sum_i S_i \big( (W_i A_i)\, x_i \big) + \sum_i W_i b_i.$$
#
# On the right, two small matrices are multiplied once, each stage goes from C_i to D channels at *its own* size, and the results are resized and added. No map with 4·D channels, and no loss: the parameters stay A_i and W_i, in training too.

# %% tags=["mirror"]
# segformer_edu.decoder.compose

# %% [markdown]
# In evaluation a BatchNorm is a scale and a shift for each channel. They join the product (exercise 07.3):

# %% tags=["mirror"]
# segformer_edu.decoder.fold_norm

# %% [markdown]
# With these matrices the decoder is the right-hand side, as one reads it: a sum of resized products.


# %%
def commuted(decoder, maps):
    """ReLU(Σ resize(W_i A_i x_i) + b), classified."""
    weights, bias = fold_norm(decoder.norm, *compose(decoder.projections, decoder.fuse))
    size = maps[0].shape[2:]
    fused = sum(
        F.interpolate(F.conv2d(x, weight[:, :, None, None]), size, mode="bilinear")
        for weight, x in zip(weights, maps, strict=True)
    )
    return decoder.classifier(F.relu(fused + bias[:, None, None]))


assert torch.allclose(commuted(published, maps), published(maps), atol=1e-4)
print("the sum of resized products gives the logits of the published form")

# %% [markdown]
# The package computes this sum by strips of rows, so that in evaluation no map of D channels at the finest size is ever held either. The coarse maps are widened first, while they have few rows. What mixes the rows of one is a small matrix: multiplying by it and adding is one call.

# %%
from segformer_edu.checks import check_maps, check_per_stage, check_positive, check_rate
from segformer_edu.layers import evaluation, initialize, linear
from segformer_edu.strips import joined, resize, row_weights, strips, widen

# %% tags=["mirror"]
# segformer_edu.strips.add_resized

# %% tags=["mirror"]
# segformer_edu.decoder.decode

# %% [markdown]
# And the class. The parameters have the names and shapes of the published form, so its weights load as they are. The modules that hold them are not called (only the norm is, in training); a decoder that is printed says so.

# %% tags=["mirror"]
# segformer_edu.decoder.AllMLPDecoder

# %% [markdown]
# For export, where parameters should be few and nothing is trained any more, the products can be computed once and kept:

# %% tags=["mirror"]
# segformer_edu.decoder.FoldedDecoder

# %% [markdown]
# **Check it.** The same weights in both forms: in evaluation on nano's maps; then in training, where BatchNorm uses the batch's own statistics, with the gradients of all parameters, in double precision.

# %%
ours = AllMLPDecoder(nano.config.embed_dims, nano.config.decoder_dim, len(CLASSES)).eval()
ours.load_state_dict(published.state_dict())
folded = FoldedDecoder(ours)
for form in (ours, folded):
    assert torch.allclose(form(maps), published(maps), atol=1e-4)
print("evaluation: published, commuted and folded form agree")

# %%
gradients = []
for form in (published, ours):
    twin = copy.deepcopy(form).double().train()
    twin.dropout.p = 0.0
    with torch.enable_grad():
        twin([x[:4].double() for x in maps]).square().mean().backward()
    gradients.append([weight.grad for weight in twin.parameters()])
for theirs, here in zip(*gradients, strict=True):
    assert torch.allclose(theirs, here, rtol=1e-6, atol=1e-9)
print(f"training: the gradients of all {len(gradients[0])} parameters agree")

# %% [markdown]
# ### What does it save?
#
# **Predict.** B0 at 512×512 spends {{b0_head_published}} billion multiply-adds in the published head. How many in the commuted one? (Fusing was 4·D·D for each position, and is gone.)

# %%
prediction = ...  # billions

# %%
for name in ("b0", "b2", "b5"):
    head = cost(SegFormerConfig.named(name), (512, 512)).decoder
    counts = head.reference_multiply_adds, head.multiply_adds, head.folded_multiply_adds
    print(name, " → ".join(f"{count / 1e9:.2f} G" for count in counts))

# %% [markdown]
# Published, commuted, folded. The commuted form composes its matrices in every pass, which for B0 costs next to nothing, and for B2 and larger, where D is three times as wide, a little.
#
# Arithmetic is a promise; here is the clock. Random maps, as large as B0's for a picture of 512×512, and random weights; one thread, the best of three runs.

# %%
shapes = [(32, 128), (64, 64), (160, 32), (256, 16)]
b0_maps = [torch.randn(1, channels, side, side, generator=generator) for channels, side in shapes]
heads = {
    "published": PublishedDecoder((32, 64, 160, 256), 256, 150).eval(),
    "commuted": AllMLPDecoder((32, 64, 160, 256), 256, 150).eval(),
}
heads["commuted"].load_state_dict(heads["published"].state_dict())
heads["folded"] = FoldedDecoder(heads["commuted"])
took = {}
for name, head in heads.items():
    runs = []
    for _ in range(3):
        start = time.process_time()
        head(b0_maps)
        runs.append(time.process_time() - start)
    took[name] = {"measured": 1000 * min(runs)}

# %%
faster = took["published"]["measured"] / took["commuted"]["measured"]
plots.show(
    plots.stacked_bars(
        took,
        "processor milliseconds of B0's decoder at 512×512",
        f"The same logits, {faster:.1f} times sooner",
    ),
    alt="Three bars of processor time for the decoder of B0: the published form takes much longer "
    "than the commuted one, and the folded one about as long as that. The factor measured on the "
    "machine that made the picture stands in the title.",
)

# %% [markdown]
# *Compare the first bar with the second.* The number in the title was measured where this picture was made; run the cells for yours. Multiply-adds alone promise a factor of {{b0_head_factor}}. The clock need not agree: resizing, adding and the ReLU count as no multiply-adds and take time all the same; on the other side, a map that is never made is never written and read back. Lesson 10 goes on from here.
#
# ## 5 · Is a *linear* decoder enough?
#
# "All-MLP" is what the paper calls it, and up to here you have seen one nonlinearity, the ReLU. Take it away, and the two Linears left and right of it merge: each logit is then a weighted sum of the tokens' numbers and nothing else. Section 3 did that to weights that were not made for it. The fair test trains a linear decoder *for* the
# encoder's maps.
#
# So: the four maps of other scenes, resized and stacked; a single 1×1 convolution to the classes; fitted by least cross-entropy, a problem with one minimum, and a classical method (L-BFGS) comes close to it in seconds.
#
# **Predict.** You have seen nano's mIoU in section 1. How much of it does a linear decoder reach?

# %%
prediction = ...  # an mIoU


# %% tags=["mirror"]
# experiments.decoder_heads.side_by_side

# %% tags=["mirror"]
# experiments.decoder_heads.fit

# %%
others, truth = (torch.stack(each) for each in zip(*Scenes(32, 128, seed=709), strict=True))
inputs, targets = side_by_side(nano.encoder(others)), truth[:, 2::4, 2::4].long()
straight = nn.Conv2d(inputs.shape[1], len(CLASSES), 1)
nn.init.zeros_(straight.weight)
for head in widgets.progress([straight], "fits"):
    fit(head, inputs, targets)
linear_answer = score(labels_of(straight(side_by_side(maps))))

# %%
share = linear_answer.miou / whole.miou
plots.show(
    plots.class_bars(
        CLASSES,
        {"nano's decoder": whole.iou, "linear, fitted": linear_answer.iou},
        f"A linear decoder reaches {share:.0%} of nano's mIoU",
    ),
    alt="Two bars of IoU for each class: nano's decoder, and a linear one fitted to nano's maps. "
    "They are nearly equal for large regions such as sky and road. The linear one is furthest "
    "behind for persons.",
)
assert 0.85 < share < 1

# %% [markdown]
# *Compare the bars.* Close, with {{probe_parameters}} parameters in place of {{nano_decoder_parameters}}, fitted on 32 scenes, to an encoder that was trained for *another* head. So: nearly; **the work is done before the decoder begins**.
#
# Is the rest what the ReLU is worth? One could fit a second head with a ReLU in it to the same maps. We did, on three draws of 32 scenes and from two starts each (`python -m experiments.decoder_heads`). After {{short_fit}} iterations of L-BFGS the linear head reaches {{linear_after_40}} of nano's mIoU and the one with a ReLU {{relu_after_40}}; after {{long_fit}} they reach {{linear_after_300}} and {{relu_after_300}} (mean ± standard deviation). The longer fit makes both worse on new scenes, and which head is ahead depends on when you stop. So this experiment cannot say what the ReLU is worth. Perhaps 32 scenes are too few for that: nano's decoder saw many more, and was trained together with its encoder.
#
# This says nothing about other encoders. The paper tried the same head on ResNets and found it much weaker there (arXiv:2105.15203, Table 1), which is the other half of the argument of section 2.
#
# ## 6 · Which way are maps enlarged?
#
# Four samples become sixteen. Pixels are squares; a sample is the colour of a square's *centre*. With `align_corners=False` the two rows of *squares* are laid over each other, edge on edge. With `align_corners=True` the first and last *samples* are, and all between are stretched to fit.

# %%
plots.show(
    plots.resized_rows([0, 1, 2, 3], 16, "Where each new pixel looks, in the two conventions"),
    alt="Two drawings of a row of four squares over a row of sixteen small ones, lines showing "
    "where each small one reads. Without aligned corners the lines are upright, except for two "
    "at each "
    "end that bend to the outermost sample. With aligned corners all lines lean: inwards by one "
    "and a half small squares at the ends, upright only in the middle.",
)

# %% [markdown]
# *Look at how the lines lean on the right.* In the middle nothing is moved; towards the borders every new pixel reads from further inside. At four times the size it is off by up to one and a half pixels; at eight times, as from stage 4 to stage 1, by up to three and a half. (On the left a few lines bend at each end, too: beyond the last sample there is nothing to read.)
#
# **Predict.** Neither is wrong by itself. What happens when a model is trained with one and run with the other?

# %%
prediction = ...  # a guess at the loss of mIoU


# %%
def decoded(align_corners):
    resized = [
        F.interpolate(x, size, mode="bilinear", align_corners=align_corners) for x in projected
    ]
    return decoder.classifier(F.relu(decoder.norm(decoder.fuse(torch.cat(resized[::-1], dim=1)))))


for inside in (False, True):
    for last in (False, True):
        logits = decoded(inside)
        predicted = F.interpolate(
            logits, images.shape[2:], mode="bilinear", align_corners=last
        ).argmax(dim=1)
        print(f"decoder {inside!s:<5}  last resize {last!s:<5}  mIoU {score(predicted).miou:.2f}")

# %% [markdown]
# A small loss, and the kind that goes unnoticed: all shapes fit. "Break it" comes back to this.
#
# ## 7 · Why are logits resized, and not labels?
#
# The decoder answers at a quarter of the picture's size. There are two ways to full size: resize the logits and take the argmax there, or take the argmax first and enlarge the labels.
#
# **Predict.** Which is better, and where will you see it?

# %%
prediction = ...  # "logits first", "labels first" or "no matter"; and the class that shows it most

# %%
logits = nano(images)
coarse = logits.argmax(dim=1, keepdim=True).float()
answers = {
    "logits, then argmax": labels_of(logits),
    "argmax, then nearest": F.interpolate(coarse, images.shape[2:])[:, 0].long(),
    "argmax, then bilinear": F.interpolate(coarse, images.shape[2:], mode="bilinear")[:, 0]
    .round()
    .long(),
}
thin = CLASSES.index("pole")
for name, predicted in answers.items():
    result = score(predicted)
    print(f"{name:<22} mIoU {result.miou:.2f}, poles {result.iou[thin]:.2f}")

# %% [markdown]
# The third line mixes class *numbers*: between sky, 0, and vegetation, 2, lies "building". Image libraries do the like to a mask when nobody names a mode: [Pillow's resize](https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.Image.resize) of a grey one is bicubic then. The first line is what `predict` does.
#
# Now look closely.

# %%
crop = slice(40, 120), slice(16, 96)
ways = [labels[shown], *(predicted[shown] for predicted in list(answers.values())[:2])]
plots.show(
    plots.pictures(
        [photo[crop], *(color_labels(each.numpy())[crop] for each in ways)],
        ["scene", "truth", *list(answers)[:2]],
        "Resized logits draw slanted borders; enlarged labels draw squares",
    ),
    alt="A detail of the scene four times: the picture with three persons, a van and a tree, its "
    "true labels, the model's labels from resized logits with slanted borders, and the labels "
    "enlarged after the argmax, all of whose borders are steps of four pixels.",
)

# %% [markdown]
# *Look at the persons and at the edges of the road.* What is three pixels wide is less than one token. Resized logits can still place its edge *between* two tokens, because two tokens that speak for "person" by different amounts say where the balance tips. A label has thrown that away.
#
# How much does the size alone cost? Take the truth itself, pool it to a quarter, and bring it back.

# %%
one_hot = F.one_hot(labels.long(), len(CLASSES)).permute(0, 3, 1, 2).float()
pooled = F.avg_pool2d(one_hot, 4)  # the share of each class in each token's square
for name, predicted in {
    "as labels": F.interpolate(pooled.argmax(1, keepdim=True).float(), scale_factor=4)[:, 0].long(),
    "as shares": labels_of(pooled),
}.items():
    result = score(predicted)
    print(f"truth at H/4, {name}: mIoU {result.miou:.2f}, poles {result.iou[thin]:.2f}")

# %% [markdown]
# Even labels made from the truth lose much of the poles at H/4; shares of classes keep more. (Nor are shares the most that fits into a map of this size: logits are free to be anything.) nano is below both: it has errors of its own, which no resize mends. What the right order gains costs nothing.
#
# ## 8 · The full model
#
# Everything is built. The model is two lines, and predicting is one more: resize by strips, then argmax, so that K maps at full size never exist. (A model with K = 1 answers yes or no, by the sign of its one logit.)

# %% tags=["mirror"]
# segformer_edu.segformer.labels_from_logits

# %% tags=["mirror"]
# segformer_edu.segformer.SegFormer

# %% [markdown]
# `predict` evaluates, in whichever mode the model is, and `folded` gives the form for export. How `from_pretrained` finds its way through other people's names is the subject of the next section.
#
# **Check it against somebody else's model.** `transformers` has a SegFormer that nobody here wrote. Save nano in its layout, let it load, and compare the logits on a batch.

# %%
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
model = SegFormer(nano.config.replace(block_norm_eps=1e-5)).eval()
model.load_state_dict(nano.state_dict())
folder = tempfile.TemporaryDirectory()
model.save_pretrained(folder.name)
theirs = transformers.SegformerForSemanticSegmentation.from_pretrained(folder.name).eval()
expected = theirs(images[:4]).logits

for name, each in {"eps 1e-5 in all norms": model, "eps 1e-6, as nano has it": nano}.items():
    difference = (each(images[:4]) - expected).abs().max() / expected.abs().max()
    print(f"{name:<25} differ by less than 3e-6 of the largest: {bool(difference < 3e-6)}")

# %% [markdown]
# Why the two lines? transformers uses one epsilon, `1e-5`, in all its norms, whatever a config says; the paper's code uses `1e-6` in blocks and stages, and so does nano. The first line sets ours to theirs, and what is left is rounding. The second shows the epsilon itself: far too small to see in a picture, and found at once by who compares logits.
#
# ## 9 · One weight, four names
#
# The same tensors are published under four sets of names. Here they are, from the tables that the package itself loads by.

# %%
from os.path import commonprefix

from IPython.display import Markdown


def names_of(layout):
    modules = {ours: theirs for theirs, ours in layout.modules.items()}
    for part in ("key", "value"):  # one tensor for both in two of the layouts
        modules.setdefault(
            f"encoder.stages.{{stage}}.blocks.{{block}}.attention.{part}",
            modules.get("encoder.stages.{stage}.blocks.{block}.attention.key_value"),
        )
    return modules


def code(name):
    """A name that a narrow column may break after its dots."""
    return f"<code>{name[0]}{name[1:].replace('.', '.<wbr>')}</code>"


*published_layouts, own = PUBLISHED
names = list(own.modules.values())
groups = (
    [name for name in names if name.startswith("encoder") and ".blocks." not in name],
    [name for name in names if ".blocks." in name],
    [name for name in names if name.startswith("decoder")],
)
tables = [dict(zip(names, names, strict=True)), *map(names_of, published_layouts)]

# %%
heads = ["ours", *(layout.name.replace("_", "_<wbr>") for layout in published_layouts)]
lines = [f"| {' | '.join(heads)} |", "|---" * 5 + "|"]
for group in groups:
    columns = [[table[name] for name in group] for table in tables]
    begins = [commonprefix(column).rpartition(".")[0] for column in columns]
    lines.append(
        "| " + " | ".join(f"**{code(begin)}**" if begin else "" for begin in begins) + " |"
    )
    for row in zip(*columns, strict=True):
        rest = [name.removeprefix(begin) for name, begin in zip(row, begins, strict=True)]
        lines.append("| " + " | ".join(map(code, rest)) + " |")
Markdown("\n".join(lines))

# %% [markdown]
# A line in bold says how the names below it begin: those of a stage, of a block, of the decoder; a dot in front means that they go on from there. `{number}` counts stages from 1, `{stage}` from 0, and `{reversed}` from the last one down. Two layouts keep key and value in one tensor, the key's rows first. The reference's file holds one more pair, `decode_head.conv_seg`, that no forward pass ever touches.
#
# **Predict.** nano has two blocks a stage, and {{nano_tensors}} tensors. How many would it have with key and value joined?

# %%
prediction = ...  # one number


# %%
def renamed(state, layout):
    """A state of ours under the names of a published layout."""
    named = {}
    for name, tensor in state.items():  # key comes before value
        theirs = layout.theirs(name, num_stages=4)
        named[theirs] = torch.cat([named[theirs], tensor]) if theirs in named else tensor
    return named


for layout in published_layouts:
    path = Path(folder.name, "weights.safetensors")
    Path(folder.name, "config.json").unlink(missing_ok=True)
    save_file(renamed(nano.state_dict(), layout), path)
    loaded = SegFormer.from_pretrained(path, config=nano.config)
    equal = torch.equal(loaded(images[:2]), nano(images[:2]))
    print(f"{layout.name:<28} {len(renamed(nano.state_dict(), layout))} tensors, equal: {equal}")

# %% [markdown]
# `from_pretrained` finds out by itself whose names these are. What a file of weights does *not* say is as important: the number of heads, the strides, the epsilon. Those come from a `config.json` beside it, from the caller, or, for the published sizes, from the widths and depths that fit. Loading is strict: what is missing or of another shape is named, by both names.
#
# ## 10 · Which stage said so?
#
# Here is what a decoder this simple is worth. In front of its ReLU stands a *sum*: one summand from each stage, and the biases. The ReLU then passes a channel or it does not, at each pixel; **with these decisions fixed, everything after it is linear too**. So each logit is, exactly, a sum of what stages 1, 2, 3, 4 and the biases put in.
#
# $$\mathrm{logit}_k = \sum_{i=1}^{5} \sum_d V_{kd}\, m_d\, z_{id} + v_k, \qquad m_d = \Big[ \sum_{i=1}^{5} z_{id} > 0 \Big]$$
#
# Here $z_{id}$ is what summand i puts into channel d in front of the ReLU, the fifth being the biases; $m_d$ is 1 where the ReLU lets the channel pass, and 0 elsewhere; V and v are the classifier's weight and bias, and v joins the fifth summand.

# %%
shares = contributions(nano, images)  # (B, 5, K, H/4, W/4)
assert torch.allclose(shares.sum(dim=1), logits, atol=1e-4)
print(tuple(shares.shape), "sums to the logits", tuple(logits.shape))

# %% [markdown]
# **Predict.** Which stage will speak loudest for a car? And for a pole?

# %%
prediction = ...  # two stages

# %%
voices = ["stage 1", "stage 2", "stage 3", "stage 4", "biases"]
quarter = labels[:, 2::4, 2::4].long()  # the truth at each pixel of the logits
for name in ("vehicle", "pole"):
    label = CLASSES.index(name)
    summands = shares[shown, :, label]  # (5, H/4, W/4)
    loudest = summands[:4, quarter[shown] == label].mean(dim=1).argmax() + 1
    plots.show(
        plots.contribution_maps(
            photo,
            summands.numpy(),
            voices,
            f"Where “{name}” is true, stage {loudest} adds most to its logit",
        ),
        alt=f"The scene, and five maps of what stages 1 to 4 and the biases add to the logit of "
        f"{name}: stage 1 in fine lines, stages 2 and 3 in patches, stage 4 and the biases in "
        "broad areas with a ragged grain.",
    )

# %% [markdown]
# *Look from left to right.* Stage 1 draws lines, stages 2 and 3 paint patches. Why is stage 4 ragged, which has so few tokens, and why do the *biases* vary at all? Because of m: which of their channels pass is decided anew at each pixel, by the sum of all.
#
# Over all scenes, on the pixels where each class is true; and how often each part, taken alone, would name the right class:

# %%
print(" " * 11, *(f"{voice:>8}" for voice in voices))
for label, name in enumerate(CLASSES):
    means = shares[:, :, label].movedim(1, -1)[quarter == label].mean(dim=0)
    print(f"{name:<11}", *(f"{mean + 0.0:>+8.1f}" for mean in means.round(decimals=1).tolist()))
alone = [(shares[:, i].argmax(dim=1) == quarter).double().mean() for i in range(len(voices))]
print(f"{'right alone':<11}", *(f"{share:>8.0%}" for share in alone))
print(f"right together: {(shares.sum(dim=1).argmax(dim=1) == quarter).double().mean():.0%}")

# %% [markdown]
# The middle stages say most, and none of them is enough: it is the sum that is right.
#
# A word of caution. The sum is exact, and it is a statement about *this* picture: another has other decisions in its ReLU. And a constant can be moved between summands without changing any logit: what matters is how a stage's share *varies*, over pixels and over classes, more than its level.
#
# ## Play
#
# Choose a scene, a class and a point. All sliders answer to the arrow keys.

# %%
widgets.Contributions()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Quarrels are common: stage 1 sees an edge and a colour, and the coarser stages know what stands around. On a pole stage 2 is the loudest most often. Now off it, step by step: look at the small maps. Those of stages 1 and 2 change within a step or two; stage 4 has a token only every eight pixels of these maps. In front of the ReLU it can change between two of them in a straight line only, which is the bilinear resize.
# Behind the ReLU it can jump all the same, where a channel is let through on one side and not on the other: the *other* stages took part in that decision.
#
# </details>
#
# ## Break it
#
# A well-known library, segmentation_models_pytorch, has a SegFormer, and a script that converts published weights for it ([pull request 1017](https://github.com/qubvel-org/segmentation_models.pytorch/pull/1017)). Its decoder resizes with `align_corners=False`, as it should. Its models end in a head that brings the logits to the picture's size, and this is how, put into a function by us ([heads.py](https://github.com/qubvel-org/segmentation_models.pytorch/blob/118542056dad6155bf26f5c802184ace839189fb/segmentation_models_pytorch/base/heads.py)):


# %%
def full_size_with_a_bug(logits):
    return nn.UpsamplingBilinear2d(scale_factor=4)(logits)


def full_size(logits):
    return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)


for way in (full_size, full_size_with_a_bug):
    print(f"mIoU {score(way(logits).argmax(dim=1)).miou:.2f}  {way.__name__}")

# %% [markdown]
# The shapes agree, the labels look right, and some mIoU is gone. You know the suspect from section 6. The instrument: **send the positions themselves through the resize**, and see where each pixel believes it reads.
#
# **Predict.** Where in the picture is the error, and how large is it?

# %%
prediction = ...  # a place, and a number of pixels

# %%
centres = 4 * torch.arange(32.0) + 1.5  # where the 32 samples lie, in pixels
ramp = centres.expand(1, 1, 32, 32)
true_place = torch.arange(128.0)
for way in (full_size, full_size_with_a_bug):
    error = (way(ramp)[0, 0, 0] - true_place)[2:-2]  # beyond the outer samples nobody can know
    print(f"{way.__name__:<21}", [round(error[i].item(), 2) for i in (0, 31, 61, 62, 92, 123)])

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# `nn.UpsamplingBilinear2d` is the old name of a resize with `align_corners=True`; its documentation says so ([PyTorch](https://pytorch.org/docs/stable/generated/torch.nn.UpsamplingBilinear2d.html)). Everything is stretched about the centre. In the middle of the picture the error is zero, at the borders one and a half pixels. The weights were trained with
# `align_corners=False` in every resize, so logits are put where they do not belong.
#
# It is hard to see because it is small, and because it is zero where one looks first. When the deprecated name was replaced by a plain one, a review comment held that it had stood for `False` all the time ([pull request 1262](https://github.com/qubvel-org/segmentation_models.pytorch/pull/1262)). Look it up:
#
#     nn.UpsamplingBilinear2d(scale_factor=4).align_corners      # True
#
# The mend is the function above it. What would have caught it? Not a test of shapes, and hardly a look at pictures. Logits *at full size*, compared with the library that the weights come from.
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("07.1")` gives a hint, and another one each time you ask; `solution("07.1")` the answer.
#
# ### Exercise 07.1 ★ 5 minutes · What does the decoder hold?
#
# The number of learned parameters of the decoder, from the widths of the stages, D and the number of classes.


# %%
def decoder_parameters(embed_dims, decoder_dim, num_classes):
    return ...


check("07.1", decoder_parameters)

# %% [markdown]
# ### Exercise 07.2 ★★ 6 minutes · Two Linears in one
#
# A Linear with weight `(D, C)` and bias `(D,)`, and after it the matrix `fuse`, `(E, D)`. Return weight and bias of the one Linear that does both.


# %%
def compose_two(fuse, weight, bias):
    return ...


check("07.2", compose_two)

# %% [markdown]
# ### Exercise 07.3 ★★ 10 minutes · A BatchNorm that disappears
#
# After a Linear comes a BatchNorm in evaluation mode. Return weight and bias of the one Linear that does what both do. The weight is `(D, C)`, all others `(D,)`.


# %%
def fold(weight, bias, mean, variance, scale, shift, eps):
    return ...


check("07.3", fold)

# %% [markdown]
# ### Exercise 07.4 ★★ 8 minutes · Where does a new pixel look?
#
# A row of `small` samples becomes `large`, bilinearly, without aligned corners. At which position of the old row, from 0 to small − 1, does new sample number `index` read?


# %%
def read_position(index, small, large):
    return ...


check("07.4", read_position)

# %% [markdown]
# ### Exercise 07.5 ★★ 6 minutes · From logits to labels
#
# Logits `(B, K, h, w)`, and the size `(H, W)` of the image. Return the class of every pixel, `(B, H, W)`.


# %%
def labels_at(logits, size):
    return ...


check("07.5", labels_at)

# %% [markdown]
# ### Exercise 07.6 ★★★ 12 minutes · Who said so?
#
# At one pixel, the summands in front of the ReLU, `(n, D)`, the last of them that of the biases; the classifier's weight `(K, D)` and bias `(K,)`. Return the summands of the logits, `(n, K)`; the classifier's bias joins the last.


# %%
def shares_of_logits(parts, weight, bias):
    return ...


check("07.6", shares_of_logits)

# %%
folder.cleanup()

# %% [markdown]
# ## Recap
#
# - The decoder looks at one position at a time. It can be small because the tokens it gets have seen the picture; attention makes their field wide, and training makes the width count.
# - Published: Linear, resize, concatenate from stage 4 to stage 1, fuse, BatchNorm, ReLU, dropout, classify. Equation 4 leaves out the three before the last.
# - Linear and resize commute. So the matrices can be composed, each stage stays at its own size, and the widest map never exists: same parameters, same logits, same gradients.
# - Logits come at H/4. Resize them without aligned corners, then take the argmax.
# - A file of weights does not say in which order stages were concatenated, how many heads there are, or which epsilon: compare logits.
# - Up to its one ReLU the decoder is linear, so each logit is a sum over the stages, exactly.
#
# **Can you answer without scrolling up?**
#
# 1. Which part of the model lets a pixel know what stands at the other end of the picture, and which part does not?
# 2. Which three things does equation 4 leave out, and which of them can be folded away in evaluation?
# 3. Why may Linear and resize be swapped, and what property of the resize does the *bias* need?
# 4. A colleague's converted model has the right shapes, no error, and answers that are wrong everywhere. What do you look at first?
# 5. Why not enlarge the labels?
#
# <details><summary>Answers</summary>
#
# 1. Attention in the encoder, from stage 1 on. The decoder's Linears and its resize hardly look sideways.
# 2. BatchNorm, ReLU, dropout. BatchNorm is a scale and a shift then, and joins the Linear before it; dropout does nothing in evaluation; the ReLU stays.
# 3. They act on different axes, positions and channels. The weights of the resize have to sum to one.
# 4. The order of concatenation: stage 4 comes first in the published weights. Then key and value, where they share a tensor.
# 5. Their borders follow the coarse grid, and class numbers cannot be mixed. Logits can, and they say where between two tokens a border lies.
#
# </details>
#
# > **Where paper, code and posts differ**
# >
# > - *Equation 4.* It has no BatchNorm, ReLU or dropout (arXiv:2105.15203, eq. 4); the released model has all three. A reader of another implementation stumbled on the [sneaky batch norm](https://github.com/camlaedtke/segmentation_pytorch/issues/4).
# > - *W/4 × W/4.* The equation upsamples to a square (arXiv:2105.15203, eq. 4); H/4 × W/4 is meant.
# > - *Order.* The equation's Concat has no order; the published weights want stage 4 first.
# > - *"All-MLP".* A 1×1 convolution and a Linear are the same map, and in the whole decoder stands a single nonlinearity.
# > - *FLOPs.* The paper counts multiply-adds of the published order (arXiv:2105.15203, Table 1). The commuted order gives the same logits for less, so our cost and the paper's differ.
# > - *Epsilon.* `1e-6` in the blocks of the paper's code; `1e-5` everywhere in transformers, whatever the `layer_norm_eps` of its config.json says.
# > - *Full size.* The model of transformers returns logits at H/4, and its image processor can bring them to full size; segmentation_models_pytorch returns them at full size, by aligned corners ("Break it"). Another runtime chose classes before it resized, and [mended it](https://github.com/NVIDIA/TensorRT-Model-Connect/pull/481).
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.2, eq. 4, Figure 3, Table 1. W. Luo and others, *Understanding the Effective Receptive Field in Deep Convolutional Neural Networks*, [arXiv:1701.04128](https://arxiv.org/abs/1701.04128). S. Ioffe and C. Szegedy, *Batch Normalization*, [arXiv:1502.03167](https://arxiv.org/abs/1502.03167).
#
# **Next:** lesson 08. You have the model; now train one, in a minute.
