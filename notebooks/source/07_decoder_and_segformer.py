# %% [markdown]
# # Lesson 07 · Is a linear decoder enough?
#
# The encoder of lesson 06 hands over four maps, and a decoder turns them into a class for every pixel. SegFormer's is small: a few Linears, a resize, a norm and one ReLU. The paper says that this is enough because the encoder has seen enough (arXiv:2105.15203, Section 3.2).
#
# **After this lesson you will be able to**
#
# - measure how far a token sees, and say why a small decoder needs that;
# - write the decoder as it was published, name what equation 4 leaves out, and prove the cheaper form equal to it;
# - say what align_corners does, and why logits are resized before the argmax and not after;
# - check your model against another library's (*further*: and load published weights under any of their four names);
# - *further*: split a logit into what each stage adds, and say what in such a split is a free choice.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip what is *further*; only exercise 07.6 needs section 10. **You need** lessons 01 to 06. No GPU.

# %%
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import MixTransformer, SegFormer, SegFormerConfig, plots, widgets
from segformer_edu.analysis import cost
from segformer_edu.analysis.receptive_field import conv_twin, moved_from_outside, stage_fields
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.plots.labels import color_labels
from segformer_edu.training import confusion_matrix, scores

torch.set_grad_enabled(False)
torch.set_num_threads(1)

# %% [markdown]
# ## 1 · What does the decoder get, and what must it give?
#
# A model ships with this package: **nano**, trained on street scenes that the package draws. It has {{nano_parameters}} parameters, and all the parts of B0. We show it twenty-four new scenes:

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
    plots.segmentation(
        photo, answer[shown].numpy(), CLASSES, "nano names the parts of an unseen scene"
    ),
    alt="A drawn street scene under the classes that the model gave its pixels: road, sky and "
    "building cover most of it; three persons, a van, a sign on its pole and trees stand in front, "
    "with their shares in a legend.",
)

# %% [markdown]
# *Look at the borders.* They are where a decoder shows what it can do. (Signs and traffic lights count as part of their pole.)
#
# To compare decoders, we need a number. The **IoU** of a class divides the pixels that both the model and the truth give to that class by those that at least one of them gives to it. Its mean over the classes is called **mIoU** (lesson 08).


# %%
def score(predicted):
    return scores(confusion_matrix(predicted, labels, len(CLASSES)))


whole = score(answer)
print(f"mIoU {whole.miou:.2f}")
print(", ".join(f"{name} {iou:.2f}" for name, iou in zip(CLASSES, whole.iou, strict=True)))

# %% [markdown]
# How large is such a decoder? For B0 at 512×512, computed as the paper's model does it:

# %%
b0 = cost(SegFormerConfig.named("b0"), (512, 512))
of_parameters = b0.decoder.parameters / b0.parameters
of_work = b0.decoder.reference_multiply_adds / b0.reference_multiply_adds
print(f"the decoder has {of_parameters:.0%} of the parameters, {of_work:.0%} of the multiply-adds")

# %% [markdown]
# In B0 it is small in parameters, and yet it does more than half of the work. Section 4 takes most of that away. But first, what do its tokens know?
#
# ## 2 · How far do the tokens see?
#
# A decoder is also called a **head**. Its Linears look at one position at a time, and its resize mixes only neighbouring tokens. So whatever a pixel has to know about the rest of the picture, its tokens must know before the decoder begins. Do they?
#
# We can ask the gradient: *if this pixel changed a little, how much would that token change?* The map of all answers is called the token's **effective receptive field** ([Luo and others 2016](https://arxiv.org/abs/1701.04128)). We compare such maps, as means over pictures, with those of a conv net: nano's own twin, which has a 3×3 convolution in the place of every attention. It is untrained, because only its borders matter here, and no training moves them.
#
# **Predict.** Stage 1 of the twin is a 7×7 patch of stride 4, and two blocks of two 3×3 convolutions each (ours, and the one in Mix-FFN). How many pixels across can its token see at most, in a picture of 256×256? And a token of nano's stage 1?

# %%
prediction = ...  # two numbers of pixels, such as (20, 100)

# %%
large = torch.stack([image for image, _ in Scenes(4, 256, seed=708)])
generator = torch.Generator().manual_seed(0)
torch.manual_seed(0)
encoders = {
    "nano, untrained": MixTransformer(nano.config).eval(),
    "conv twin": conv_twin(nano.config),
    "nano, trained": nano.encoder,
}
fields = stage_fields(encoders, large, generator)
across = {name: (row[0] > 0).any(dim=0).sum().item() for name, row in fields.items()}
for name, row in fields.items():
    reached = ", ".join(f"{(field > 0).double().mean():.0%}" for field in row)
    print(f"{name:<15} stage 1 reaches {across[name]} pixels across;")
    print(f"{'':<15} stages 1 to 4 reach {reached} of the picture")
compare(prediction, (across["conv twin"], across["nano, trained"]))

# %% [markdown]
# The twin's first stage reaches 7 + 4 · 8 = {{twin_reach_1}} pixels across, because each of the four 3×3 convolutions adds a token on either side. Outside, the gradient is zero whatever the weights are. With attention, a token reaches the whole picture from the first block on. But a token that reaches a pixel may hardly *depend* on it, so let us see where the response lies.

# %%
plots.show(
    plots.receptive_fields(
        {name: [field.numpy() for field in row] for name, row in fields.items()},
        {name: [f"stage {i}" for i in range(1, 5)] for name in fields},
        "From small weights, training widens the field in every stage",
        zoom=(48,),
    ),
    alt="Three rows of four heat maps for stages 1 to 4, each with logarithmic colours of its own; "
    "those of stage 1 have their middle enlarged in a corner. Nano untrained has a small bright "
    "square in the middle, which grows with the stage. The fields of the conv twin are larger "
    "squares, black beyond up to stage 3. Nano trained has a bright middle on a faint ground that "
    "reaches the borders, patchy in stage 1, and glows over most of the picture in stage 4.",
)

# %% [markdown]
# *Compare nano untrained with nano trained.* Each panel has logarithmic colours of its own: black is less than a ten-thousandth of its strongest pixel, and violet about a thousandth. Untrained, a token of stage 1 answers to its own patch and those beside it, the small squares, and to little else. That is because our Linears start small: untrained ones five times as large, close to nano's, give a field about as wide. So the architecture allows it, and the **weights** decide.
#
# *Compare nano trained with the twin.* Does nano's token depend on what lies beyond the twin's borders? We put another scene there, and compare the token's move with the gap to that scene's own token.

# %%
borders = [field > 0 for field in fields["conv twin"][:2]]  # of stages 1 and 2
for name, encoder in encoders.items():
    moved = ", ".join(f"{share:.1%}" for share in moved_from_outside(encoder, large, borders))
    print(f"{name:<15} moves {moved} of the gap, stages 1 and 2")

# %% [markdown]
# The twin's tokens cannot move. Nano's do: on average, by a tenth to nearly a half of the gap, though hardly towards that other token, in eight draws of scenes. So such a token depends on more than its neighbourhood. The paper explains by a wide field why the head may be small: on large pictures, even stage 4 of a conv net, DeepLabv3+, covers a small part, and SegFormer's covers much (arXiv:2105.15203, Figure 3). We cannot test that: our pictures are small, and our twin is untrained.
#
# ### One token's response, by hand · *further*
#
# A token is a vector, so a product with a random direction turns it into one number first:

# %%
pixels = large[:1].clone().requires_grad_()
with torch.enable_grad():
    token = nano.encoder(pixels)[0][0, :, 32, 32]  # the middle one of stage 1's 64×64 tokens
    # A sum of the channels would not do: after an untrained stage's last norm it is constant.
    direction = torch.randn(len(token), generator=generator)
    (gradient,) = torch.autograd.grad(token @ direction, pixels)
response = gradient[0].norm(dim=0)  # (256, 256): one number a pixel, over its three colours
middle = response[126:130, 126:130].mean()  # the token's centre is at pixel 128
for distance in (10, 100):
    there = response[126:130, 126 - distance : 130 - distance].mean()
    print(f"{distance:>3} pixels to the left: {there / middle:.1%} of the response in the middle")

# %% [markdown]
# This token responds to a pixel far away, too, but faintly.
#
# ## 3 · What does equation 4 say, and what does it leave out?
#
# The paper defines the decoder by four steps (arXiv:2105.15203, eq. 4; one of the two W is an H):
#
# $$\hat F_i = \mathrm{Linear}(C_i, C)(F_i) \qquad \hat F_i = \mathrm{Upsample}(\tfrac W4 \times \tfrac W4)(\hat F_i)$$
# $$F = \mathrm{Linear}(4C, C)(\mathrm{Concat}(\hat F_i)) \qquad M = \mathrm{Linear}(C, N_{cls})(F)$$
#
# We do them one by one, with nano's own weights. C is called D from here on (64 in nano), to tell it from the C_i of the stages, and N_cls is the number of classes.

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
# The last Linear gives M, the **logits**: a score for each class at each position, of which the largest wins. But in the released model three more things stand in front of it: a **BatchNorm**, a **ReLU**, and in training a **dropout** of whole channels (lesson 05).
#
# **Predict.** We keep nano's weights, and leave out the BatchNorm and the ReLU, as equation 4 does. What mIoU is left? And what if we keep both, but concatenate from stage 1 to stage 4, as the equation's index suggests?

# %%
prediction = ...  # two mIoUs, such as (0.5, 0.5)


# %%
def labels_of(logits):
    return F.interpolate(logits, images.shape[2:], mode="bilinear").argmax(dim=1)


in_order = decoder.norm(decoder.fuse(torch.cat(resized, dim=1)))
ways = {
    "no norm, no ReLU": fused,
    "both, as in the model": F.relu(decoder.norm(fused)),
    "both, but stage 1 first": F.relu(in_order),
}
found = [round(score(labels_of(decoder.classifier(x))).miou, 2) for x in ways.values()]
print("\n".join(f"{name:<23} mIoU {miou:.2f}" for name, miou in zip(ways, found, strict=True)))
compare(prediction, (found[0], found[-1]))

# %% [markdown]
# The last line is the one to remember. All shapes fit, because every stage has D channels by then, so nothing complains; and little is right. A file of weights does not say in which order its columns were meant: **stage 4 comes first**. (The first line says only that these weights were trained *with* norm and ReLU.)
#
# Here is the published decoder as a class:


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
# The paper calls this "All-MLP". A 1×1 convolution and a Linear over the channels are the same map. What makes an *MLP* more than a Linear is a nonlinearity between two of them, and the whole decoder has a single one.
#
# ## 4 · Must the widest map exist?
#
# The steps above make a map of 4·D channels at a quarter of the picture's size. For B0 at 512×512 it has {{b0_stacked}} million numbers, and fusing it is most of the decoder's work. The fusion's weight W has a slice W_i for each stage, and between a stage's Linear A_i and this slice stands only a resize. A resize computes each new pixel as a weighted mean of old ones, and a Linear each new channel as a weighted sum of old ones. Does it matter which comes first?
#
# **On paper.** Let the resize be a matrix S over positions, and the Linear a matrix A over channels. For the number x_{qc} of channel c at position q,
#
# $$\sum_c A_{dc} \Big( \sum_q S_{pq}\, x_{qc} \Big) \;=\; \sum_q S_{pq} \Big( \sum_c A_{dc}\, x_{qc} \Big).$$
#
# Both sides are the same double sum, because S and A act on different axes: they **commute**. The bias b_d stays as it is, $\sum_q S_{pq} b_d = b_d$, since the weights of a bilinear resize sum to one. And a concatenation followed by a Linear is a sum, in which each stage has its slice. Together:
#
# $$W\,\mathrm{Concat}\big(S_i(A_i x_i + b_i)\big) \;=\; \sum_i W_i S_i (A_i x_i + b_i) \;=\; \sum_i S_i \big( (W_i A_i)\, x_i \big) + \sum_i W_i b_i.$$
#
# On the right, two small matrices are multiplied, each stage goes from C_i to D channels at *its own* size, and the results are resized and added. No map has 4·D channels, and the parameters are still A_i and W_i, in training too. (You can try Exercise 07.2 before you read on.)

# %% tags=["mirror"]
# segformer_edu.decoder.compose

# %% [markdown]
# Now the right-hand side, a sum of resized products. (In evaluation a BatchNorm is a scale and a shift for each channel, so it could join the product, too.)


# %%
def commuted(decoder, maps):
    """Σ resize(W_i A_i x_i) + Σ W_i b_i; then norm, ReLU and classifier."""
    weights, bias = compose(decoder.projections, decoder.fuse)
    size = maps[0].shape[2:]
    fused = sum(
        F.interpolate(F.conv2d(x, weight[:, :, None, None]), size, mode="bilinear")
        for weight, x in zip(weights, maps, strict=True)
    )
    return decoder.classifier(F.relu(decoder.norm(fused + bias[:, None, None])))


assert torch.allclose(commuted(published, maps), published(maps), atol=1e-4)
print("the sum of resized products gives the logits of the published form")

# %% [markdown]
# What does it save? The step that took 4·D·D multiply-adds at each position is gone.

# %%
for name in ("b0", "b5"):
    head = cost(SegFormerConfig.named(name), (512, 512)).decoder
    published_form, commuted_form = head.reference_multiply_adds, head.multiply_adds
    print(f"{name}: published {published_form / 1e9:.2f} G, commuted {commuted_form / 1e9:.2f} G")

# %% [markdown]
# The proof needs that all between A_i and W_i is linear. With a ReLU there, the order matters: midway between −1 and 1, it gives 0 after the resize, and ½ before.
#
# ### How the package computes it · *further*
#
# In evaluation, scale and shift of the BatchNorm join the product (Exercise 07.3):

# %% tags=["mirror"]
# segformer_edu.decoder.fold_norm

# %% [markdown]
# The package computes the sum by strips of rows, so in evaluation a large map of D channels need not exist whole either. It widens coarse maps first; a small matrix then mixes the rows.

# %%
import copy
from collections.abc import Callable
from typing import Self

from segformer_edu.analysis.timing import processor_seconds
from segformer_edu.checks import check_maps, check_per_stage, check_positive, check_rate
from segformer_edu.layers import PointwiseConv2d, evaluation, initialize, linear
from segformer_edu.segformer import PIXELS
from segformer_edu.strips import joined, row_weights, source_pairs, strips, widen

# %% tags=["mirror"]
# segformer_edu.strips.add_resized

# %% tags=["mirror"]
# segformer_edu.decoder.decode

# %% [markdown]
# Now the class. Its parameters have the names and shapes of the published form, so those weights load as they are. The projections and the fusion are never called, and the norm only in training.

# %% tags=["mirror"]
# segformer_edu.decoder.AllMLPDecoder

# %% [markdown]
# For export, the products can be computed once and kept. The model is then called *folded*:

# %% tags=["mirror"]
# segformer_edu.decoder.FoldedDecoder

# %% [markdown]
# We check both on nano's maps, and in training the gradients of all parameters.

# %%
ours = AllMLPDecoder(nano.config.embed_dims, nano.config.decoder_dim, len(CLASSES)).eval()
ours.load_state_dict(published.state_dict())
for form in (ours, FoldedDecoder(ours)):
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
# Multiply-adds are only a promise, so we look at the clock: maps as large as B0's at 512×512, one thread, the best of three runs.

# %%
shapes = [(32, 128), (64, 64), (160, 32), (256, 16)]
b0_maps = [torch.randn(1, channels, side, side, generator=generator) for channels, side in shapes]
heads = {
    "published": PublishedDecoder((32, 64, 160, 256), 256, 150).eval(),
    "commuted": AllMLPDecoder((32, 64, 160, 256), 256, 150).eval(),
}
heads["commuted"].load_state_dict(heads["published"].state_dict())
heads["folded"] = FoldedDecoder(heads["commuted"])
took = {name: {"measured": processor_seconds(head, b0_maps)} for name, head in heads.items()}

# %%
faster = took["published"]["measured"] / took["commuted"]["measured"]
plots.show(
    plots.stacked_bars(
        took,
        "processor seconds of B0's decoder at 512×512",
        f"Here the commuted form is {faster:.1f} times as fast as the published one",
    ),
    alt="Three bars of processor time for the decoder of B0: the published form takes much longer "
    "than the commuted one, and the folded one about as long as that. The factor measured on the "
    "machine that made the picture stands in the title.",
)

# %% [markdown]
# *Compare the first bar with the second.* Multiply-adds promise a factor of {{b0_head_factor}}. The clock need not agree, because resizing, adding and the ReLU take time and count as no multiply-adds. But a map that is never made is never written and read back. Folding saves only {{b0_compose_share}} of the commuted head's multiply-adds here, and times vary by more.
#
# ## 5 · Is a *linear* decoder enough?
#
# Without the ReLU, projections, fusion, norm and classifier merge into one Linear, so each logit is a weighted sum of the tokens' numbers, plus a constant. Section 3 took the ReLU away from weights that were trained with it, which is unfair. A fair test trains a linear decoder.
#
# We fit one Linear to the classes, by the loss that lesson 08 trains with. For one Linear this loss has a single valley, so no fit gets stuck. We take forty steps of L-BFGS, a classical method that guesses the curvature from its last steps; they stop short of the valley's floor.
#
# **Predict.** You have seen nano's mIoU in section 1. What does a linear decoder reach?

# %%
prediction = ...  # an mIoU, such as 0.5

# %%
from segformer_edu.analysis.heads import fit, linear_head, side_by_side

others, truth = (torch.stack(each) for each in zip(*Scenes(32, 128, seed=709), strict=True))
inputs = side_by_side(nano.encoder(others))  # resized and stacked
straight = linear_head(inputs.shape[1], len(CLASSES))
fit(straight, inputs, truth.long())  # takes seconds
linear_answer = score(labels_of(straight(side_by_side(maps))))

# %%
share = linear_answer.miou / whole.miou
plots.show(
    plots.class_bars(
        CLASSES,
        {"nano's decoder": whole.iou, "linear, fitted": linear_answer.iou},
        f"A linear decoder fitted to 32 scenes reaches {share:.0%} of nano's mIoU",
    ),
    alt="Two bars of IoU for each class: nano's decoder, and a linear one fitted to nano's maps. "
    "They are closest for road, sky and vehicle, and the linear one is furthest behind for "
    "persons, sidewalks and poles.",
)
assert 0.9 < share < 1
compare(prediction, round(linear_answer.miou, 2))

# %% [markdown]
# *Compare the bars.* The linear decoder comes close, with {{probe_parameters}} parameters in place of {{nano_decoder_parameters}}, and with an encoder that was trained for *another* head. It was fitted to 32 scenes; nano's saw many more. The same fit on the maps of an *untrained* encoder gives {{linear_on_untrained}}, and {{linear_on_larger}} if its Linears start five times as large. So most of the work is done before the decoder begins.
#
# This says nothing about other encoders. The paper found the same head much weaker on ResNets (arXiv:2105.15203, Table 1), which agrees with the paper's reason.
#
# ### What is the ReLU worth? · *further*
#
# We fitted a head with 64 channels and a ReLU, too, on three draws of scenes, from two starts each (`python -m experiments.decoder_heads`). To save time, the loss is taken at one pixel a token. All are judged by the 24 scenes of section 1. The table gives the share of nano's mIoU, as mean ± standard deviation:
#
# | fitted to | iterations | linear | with a ReLU |
# |---|---|---|---|
# | {{few_scenes}} scenes | {{short_fit}} | {{linear_few_short}} | {{relu_few_short}} |
# | {{few_scenes}} scenes | {{long_fit}} | {{linear_few_long}} | {{relu_few_long}} |
# | {{more_scenes}} scenes | {{short_fit}} | {{linear_more_short}} | {{relu_more_short}} |
# | {{more_scenes}} scenes | {{long_fit}} | {{linear_more_long}} | {{relu_more_long}} |
#
# The longer fit makes the linear head slightly worse on new scenes, and the one with a ReLU more: in every draw of fitting scenes it falls from the first place to the second (as a mean of its starts). So this experiment cannot say what the ReLU is worth, but part of the gap is a matter of data. (Asked about predicting from the concatenated maps at once, an author of the paper had not tried, and expected much the same: [issue 35](https://github.com/NVlabs/SegFormer/issues/35).)
#
# ## 6 · How are maps enlarged?
#
# The decoder enlarges maps, and `predict` enlarges logits. Say four samples become sixteen. Think of a pixel as a square, and of its number as a sample at the *centre*. With `align_corners=False` the two rows of *squares* are laid over each other, edge on edge. With `align_corners=True` the first and the last *samples* are laid over each other, and all between are stretched to fit.

# %%
plots.show(
    plots.resized_rows([0, 1, 2, 3], 16, "With aligned corners, new pixels read further inside"),
    alt="Two drawings of a row of four squares over a row of sixteen small ones, lines showing "
    "where each small one reads. Without aligned corners the lines are upright, except for two "
    "at each end that bend to the outermost sample. With aligned corners all lines lean inwards, "
    "most at the ends, by one and a half small squares, and least in the middle.",
)

# %% [markdown]
# *Look at how the lines lean on the right.* In the middle nothing is moved, but towards the borders every new pixel reads from further inside: by up to one and a half of the new pixels at four times the size, and by three and a half at eight times, as from stage 4 to stage 1. (On the left, lines bend where nothing is left to read.)
#
# Neither convention is wrong by itself, but a model has to be run with the one that it was trained with, as nano was without aligned corners. The other one fits all shapes and loses little, so it goes unnoticed, as in "Break it" (*further*).
#
# ### How much is lost, and where? · *further*
#
# Either of the two resizes can be wrong, the decoder's or the last.


# %%
def decoded(align_corners):
    resized = [
        F.interpolate(x, size, mode="bilinear", align_corners=align_corners) for x in projected
    ]
    return decoder.classifier(F.relu(decoder.norm(decoder.fuse(torch.cat(resized[::-1], dim=1)))))


for inside in (False, True):
    for last in (False, True):
        large_logits = F.interpolate(
            decoded(inside), images.shape[2:], mode="bilinear", align_corners=last
        )
        miou = score(large_logits.argmax(dim=1)).miou
        print(f"decoder {inside!s:<5}  last resize {last!s:<5}  mIoU {miou:.2f}")

# %% [markdown]
# ## 7 · Why are logits resized, and not labels?
#
# The decoder answers at a quarter of the picture's size. To get to full size, we can resize the logits and take the argmax there, or take the argmax first and enlarge the labels.
#
# **Predict.** Which is better, and what mIoU does the other reach?

# %%
prediction = ...  # the better one, and the mIoU of the other, such as ("labels", 0.5)

# %%
logits = nano(images)
coarse = logits.argmax(dim=1, keepdim=True).float()
mixed = F.interpolate(coarse, images.shape[2:], mode="bilinear")[:, 0]
answers = {
    "logits, then argmax": labels_of(logits),
    "argmax, then nearest": F.interpolate(coarse, images.shape[2:], mode="nearest")[:, 0].long(),
    "argmax, then bilinear": mixed.round().long(),
}
results = {name: score(predicted) for name, predicted in answers.items()}
print("\n".join(f"{name:<22} mIoU {result.miou:.2f}" for name, result in results.items()))
first, second, _ = results.values()
losses = zip(CLASSES, first.iou, second.iou, strict=True)
print("lost by nearest:", ", ".join(f"{name} {a - b:.2f}" for name, a, b in losses))
better = "logits" if first.miou > second.miou else "labels"
compare(prediction, (better, round(min(first.miou, second.miou), 2)))

# %% [markdown]
# Every class loses when labels are enlarged, not only the thin ones. The third way is worse still, because it mixes class *numbers*: between sky, 0, and vegetation, 2, lies "building". `predict` goes the first way. Why does it help?

# %%
crop = slice(40, 120), slice(16, 96)
seen = [labels[shown], *(predicted[shown] for predicted in list(answers.values())[:2])]
plots.show(
    plots.pictures(
        [photo[crop], *(color_labels(each.numpy())[crop] for each in seen)],
        ["scene", "truth", *list(answers)[:2]],
        "Resized logits draw slanted borders; enlarged labels draw squares",
    ),
    alt="A detail of the scene four times: the picture with three persons, a van and a tree, its "
    "true labels, the model's labels from resized logits with slanted borders, and the labels "
    "enlarged after the argmax, all of whose borders are steps of four pixels.",
)

# %% [markdown]
# *Look at the edges of the van (light blue) and of the road (pink).* Resized logits can place a border *between* two tokens, because the amounts by which both speak for a class say where the balance tips. A label has thrown that away.
#
# ### How much does the size alone cost? · *further*
#
# To see what a map at H/4 loses, we pool the truth itself to a quarter, and bring it back.

# %%
one_hot = F.one_hot(labels.long(), len(CLASSES)).permute(0, 3, 1, 2).float()
pooled = F.avg_pool2d(one_hot, 4)  # the share of each class in each token's square
for name, predicted in {
    "as labels": F.interpolate(pooled.argmax(1, keepdim=True).float(), scale_factor=4)[:, 0].long(),
    "as shares": labels_of(pooled),
}.items():
    result = score(predicted)
    print(f"truth at H/4, {name}: mIoU {result.miou:.2f}, poles {result.iou[-1]:.2f}")

# %% [markdown]
# At H/4, even labels made from the truth lose much of the poles, and shares of classes keep more. Logits can keep more still: lesson 06 fitted some that gave back nearly everything. In our scenes, the size alone is no reason for a decoder that works at full size.
#
# ## 8 · The full model
#
# Everything is built, so the model is one line, its labels another:

# %%
quarter_size = nano.decoder(nano.encoder(images[:1]))
full_size_labels = F.interpolate(quarter_size, (128, 128), mode="bilinear").argmax(dim=1)
same = torch.equal(full_size_labels, nano.predict(images[:1]))
print("encoder, decoder, resize, argmax are nano.predict:", same)

# %% [markdown]
# **Check it against somebody else's model.** `transformers` has a SegFormer that nobody here wrote. We save nano under the names that it uses, let it load that, and compare the logits.

# %%
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
model = SegFormer(nano.config.replace(block_norm_eps=1e-5)).eval()  # 1e-5 in all norms, as theirs
model.load_state_dict(nano.state_dict())
folder = tempfile.TemporaryDirectory()
model.save_pretrained(folder.name)
theirs = transformers.SegformerForSemanticSegmentation.from_pretrained(folder.name).eval()
expected = theirs(images[:4]).logits
assert (model(images[:4]) - expected).abs().max() < 3e-6 * expected.abs().max()
print("ours and theirs differ by less than 3e-06 of the largest logit")

# %% [markdown]
# What is left is rounding, once the **epsilon** of the norms agrees.
#
# ### Which epsilon? · *further*
#
# Epsilon is the small number that a norm adds to the variance before it divides. transformers (`5.23`) uses `1e-5` in all its norms, whatever the `layer_norm_eps` of its config.json says. The paper's code uses `1e-6` in the blocks' two norms and the stages', and so does nano. And with nano's own?

# %%
difference = (nano(images[:4]) - expected).abs().max() / expected.abs().max()
assert difference > 3e-6
print("with nano's own epsilon they differ by more than 3e-06 of the largest logit")

# %% [markdown]
# That is too small to see in a picture, but a comparison of logits finds it at once.
#
# ### The class in full · *further*
#
# Where the four tokens around a pixel agree on the largest logit, so does every weighted mean of them. That is why `predict` mixes only the pixels between tokens that disagree, and K maps at full size need not exist. (It needs no softmax, which would not change which logit is largest. With K = 1 the sign decides. With overlapping windows of a large picture, too, add up logits, and take the argmax last.) It also sets evaluation mode, because in training mode the BatchNorm takes the statistics of the batch, and an answer depends on what else is in it. With nano's norm in that mode, the mIoU is {{norm_in_batch}} when the scenes come together, and {{norm_one_by_one}} when they come one by one. (Training with a batch of one works, because a picture has many positions at H/4; heads that pool it to a single one [fail](https://github.com/open-mmlab/mmsegmentation/issues/272). PyTorch's `momentum` of 0.1 is the [share of the new batch](https://pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html) in the running statistics, [Keras's](https://keras.io/api/layers/normalization_layers/batch_normalization/) that of the old.)

# %% tags=["mirror"]
# segformer_edu.segformer.disagree

# %% tags=["mirror"]
# segformer_edu.segformer.labels_from_logits

# %% tags=["mirror"]
# segformer_edu.segformer.SegFormer

# %% [markdown]
# ## 9 · One weight, four names · *further*
#
# The same tensors are published under four sets of names. The package loads by this table:

# %%
from IPython.display import Markdown

from segformer_edu.checkpoints.layouts import PUBLISHED
from segformer_edu.checkpoints.names import names_table

Markdown(names_table())

# %% [markdown]
# A line in bold says how the names below it begin: those of a stage, of a block, of the decoder. `{number}` counts stages from 1, `{stage}` from 0, and `{reversed}` from the last one down. Two layouts keep key and value in one tensor, the key's rows first. The reference's file holds one more pair, `decode_head.conv_seg`, that no forward pass ever touches.
#
# > **Another head of the same name.** mmsegmentation's SegFormer head has a norm and a ReLU after *each* projection ([pull request 599](https://github.com/open-mmlab/mmsegmentation/pull/599)), and concatenates from stage 1 to stage 4. So it is another function: the proof of section 4 does not hold, and no renaming makes its weights the paper's.
#
# nano has two blocks a stage, and {{nano_tensors}} tensors. How many are they where key and value are joined? Count first; then we rename them and load:


# %%
def renamed(state, layout):
    """A state of ours under the names of a published layout."""
    named = {}
    for name, tensor in state.items():  # key comes before value
        theirs = layout.theirs(name, num_stages=4)
        named[theirs] = torch.cat([named[theirs], tensor]) if theirs in named else tensor
    return named


for layout in PUBLISHED[:4]:  # the fifth is ours
    path = Path(folder.name, "weights.safetensors")
    Path(folder.name, "config.json").unlink(missing_ok=True)
    save_file(renamed(nano.state_dict(), layout), path)
    loaded = SegFormer.from_pretrained(path, config=nano.config)
    equal = torch.equal(loaded(images[:2]), nano(images[:2]))
    print(f"{layout.name:<28} {len(renamed(nano.state_dict(), layout))} tensors, equal: {equal}")

# %% [markdown]
# `from_pretrained` finds out whose names these are, and names what is missing, unexpected or of another shape. PyTorch's `strict=False` hides all but the shapes. What is left then? And what goes wrong although everything fits?


# %%
def built(state, strict=True, **changes):
    torch.manual_seed(0)
    model = SegFormer(nano.config.replace(**changes)).eval()
    model.load_state_dict(state, strict=strict)
    return model


state = nano.state_dict()
key, value = ".attention.key.", ".attention.value."
exchanged = {
    name.replace(key, value) if key in name else name.replace(value, key): tensor
    for name, tensor in state.items()
}
for name, model in {
    "nano": nano,
    'a prefix "module.", strict=False': built({"module." + n: state[n] for n in state}, False),
    "the encoder alone, strict=False": built(
        {n: state[n] for n in state if n.startswith("encoder.")}, False
    ),
    "key and value exchanged": built(exchanged),
    "one head in every stage": built(state, num_heads=(1, 1, 1, 1)),
}.items():
    away = (model(images) - nano(images)).abs().mean()
    print(f"{name:<33} mIoU {score(model.predict(images)).miou:.2f}, logits off by {away:.1f}")

# %% [markdown]
# With the prefix nothing was loaded, and no error said so. (PyTorch returns those names, so read them.) The second is, in effect, what a file from ImageNet gives. Its decoder has to be trained, so the package refuses such a file unless you give `num_classes`. Where only the number of classes differs, only the classifier starts anew (lesson 08).
#
# The last two load strictly. A file does not say which half of a joint tensor is the key, how many heads there are, or which strides and epsilon. Those come from a `config.json` beside it, from the caller or, for the published sizes, from the widths and depths. The number of heads hardly shows in the mIoU, so we compare logits.
#
# ## 10 · Which stage said so? · *further*
#
# A decoder this simple can be asked who said what. In front of its ReLU stands a *sum*, with one summand from each stage and one from the biases. The ReLU then passes a channel or blocks it at each pixel, and **with these decisions fixed, everything after it is linear too**. So each logit is, exactly, a sum:
#
# $$\mathrm{logit}_k = \sum_{i=1}^{5} \sum_d V_{kd}\, m_d\, z_{id} + v_k, \qquad m_d = \Big[ \sum_{i=1}^{5} z_{id} > 0 \Big]$$
#
# Here $z_{id}$ is what summand i, the fifth being the biases, puts into channel d, and $m_d$ is 1 where the ReLU passes it, 0 elsewhere. V and v are the classifier's weight and bias; v joins the fifth summand.
#
# Who says most? Two free choices would change the answer, so we settle them first.
#
# - A constant can be moved from one summand to another, and no logit changes. So we count each stage from its mean over all pixels of all scenes, and the means join the biases as *constants*. Then a stage that says the same everywhere adds nothing.
# - A number that is added to all eight logits changes no answer. So we look at the **lead** of a class: its logit less the mean of all eight.

# %%
from segformer_edu.analysis.contributions import centred, contributions, fused_parts

shares = contributions(nano, images)  # (B, 5, K, H/4, W/4), each stage counted from its mean
assert torch.allclose(shares.sum(dim=1), logits, atol=1e-4)
leads = shares - shares.mean(dim=2, keepdim=True)
print(tuple(shares.shape), "sums to the logits", tuple(logits.shape))

# %%
voices = ["stage 1", "stage 2", "stage 3", "stage 4", "constants"]
quarter = labels[:, 2::4, 2::4].long()  # the truth at each pixel of the logits
described = {
    "vehicle": "stage 1 in fine lines, stage 2 in patches of which the strongest lie on the "
    "vehicle, stage 3 in broader ones on and around it, stage 4 against it in the sky and for it "
    "on the ground, and the constants next to nothing.",
    "pole": "stages 1 and 2 most strongly on the pole, in fine lines and in patches, stage 3 in "
    "patches on and beside it and on the left, stage 4 for it in the sky, and the constants "
    "slightly against it everywhere.",
}
for name, description in described.items():
    label = CLASSES.index(name)
    summands = leads[shown, :, label]  # (5, H/4, W/4)
    means = summands[:4, quarter[shown] == label].mean(dim=1)
    most = means.argmax().item() + 1
    plots.show(
        plots.contribution_maps(
            photo,
            summands.numpy(),
            voices,
            f"Where “{name}” is true, stage {most} adds most to its lead",
        ),
        alt="The scene, and five maps of what stages 1 to 4 and the constants add to the lead of "
        f"{name}: {description}",
    )

# %% [markdown]
# *Go from stage to stage.* (Each figure has a scale of its own.) Here stage 1 draws lines, stages 2 and 3 paint patches, and stage 4 speaks of above and below. Stage 4 is grainy, although it has a token only every eight pixels, and even the *constants* vary, because of m: the sum of all decides at each pixel which of their channels pass.
#
# Now over all scenes, on the pixels where each class is true:

# %%
print(" " * 11, *(f"{voice:>9}" for voice in voices))
for label, name in enumerate(CLASSES):
    means = leads[:, :, label].movedim(1, -1)[quarter == label].mean(dim=0)
    print(f"{name:<11}", *(f"{mean:>+9.1f}" for mean in means.tolist()))

# %% [markdown]
# Stage 4 adds most for the sky, and stage 1 for vegetation. For vehicles, persons and poles it is stages 2 and 3, in an order that can change. All this holds in five other draws of scenes, and with means that count all classes alike. So does the first place of stage 3 for roads, but buildings and sidewalks change.
#
# Does the decoder need every map? We put a map's mean in its place (later stages still get the map), and the ReLU decides anew:

# %%
parts = centred(fused_parts(decoder, maps))  # (B, 5, D, H/4, W/4)


def right(chosen):
    answer = decoder.classifier(F.relu(parts[:, chosen].sum(dim=1))).argmax(dim=1)
    return (answer == quarter).double().mean()


print(f"all stages: {right([0, 1, 2, 3, 4]):.0%} of the pixels are right")
for i in range(4):
    others = [part for part in range(5) if part != i]
    print(f"stage {i + 1}: {right([i, 4]):.0%} by it alone, {right(others):.1%} without it")

# %% [markdown]
# Stage 3 gets furthest alone. Stage 1 gets least far, and yet its loss costs most. So "which stage says most" has no single answer: it depends on whether one asks what nano's decoder makes of its map alone, or loses without it.
#
# But the sum explains *this* picture only, because another has other decisions in its ReLU.
#
# ## Play · *further*
#
# Choose a scene, a class and a point. Arrow keys move all sliders.

# %%
widgets.Contributions()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Quarrels are common. In a quarter of the pixels of our scenes, at least one stage speaks against the class that wins. On most pixels of a pole, stage 2 or stage 3 adds most. A step beside it, stages 1 and 2 often add less than half.
#
# </details>
#
# ## Break it · *further*
#
# segmentation_models_pytorch, a well-known library, has a SegFormer, and loads published weights into it ([pull request 944](https://github.com/qubvel-org/segmentation_models.pytorch/pull/944)). Its decoder resizes with `align_corners=False`, as it should. Then the logits are enlarged, up to version 0.5.0 by this call ([now](https://github.com/qubvel-org/segmentation_models.pytorch/pull/1262) with the same effect):


# %%
def full_size_with_a_bug(logits):
    return nn.UpsamplingBilinear2d(scale_factor=4)(logits)


def full_size(logits):
    return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)


for way in (full_size, full_size_with_a_bug):
    print(f"mIoU {score(way(logits).argmax(dim=1)).miou:.2f}  {way.__name__}")

# %% [markdown]
# The shapes agree, and yet some mIoU is gone. **Send the positions themselves through the resize**, and see where each pixel believes it reads.
#
# **Predict.** By how many pixels is a position wrong at the left border, and in the middle?

# %%
prediction = ...  # two numbers of pixels, such as (2.0, 2.0)

# %%
centres = 4 * torch.arange(32.0) + 1.5  # where the 32 samples lie, in pixels
ramp = centres.expand(1, 1, 32, 32)
true_place = torch.arange(128.0)
for way in (full_size, full_size_with_a_bug):
    error = (way(ramp)[0, 0, 0] - true_place)[2:-2]  # beyond the outer samples nobody can know
    print(f"{way.__name__:<21}", [round(error[i].item(), 2) for i in (0, 31, 61, 62, 92, 123)])
compare(prediction, (round(error[0].item(), 1), abs(round(error[61].item(), 1))))

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# `nn.UpsamplingBilinear2d` is the old name of a resize with `align_corners=True`, as its documentation says ([PyTorch](https://pytorch.org/docs/stable/generated/torch.nn.UpsamplingBilinear2d.html)). So the picture is stretched about the centre, by up to one and a half pixels at the borders. A picture hides that, but the class does not:
#
#     nn.UpsamplingBilinear2d(scale_factor=4).align_corners      # True
#
# What catches such a bug is a comparison of logits *at full size* with the library that the weights come from.
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("07.1")` gives a hint, and another one each time; `solution("07.1")` gives the answer.
#
# ### Exercise 07.1 ★ 5 minutes · What does the decoder hold?
#
# Return the number of learned parameters of the decoder, from the widths of the stages, D and the number of classes.


# %%
def decoder_parameters(embed_dims, decoder_dim, num_classes):
    return ...


check("07.1", decoder_parameters)

# %% [markdown]
# ### Exercise 07.2 ★★ 6 minutes · Two Linears in one
#
# A Linear with weight `(D, C)` and bias `(D,)` is followed by the matrix `fuse`, `(E, D)`. Return weight and bias of the one Linear that does both.


# %%
def compose_two(fuse, weight, bias):
    return ...


check("07.2", compose_two)

# %% [markdown]
# ### Exercise 07.3 ★★ 10 minutes · A BatchNorm that disappears
#
# A Linear is followed by a BatchNorm in evaluation mode. Return weight and bias of the one Linear that does what both do. The weight is `(D, C)`, all others are `(D,)`.


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
# Given are logits `(B, K, h, w)` and the size `(H, W)` of the image. Return the class of every pixel, `(B, H, W)`.


# %%
def labels_at(logits, size):
    return ...


check("07.5", labels_at)

# %% [markdown]
# ### Exercise 07.6 ★★★ 12 minutes · Who said so?
#
# Given are, at one pixel, the summands in front of the ReLU, `(n, D)`, the last of them that of the biases (section 10), and the classifier's weight `(K, D)` and bias `(K,)`. Return the summands of the logits, `(n, K)`; the classifier's bias joins the last.


# %%
def shares_of_logits(parts, weight, bias):
    return ...


check("07.6", shares_of_logits)

# %% [markdown]
# ### Exercise 07.7 ★ 4 minutes · What does the classifier read?
#
# `parts` are the maps of all stages after their Linears and their resizes, `(B, D, H, W)` each and stage 1 first; there may be more or fewer than four. `fuse` is the 1×1 convolution of the fuse layer, without a bias, and `norm` its BatchNorm, in evaluation mode. Return the map that the classifier reads, in the order of stages that the published weights want.


# %%
def fuse_layer(parts, fuse, norm):
    return ...


check("07.7", fuse_layer)

# %%
folder.cleanup()

# %% [markdown]
# ## Recap
#
# - The decoder looks at one position at a time, so what a pixel knows of the rest, its tokens must know. In nano, attention lets their field be wide, and how wide it is depends on the weights.
# - The published decoder is Linear, resize, concatenate from stage 4 to stage 1, fuse, BatchNorm, ReLU, dropout, classify. Equation 4 leaves out the three before the last.
# - Linear and resize commute, so the matrices can be composed and the widest map never exists. Parameters and logits are the same, so the gradients are, too.
# - Is a linear decoder enough? Nearly: fitted to nano's maps, it reaches more than nine tenths of nano's mIoU in our scenes. So most of the work is done before the decoder.
# - Logits come at H/4. Resize them without aligned corners, then take the argmax.
# - A file of weights does not say in which order stages were concatenated. So compare logits.
# - *Further*: each logit is a sum over the stages, exactly, once the ReLU has decided. Where a constant stands in that sum is a free choice, to be settled first.
#
# **Can you answer without scrolling up?**
#
# 1. Which part of the model lets a pixel know what stands at the other end of the picture?
# 2. Which three things does equation 4 leave out, and which of them can be folded away in evaluation?
# 3. Why may Linear and resize be swapped, what may not stand between them, and what property of the resize does the *bias* need?
# 4. A converted model has the right shapes, no error, and answers that are wrong everywhere. What do you look at first?
# 5. Why not enlarge the labels?
#
# <details><summary>Answers</summary>
#
# 1. Attention, from stage 1 on; in small pictures the convolutions of late stages, too. The decoder's Linears do not look sideways, and its resize no further than the next token.
# 2. BatchNorm, ReLU and dropout. In evaluation BatchNorm is a scale and a shift, so it joins the Linear before it.
# 3. They act on different axes. No ReLU may stand between them. The weights of the resize have to sum to one.
# 4. The order of concatenation: stage 4 comes first in the published weights.
# 5. Their borders follow the coarse grid, and class numbers cannot be mixed. Logits can, and they say where between two tokens a border lies.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *Equation 4* has no BatchNorm, ReLU or dropout, no order in its Concat, and W/4 × W/4 where H/4 × W/4 is meant (arXiv:2105.15203, eq. 4). A reader found the [sneaky batch norm](https://github.com/camlaedtke/segmentation_pytorch/issues/4) missing in other code.
# - *FLOPs.* The paper counts multiply-adds of the published order (arXiv:2105.15203, Table 1).
# - *Full size.* transformers returns logits at H/4, and its image processor can enlarge them. segmentation_models_pytorch returns them at full size, by aligned corners ("Break it"). Another runtime chose classes before it resized, and [mended it](https://github.com/NVIDIA/TensorRT-Model-Connect/pull/481).
# - *Labels.* Image libraries mix class numbers, too, when nobody names a mode: [Pillow's resize](https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.Image.resize) of a grey picture is bicubic then.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.2, eq. 4, Figure 3, Table 1. W. Luo and others, *Understanding the Effective Receptive Field in Deep Convolutional Neural Networks*, [arXiv:1701.04128](https://arxiv.org/abs/1701.04128). S. Ioffe and C. Szegedy, *Batch Normalization*, [arXiv:1502.03167](https://arxiv.org/abs/1502.03167).
#
# **Next:** in lesson 08 you train such a model in a minute.
