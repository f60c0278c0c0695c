# %% [markdown]
# # Lesson 10 · Where does the time go?
#
# SegFormer has few parameters and few multiply-adds for its accuracy, and yet [someone who measured it on a GPU](https://github.com/bubbliiiing/segformer-pytorch/issues/21) found it slower than a U-Net with many more of both. On our two cores, this package's B0 gives the same logits at 512×512 as the one in transformers, which takes {{transformers_times}} times as long (`make bench` measured them side by side). In this lesson you find out where such factors come from, on your own machine.
#
# **After this lesson you will be able to**
#
# - say why neither parameters nor multiply-adds tell how long a model takes, and find the part that takes longest;
# - measure what your machine can do at most, and draw a computation under that roof;
# - save time without changing an answer, by order, by layout, and by what is never written;
# - estimate the least time that a SegFormer needs on your machine, and compare it with the clock;
# - (*further*) say what bfloat16, eight bits, compilers and engines bring, and when they cost.
#
# **Time** {{core_minutes}} minutes for the core path, {{further_minutes}} for the sections marked *further*, {{exercise_minutes}} for the exercises. You can skip what is *further*. **You need** lesson 07. No GPU.

# %%
import copy
import os

os.environ["KINETO_LOG_LEVEL"] = "6"  # torch's profiler would write its log into the lesson

import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu import SegFormer, SegFormerConfig, plots, widgets
from segformer_edu.analysis import cost
from segformer_edu.analysis.memory import peak_bytes
from segformer_edu.analysis.roofline import measured_ceilings, operations_of_b0, work_of
from segformer_edu.analysis.timing import seconds_a_call, seconds_of_parts
from segformer_edu.exercises import check, compare, hint, solution
from segformer_edu.layers import Linear, PointwiseConv2d, linear
from segformer_edu.memory import keep_freed_memory

torch.set_grad_enabled(False)
torch.set_num_threads(1)

# %% [markdown]
# All times that you measure here are those of one core, and they are the *processor's own*: those of other programs are not counted, although they slow yours, because all share memory and caches. Your numbers will differ from those in the stored pictures, whose titles say what was measured where they were drawn. The text claims only what held on our x86 processor with its newest instructions and without them, quiet and busy. We have not run it on other kinds (ARM, a GPU).
#
# ## 1 · Where would you look first?
#
# We take B0 with {{ade_classes}} classes, as for ADE20K, and a picture of 512×512. At first its decoder computes in the order of the paper, as lesson 07 wrote it out:


# %% tags=["stage"]
class PublishedDecoder(nn.Module):
    """Project, resize, concatenate, fuse; norm, ReLU; classify. Only the order is not ours."""

    def __init__(self, embed_dims, decoder_dim, num_classes):
        super().__init__()
        self.projections = nn.ModuleList(Linear(dim, decoder_dim) for dim in embed_dims)
        self.fuse = nn.Conv2d(len(embed_dims) * decoder_dim, decoder_dim, 1, bias=False)
        self.norm = nn.BatchNorm2d(decoder_dim)
        self.classifier = PointwiseConv2d(decoder_dim, num_classes)

    def forward(self, maps):  # (B, C_i, H_i, W_i) each
        resized = []
        for project, x in zip(self.projections, maps, strict=True):
            x = project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, D, H_i, W_i)
            resized.append(F.interpolate(x, maps[0].shape[2:], mode="bilinear"))
        return self.fused(torch.cat(resized[::-1], dim=1))

    def fused(self, x):  # (B, 4D, H/4, W/4) → (B, K, H/4, W/4)
        x = linear(x.permute(0, 2, 3, 1), self.fuse.weight.flatten(1)).permute(0, 3, 1, 2)
        return self.classifier(F.relu(self.norm(x)))


# %%
torch.manual_seed(0)
config = SegFormerConfig.named("b0", num_classes=150)
model = SegFormer(config).eval()
published = copy.deepcopy(model)
published.decoder = PublishedDecoder(config.embed_dims, config.decoder_dim, 150).eval()
published.decoder.load_state_dict(model.decoder.state_dict())
images = torch.randn(1, 3, 512, 512)
assert torch.allclose(published(images), model(images), atol=1e-4)
print("one set of weights, two orders, the same logits")

# %% [markdown]
# The paper calls this decoder "lightweight" (arXiv:2105.15203, Section 1). Is it? Parameters and multiply-adds can be computed without running anything. For time we need a clock, so we let one run in every part.
#
# **Predict.** Of the four stages of the encoder and the published decoder, which takes the most time, and what share of the whole?

# %%
prediction = ...  # a part and its percentage, such as ("stage 1", 40)

# %%
bill = cost(config, (512, 512))
parts = ["stage 1", "stage 2", "stage 3", "stage 4", "decoder"]
parameters = [stage.parameters for stage in bill.stages] + [bill.decoder.parameters]
work = [stage.multiply_adds for stage in bill.stages] + [bill.decoder.reference_multiply_adds]
took = seconds_of_parts(published, images)
share = {part: round(100 * seconds / sum(took.values())) for part, seconds in took.items()}

# %%
longest = max(share, key=share.get)
plots.show(
    plots.parts_of_each(
        {
            f"parameters, {sum(parameters) / 1e6:.1f} M": dict(zip(parts, parameters, strict=True)),
            f"multiply-adds, {sum(work) / 1e9:.1f} G": dict(zip(parts, work, strict=True)),
            f"time, {sum(took.values()):.2f} s": took,
        },
        f"Here the {longest} took {share[longest]} % of the time",
    ),
    alt="Three bars of equal length, divided into stages 1 to 4 and the decoder. Stage 4 has about "
    "half of the parameters and the decoder a ninth. Of the multiply-adds, and of the time, the "
    "decoder has the largest part, and stage 4 the smallest.",
)
compare(prediction, (longest, share[longest]))

# %% [markdown]
# *Compare the first bar with the third.* Stage 4 has {{stage_4_parameters}} of the parameters and takes the least time of all, because it applies them at few places: each side of its map is 1/32 of the picture's. The decoder has {{decoder_parameters}} of the parameters, but it applies most of them where each side is 1/4 of the picture's. So it takes longer than any stage.
#
# The second bar is closer to the third. So multiply-adds tell more than parameters do, but are they time? To see that, we look at single operations.
#
# ## 2 · What can this machine do at most?
#
# An operation has to do two things: multiply and add, and fetch and store numbers. Each has a limit. We measure both: the best rate that a large matrix product or convolution reaches, and the rate at which a large tensor is copied.
#
# **Predict.** While one core copies a single number in memory (reads four bytes, writes four bytes), how many multiplications and additions could it do?

# %%
prediction = ...  # a number, such as 1

# %%
ceilings = measured_ceilings()
compare(prediction, round(8 * ceilings.ridge))

# %% [markdown]
# On the machine that drew these pictures it could do about {{operations_a_copy}}. So an operation that does little with each number cannot be faster than its numbers come, however fast the processor computes. What counts is how many operations it does for each byte that is moved, its **operational intensity** ([Williams and others 2009](https://doi.org/10.1145/1498765.1498785)). We compute it for eight operations of B0. A multiply-add counts as two. Where the paper counts none, as in a norm, we count one for each number that is written.

# %%
operations = operations_of_b0(torch.Generator().manual_seed(0))
print(f"{'':<26}multiply-adds, M   moved, MB   operations a byte")
for name, each in operations.items():
    adds, moved = each.multiply_adds / 1e6, each.bytes / 1e6
    print(f"{name:<26}{adds:>16.0f}{moved:>12.1f}{each.operations / each.bytes:>20.1f}")

# %% [markdown]
# Now the clock. An operation should hardly take less time than its arithmetic at the best rate, nor less than its bytes at the rate of a copy. On logarithmic axes these two limits look like a roof, which is why the picture is called a **roofline**.

# %%
rates = {name: each.operations / seconds_a_call(each.run) for name, each in operations.items()}
points = {name: (each.operations / each.bytes, rates[name]) for name, each in operations.items()}
reached = {name: rate / ceilings.roof(x) for name, (x, rate) in points.items()}
attention, norms = reached["attention, stage 1"], reached["LayerNorm, stage 1"]
finding = f"Here attention reaches {attention:.0%} of its roof, LayerNorm {norms:.0%}"
plots.show(
    plots.roofline(points, ceilings, finding),
    alt="Rates of eight operations over their intensity, on logarithmic axes, under a roof of a "
    "slanted line, the copying, and a flat one, the arithmetic. LayerNorm, GELU and the resize lie "
    "far to the left and low. The depthwise convolution is in the middle. The 1×1 convolutions lie "
    "on the right, close to the flat line, and attention is beside them and lower.",
)

# %% [markdown]
# *Look from right to left.* The 1×1 convolutions come near the flat roof, so their multiply-adds do tell their time. The depthwise convolution does only nine multiply-adds with each number that it fetches. LayerNorm, GELU and the resize have **none** in the paper's count, and they take time nevertheless, LayerNorm several times as much as its bytes need. Attention stays lower, too, and section 6 says why. (A map that is still in the cache, the processor's small fast memory, need not be fetched from far, so a point may lie above the slanted line. The dashed line is the cache's.)
#
# So there are two ways to be faster: compute less, and move less.
#
# ## 3 · Compute less: may two steps change places?
#
# Lesson 07 proved that a resize S and a Linear A commute, because one acts on positions and the other on channels:
#
# $$A\,(S\,x) = S\,(A\,x), \qquad\text{so}\qquad \sum_i W_i\, S_i (A_i\, x_i + b_i) = \sum_i S_i \big((W_i A_i)\, x_i\big) + \sum_i W_i b_i .$$
#
# The right-hand side multiplies two small matrices, and never makes the map of 4·D channels. That leaves {{commuted_multiply_adds}} G of the decoder's {{published_multiply_adds}} G multiply-adds.
#
# **Predict.** By this count the decoder does {{head_factor}} times less. How many times as fast does it become? And the whole model?

# %%
prediction = ...  # two factors, such as (2.0, 1.1)

# %%
ours = seconds_of_parts(model, images)
faster = round(took["decoder"] / ours["decoder"], 1)
in_all = round(sum(took.values()) / sum(ours.values()), 1)
milliseconds = {
    name: {part: 1000 * seconds for part, seconds in each.items()}
    for name, each in {"published order": took, "commuted": ours}.items()
}

# %%
plots.show(
    plots.stacked_bars(
        milliseconds,
        "milliseconds of one core, B0 at 512×512",
        f"Here the decoder is {faster} times as fast, and the model {in_all} times",
    ),
    alt="Two bars of milliseconds, divided into four stages and the decoder. The stages take "
    "about as long in both. In the published order the decoder takes most of the bar; commuted, "
    "it takes less than stage 1.",
)
compare(prediction, (faster, in_all))

# %% [markdown]
# *Compare the two decoders.* No other trick of the package saves as much of the model's time (`benchmarks/README.md` compares them), and no answer has changed. The clock may say more or less than the count. The map of 4·D channels is not written either, but the resizes that remain take time and count as nothing. (The second decoder is the package's, which also folds its norm and works in strips.) The same exchange works for a crop, a shift or a mean over positions. Only a bias needs care: it stays as it is where the weights of the positions sum to one.
#
# ## 4 · Move less: what takes time and has no multiply-adds?
#
# There are several such things. Each cell below has a way with one of them and a way without, and both give the same numbers. Then we measure them all.
#
# ### A copy that nobody asked for
#
# A tensor is a row of numbers in memory, and its *strides* say how far apart neighbours lie in it. Our maps are (B, H, W, C), with the channels of a pixel side by side. A convolution wants (B, C, H, W), so we permute.
#
# **Predict.** The map below has 128×128 pixels of {{hidden_channels}} channels. How many of its numbers does `permute` copy?

# %%
prediction = ...  # how many numbers, such as 100

# %%
hidden = torch.randn(1, 128, 128, 128)  # (B, H, W, C), as inside Mix-FFN of stage 1
view = hidden.permute(0, 3, 1, 2)
shared = view.data_ptr() == hidden.data_ptr()
print("strides", hidden.stride(), "→", view.stride())
print("the same memory" if shared else "a copy")
compare(prediction, 0 if shared else view.numel())

# %% [markdown]
# Only the strides have changed places, and the result is a **view** of the same memory. PyTorch calls this layout *channels last*, and its convolutions take it as it is on our processor. So a permute costs next to nothing, unless something behind it asks for another layout: `.contiguous()`, or a `reshape` that no strides can express. Then the whole map is copied.

# %%
depthwise = model.encoder.stages[0].blocks[0].mix_ffn.depthwise
pairs = {
    "a copy that nobody asked for": (
        lambda: depthwise(view.contiguous()),
        lambda: depthwise(view),
    ),
}
assert torch.allclose(*(way() for way in pairs["a copy that nobody asked for"]), atol=1e-5)

# %% [markdown]
# ### Memory that is new each time
#
# An operating system hands out memory in *pages*, often of `4096` bytes, and fills one with zeros when a program first touches it. This interruption is called a **page fault**. The C library keeps small blocks that were freed and hands them out again. Large ones glibc, the C library of most Linux systems, gives back to the system, so the next pass pays for the pages again. The concatenated map of the published decoder is such a block.

# %%
four = [torch.randn(1, 256, 128, 128) for _ in range(4)]
kept = torch.cat(four, dim=1)
pairs["memory that is new each time"] = (
    lambda: torch.cat(four, dim=1),
    lambda: torch.cat(four, dim=1, out=kept),
)
print(f"{kept.nbytes / 2**20:.0f} MiB are {kept.nbytes // 4096:,} pages of 4 KiB")

# %% [markdown]
# At this size, the package makes no map as large as that. And its commands call `keep_freed_memory()`, after which glibc keeps blocks of up to 32 MiB for the next pass ([mallopt](https://man7.org/linux/man-pages/man3/mallopt.3.html)).
#
# ### A norm that could be folded · *further*
#
# In evaluation, BatchNorm multiplies each channel by a constant and adds another. The convolution before it is linear, too, so one convolution can do both. With the scale $s = \gamma / \sqrt{\sigma^2 + \varepsilon}$,
#
# $$s\,(W x + b - \mu) + \beta \;=\; (s W)\, x + \big(s\,(b - \mu) + \beta\big).$$

# %%
x = torch.randn(1, 256, 128, 128).contiguous(memory_format=torch.channels_last)
convolution, norm = nn.Conv2d(256, 256, 1, bias=False), nn.BatchNorm2d(256).eval()
norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
scale = norm.weight / (norm.running_var + norm.eps).sqrt()
folded = scale[:, None, None, None] * convolution.weight, norm.bias - norm.running_mean * scale
pairs["a norm that could be folded"] = (
    lambda: norm(convolution(x)),
    lambda: F.conv2d(x, *folded),
)
assert torch.allclose(*(way() for way in pairs["a norm that could be folded"]), atol=1e-4)
print(f"the norm reads and writes {2 * x.nbytes / 1e6:.0f} MB that the folded convolution does not")

# %% [markdown]
# ### A matrix that is stored · *further*
#
# softmax(q kᵀ / √d) v needs a score for each query and key. Written in plain code, it stores all of them, twice. PyTorch's fused kernel goes through them block by block, and keeps none (lesson 02).

# %%
q, k, v = torch.randn(1, 1, 128 * 128, 32), *torch.randn(2, 1, 1, 256, 32)  # stage 1 of B0


def explicit(q, k, v):
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


fused = F.scaled_dot_product_attention
pairs["a matrix that is stored"] = (lambda: explicit(q, k, v), lambda: fused(q, k, v))
assert torch.allclose(explicit(q, k, v), fused(q, k, v), atol=1e-5)
for way in (explicit, fused):
    print(f"{peak_bytes(way, q, k, v) / 2**20:>3.0f} MiB at its peak")

# %% [markdown]
# ### What do they cost?

# %%
keep_freed_memory()
longer = {
    what: {"times": seconds_a_call(first) / seconds_a_call(second)}
    for what, (first, second) in pairs.items()
}
most = max(longer, key=lambda what: longer[what]["times"])
plots.show(
    plots.stacked_bars(
        longer,
        "times as long as without it",
        f"Here {most} costs most: {longer[most]['times']:.1f} times as long",
    ),
    alt="Bars of how many times as long a computation takes: several times as long with a copy of "
    "the map and with memory that is new each time, a little over once with a norm that could be "
    "folded, and somewhat more with a stored matrix of scores.",
)

# %% [markdown]
# *Compare the bars.* None of these changes an answer, and none shows in a count of multiply-adds. In the code, each is a word or a few. The copy costs more than its bytes, because it turns the map round, and the convolution behind it then works in a layout that suits it less.
#
# ## 5 · Must a temporary leave the cache?
#
# Mix-FFN of stage 1 makes maps with four times the channels of its input, uses each once, and throws it away. If we compute a few rows at a time, in *strips*, these maps are small, and the next step may find them still in the cache. But the 3×3 convolution reads one row above and one below the strip, so those rows are computed twice, and each strip costs some calls.

# %%
mix_ffn = model.encoder.stages[0].blocks[0].mix_ffn
tokens = torch.randn(1, 128, 128, 32)


def mixed(rows):
    """Mix-FFN of all 128 rows, so many at a time."""
    made = []
    for top in range(0, 128, rows):
        first, last = max(top - 1, 0), min(top + rows + 1, 128)
        made.append(mix_ffn.mix(tokens[:, first:last])[:, top - first :][:, :rows])
    return torch.cat(made, dim=1)


assert torch.allclose(mixed(8), mixed(128), atol=1e-5)

# %% [markdown]
# **Predict.** How many rows at a time are fastest: 2, 4, 8, 16, 32, 64 or all `128`? And what share of the memory do strips of 16 rows need?

# %%
prediction = ...  # rows, and a percentage, such as (4, 50)

# %%
heights = [2, 4, 8, 16, 32, 64, 128]
strip_times = [1000 * seconds_a_call(mixed, rows) for rows in heights]
strip_memory = [peak_bytes(mixed, rows) / 2**20 for rows in heights]
best = heights[strip_times.index(min(strip_times))]
saved = round(100 * strip_memory[heights.index(16)] / strip_memory[-1])
plots.show(
    plots.growth(
        {
            "milliseconds": {"Mix-FFN of stage 1": (heights, strip_times)},
            "peak memory, MiB": {"Mix-FFN of stage 1": (heights, strip_memory)},
        },
        "rows in a strip",
        {rows: str(rows) for rows in heights},
        f"Here strips of {best} rows are fastest; 16 rows need {saved} % of the memory",
    ),
    alt="Two curves over the rows in a strip, from 2 to 128. The time falls steeply from 2 rows "
    "on, and less above 16. The memory is least at 16 rows, rises a little towards 2, and "
    "steeply towards 128.",
)
compare(prediction, (best, saved))

# %% [markdown]
# *Look at both ends.* Very short strips are slow: they compute rows twice, cost calls, and get slower kernels. (They need more memory again, too, because each finished strip still holds its two extra rows.) Above 16 rows, the runs differ: in some of ours whole maps were fastest, and in others up to a third slower than the best strips, perhaps because programs share the cache. But the memory hardly depends on the machine, and what the strips need no longer grows with the height of the picture. So the package takes strips of {{strip_rows}} rows here: few enough for the memory, and enough that several threads share them.
#
# ## 6 · How close is the whole model to its floor?
#
# Now we add up. `work_of` lists all operations of the model, with multiply-adds and bytes. For each, the longer of its two limits is about the least time that it can take alone, and the sum is a **floor** for a program that computes one operation after the other and keeps nothing in the cache.

# %%
works = work_of(config, (512, 512))
limits = {
    "arithmetic alone": lambda each: each.arithmetic(ceilings),
    "floor": lambda each: each.least(ceilings),
}
bars = {
    name: {part: 1000 * sum(map(limit, [w for w in works if w.part == part])) for part in parts}
    for name, limit in limits.items()
}
bars["the clock"] = milliseconds["commuted"]
without = sum(each.multiply_adds == 0 for each in works)
print(f"{len(works)} operations, {without} of them without a multiply-add")

# %%
floor, clock = (sum(bars[name].values()) for name in ("floor", "the clock"))
plots.show(
    plots.stacked_bars(
        bars,
        "milliseconds of one core, B0 at 512×512",
        f"Here the model takes {clock / floor:.1f} times its floor",
    ),
    alt="Three bars of milliseconds, divided into stages and decoder: arithmetic alone is the "
    "shortest, the floor a little longer, and the clock longer than both in every part.",
)

# %% [markdown]
# *Compare the floor with the clock.* Between them lie operations that reach neither limit, because their maps are small, their kernels are not perfect, or the calls themselves take long. Attention is an example: it computes powers of e, which the count leaves out, and on our processor torch multiplies its matrices by another library, which is slower there than that of a convolution. (What does stay in the cache can even go below this floor.)
#
# A floor is useful because it says when to stop. A part that takes twice its floor can become at most about twice as fast by better kernels. For more, it needs another *order* of computation: one that does less, as in section 3, or moves less, as in sections 4 and 5.
#
# ## Play
#
# Choose a model and a size of picture, and a machine: yours, which is measured when the widget appears, or one that we measured.

# %%
widgets.Roofline()

# %% [markdown]
# <details><summary>What you should have found</summary>
#
# Our two machines are one processor, with and without its newest instructions: its arithmetic differs by about a factor of two, and its memory hardly. For B0 at 512×512, a memory twice as fast helps the decoder and stage 1 most, because their maps are the largest. At 64×64 it helps stage 4 most, whose weights are then more than its maps. At the smallest pictures the clock lies furthest above the floor, because each call takes time however small its map is, and small maps get slower kernels.
#
# </details>
#
# ## 7 · What else is on the menu? · *further*
#
# Some offers change not what is computed, but how. We try three of them on a small picture, 128×128, and count the milliseconds for each picture.

# %%
small = images[..., :128, :128].contiguous()
narrow = copy.deepcopy(model).bfloat16()
offers = {
    "as it is": (model, small, 1),
    "decoder folded": (model.folded(), small, 1),
    "8 pictures at once": (model, small.expand(8, -1, -1, -1).contiguous(), 8),
    "bfloat16": (narrow, small.bfloat16(), 1),
}
each = {
    name: {"ms": 1000 * seconds_a_call(way, x) / count} for name, (way, x, count) in offers.items()
}
gain = {name: each["as it is"]["ms"] / way["ms"] for name, way in each.items()}
wide, coarse = model(small), narrow(small.bfloat16()).float()
moved = (wide - coarse).abs().mean() / wide.std()
print(f"bfloat16 moves the logits by {moved:.0%} of their spread")

# %%
plots.show(
    plots.stacked_bars(
        each,
        "milliseconds of one core for each picture of 128×128",
        f"Here eight at once are {gain['8 pictures at once']:.1f} times as fast, "
        f"bfloat16 {gain['bfloat16']:.1f} times",
    ),
    alt="Four bars of milliseconds for each picture: as it is, with the decoder folded, eight "
    "pictures at once, which takes less for each, and bfloat16, which is faster on processors that "
    "multiply it and many times slower on others.",
)

# %% [markdown]
# - **A batch** shares what each call costs however small its map is. It also gets faster kernels, because torch, on one thread, leaves convolutions of fewer than 16 images to a slow one. For small pictures both are much.
# - **Folding** the decoder saves the product of its small matrices, which is otherwise computed in every call. For small pictures that is something, and for large ones next to nothing.
# - **bfloat16** keeps the range of float32 in half the bytes, with eight bits of precision in place of 24. Where the processor has instructions for it, its arithmetic is faster, too. Where it has none, torch takes other kernels, and we saw it several times *slower*. So measure before you choose.
#
# ## 8 · What do eight bits cost? · *further*
#
# A weight is a float32, four bytes. Engines for phones and servers can compute with whole numbers of eight bits, of which a register holds four times as many. What does the model lose?
#
# **Symmetric** quantisation writes each row of a matrix as whole numbers times one scale, so that the largest becomes `127`: $W_{dc} \approx s_d\, n_{dc}$, with $s_d = \max_c |W_{dc}| / 127$. We round nano's matrices and kernels in this way, with one scale for each row, or one for the whole tensor, and let it label 24 new scenes.

# %%
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import confusion_matrix, scores

nano = SegFormer.from_pretrained("nano")
scenes, labels = (torch.stack(each) for each in zip(*Scenes(24, 128, seed=2026), strict=True))


def rounded(weight, bits, rows):
    flat, largest = weight.flatten(1), 2 ** (bits - 1) - 1
    size = flat.abs().amax(dim=1, keepdim=True) if rows else flat.abs().max()
    scale = size / largest
    return ((flat / scale).round() * scale).view_as(weight)


# %%
def miou(bits=None, rows=True):
    model = copy.deepcopy(nano)
    for weight in model.parameters():
        if bits and weight.ndim > 1:
            weight.copy_(rounded(weight, bits, rows))
    return scores(confusion_matrix(model.predict(scenes), labels, len(CLASSES))).miou


print(f"float32: mIoU {miou():.2f}")
for bits in (8, 4, 3, 2):
    by_rows, by_one = miou(bits), miou(bits, rows=False)
    print(f"{bits} bits: {by_rows:.2f} with a scale for each row, {by_one:.2f} with one for all")

# %% [markdown]
# Eight bits cost nothing that shows, and four cost little if each row has its own scale. With one scale for all, a single large weight makes the steps coarse for the rows that are small. But these are the weights alone. An engine also rounds the *maps*, whose range it learns from pictures beforehand (it is **calibrated**) or takes anew each time. Only then can it compute with whole numbers.
#
# ## 9 · What do compilers, engines and threads bring? · *further*
#
# These take longer than a lesson has, so here is what `make bench` measured: one forward pass of B0 at 512×512, {{bench_threads}} threads, {{bench_machine}}. The last column says how many times as long as the package each takes. An engine runs the package's export or that of transformers. At 256×256 and at 1024×1024, OpenVINO is faster than the package. (The whole table is in `benchmarks/README.md`.)
#
# {{forward_table}}
#
# A **compiler** such as `torch.compile` writes new code for the whole model. It makes that of transformers {{compiled_theirs}} times as fast, and the package's slower, which then has neither its strips nor its 1×1 convolutions. (`linear` and `strips` leave such choices to the compiler.)
#
# An **export** writes the model as a graph of operations (`torch.export`, ONNX). An **engine** such as ONNX Runtime or OpenVINO takes the graph, folds what can be folded, joins neighbouring operations, and chooses layouts. It does automatically what section 4 did by hand. But it does not exchange a resize with a Linear, so it is faster if the model that it gets has done so.
#
# ### Threads that wait for each other
#
# With several threads, large operations are cut into pieces, and the threads meet at the end of each operation. Those that are early *spin*: they ask again and again whether the others are there, and so keep their core busy. On a machine that does nothing else, that costs nothing. But where another program has taken one core, the thread on that core is late, the others spin, and the scheduler sees busy threads everywhere. With every core busy, the benchmark measured {{spinning}} ms for a pass that takes {{quiet}} ms on a quiet machine, and {{yielding}} ms with `GOMP_SPINCOUNT=1000`, which makes a thread give up its core after a short wait (on Linux, where torch brings GNU OpenMP).
#
# So when a model is suddenly many times slower, look at what else is running, and at how many threads you have: `python -m segformer_edu doctor` does.
#
# ## Break it · *further*
#
# In segmentation_models_pytorch, training SegFormer was [extremely slow](https://github.com/qubvel-org/segmentation_models.pytorch/issues/996), although it was about as large as the other models. The logits were right. Below is a decoder with the line that was to blame, at the size of a picture of 256×256. **Find it, and say why it costs that much.**


# %%
class SlowDecoder(PublishedDecoder):
    """The published decoder, with the mistake."""

    def forward(self, maps):
        resized = []
        for project, x in zip(self.projections, maps, strict=True):
            x = project(x.flatten(2).transpose(1, 2))  # (B, H_i · W_i, D)
            x = x.transpose(1, 2).contiguous().unflatten(2, maps[len(resized)].shape[2:])
            resized.append(F.interpolate(x, maps[0].shape[2:], mode="bilinear"))
        return self.fused(torch.cat(resized[::-1], dim=1))


# %%
slow = SlowDecoder(config.embed_dims, config.decoder_dim, 150).eval()
slow.load_state_dict(model.decoder.state_dict())
maps = model.encoder(images[..., :256, :256])
assert torch.allclose(slow(maps), published.decoder(maps), atol=1e-4)
took_by = {
    name: {"ms": 1000 * seconds_a_call(decoder, maps)}
    for name, decoder in {"published": published.decoder, "with the mistake": slow}.items()
}
loss = took_by["with the mistake"]["ms"] / took_by["published"]["ms"]
plots.show(
    plots.stacked_bars(
        took_by,
        "milliseconds of one core, decoder at 256×256",
        f"Here one word makes the decoder take {loss:.1f} times as long",
    ),
    alt="Two bars of milliseconds: the published decoder, and the one with the mistake, which "
    "takes clearly longer.",
)

# %% [markdown]
# <details><summary>Diagnosis</summary>
#
# `.contiguous()` copies the map into another layout: channels first. The copy itself is not the worst. The resize behind it then computes in that layout, too, one channel at a time, and takes many times as long. Without the word, `transpose` and `unflatten` are views, and the maps stay channels last. The library [removed it](https://github.com/qubvel-org/segmentation_models.pytorch/pull/998), and measured the gain on a GPU.
#
#     x.stride()      # before and after: which axis has stride 1?
#
# </details>
#
# ## Exercises
#
# Replace the `...`, run the cell, read the answer. `hint("10.1")` gives a hint, and another one each time; `solution("10.1")` gives the answer.
#
# ### Exercise 10.1 ★★ 8 minutes · A BatchNorm in front
#
# In Exercise 07.3 the BatchNorm came after the Linear. Here it comes *before* it, in evaluation mode: the Linear, with weight `(D, C)` and bias `(D,)`, reads what the BatchNorm gives. The others are `(C,)`. Return weight and bias of the one Linear that does what both do.


# %%
def fold_in_front(mean, variance, scale, shift, eps, weight, bias):
    return ...


check("10.1", fold_in_front)

# %% [markdown]
# ### Exercise 10.2 ★★ 8 minutes · What will `1024²` cost?
#
# The encoder's multiply-adds are a part that grows with the number N of tokens, plus a part that grows with N². You know how many they are at 256×256 and at 512×512 pixels. Return how many they are at 1024×1024.


# %%
def cost_at_1024(at_256, at_512):
    return ...


check("10.2", cost_at_1024)

# %% [markdown]
# ### Exercise 10.3 ★ 6 minutes · Where is the copy?
#
# In one of these lines a whole map is copied and nothing is computed. Give its number. (`x` is (2, 32, 32, 64), with the channels of a pixel side by side, and `depthwise` keeps the layout that it is given. `flatten` and `unflatten` are ways to write a `reshape`.)
#
# ```
# y = x.permute(0, 3, 1, 2)               # 1
# y = depthwise(y)                        # 2
# y = y.permute(0, 2, 3, 1)               # 3
# y = y.contiguous()                      # 4
# y = y.flatten(1, 2)                     # 5: (2, 1024, 64)
# y = y.unflatten(2, (4, 16))             # 6: four heads
# y = y.transpose(1, 2)                   # 7: (2, 4, 1024, 16)
# y = y.flatten(0, 1)                     # 8: (8, 1024, 16)
# y = y.mean(dim=1)                       # 9
# ```

# %%
line = ...  # its number

check("10.3", line)

# %% [markdown]
# ### Exercise 10.4 ★★ 8 minutes · The floor of a Linear
#
# A Linear with a bias maps `tokens` tokens from `inputs` to `outputs` channels, in float32. The machine does at most `rate` multiplications and additions in a second, and moves at most `bandwidth` bytes. Return the least number of seconds that it needs.


# %%
def floor_of_linear(tokens, inputs, outputs, rate, bandwidth):
    return ...


check("10.4", floor_of_linear)

# %% [markdown]
# ### Exercise 10.5 ★★★ 12 minutes · Eight bits
#
# Quantise a matrix `(D, C)` symmetrically, a scale for each row. Return the whole numbers, `(D, C)` from `-127` to `127`, and the scales, `(D,)`, so that `numbers * scales[:, None]` is as close to the matrix as this allows. The largest number of each row, by its size, becomes `127` or `-127`. A row of zeros gets the scale 1.


# %%
def quantize(weight):
    return ...


check("10.5", quantize)

# %% [markdown]
# ## Recap
#
# - Parameters do not tell the time, because they are used at few places or at many. Multiply-adds come near the time only where an operation does much with each byte, and not always there.
# - In B0's published order, the decoder takes longer than any stage of the encoder. Exchanging resize and Linear takes most of that away, and changes no answer.
# - A machine has two ceilings, arithmetic and moving. A roofline shows which of them an operation meets.
# - A copy and memory that is new each time cost time and no multiply-adds.
# - Strips of rows save memory. Whether they save time, too, depends on the machine.
# - A floor says how much better kernels can bring, and when another order of computation is needed.
# - *Further*: bfloat16, engines and compilers help here and cost there, so measure.
#
# **Can you answer without scrolling up?**
#
# 1. Half of the parameters take the least time. How can that be?
# 2. An operation does one addition for each number that it reads and writes. Your new processor computes twice as fast and has the old memory. What do you gain?
# 3. Which two properties let a resize and a Linear change places?
# 4. What does `permute` copy, and when does a copy follow nevertheless?
# 5. A part takes twice its floor. What can better kernels bring, and what could bring more?
#
# <details><summary>Answers</summary>
#
# 1. Stage 4 uses its parameters at few places, because its map is small.
# 2. Next to nothing: it is limited by moving.
# 3. Both are linear, and one acts on positions, the other on channels.
# 4. Nothing. A copy follows where an operation needs another layout, as `.contiguous()` or a `reshape` that no strides can express.
# 5. At most about a factor of two. Another order of computation, which does less arithmetic or moves less, could bring more.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *"Lightweight."* The paper's decoder is light in parameters. Counted as the paper counts, the multiply-adds of B0 fall from {{b0_whole}} G to {{b0_encoder}} G without it: it does {{decoder_multiply_adds}} of them (arXiv:2105.15203, Table 1 has the sum).
# - *FLOPs.* The paper counts a multiplication and an addition as one (Table 1). Processors' data sheets, and this lesson's roofline, count two.
# - *Parameters as a measure of time.* They are what tools print first. [An issue](https://github.com/qubvel-org/segmentation_models.pytorch/issues/996) and [another](https://github.com/bubbliiiing/segformer-pytorch/issues/21) are from people whom that surprised.
# - *Folded layers.* Folding a BatchNorm takes a pass over one map away. On this model that is a small part of the time.
#
# **References.** E. Xie and others, *SegFormer*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203), Section 3.2, Table 1. S. Williams, A. Waterman and D. Patterson, *Roofline: an insightful visual performance model for multicore architectures*, [Communications of the ACM 52 (2009)](https://doi.org/10.1145/1498765.1498785). T. Dao and others, *FlashAttention*, [arXiv:2205.14135](https://arxiv.org/abs/2205.14135). B. Jacob and others, *Quantization and training of neural networks for efficient integer-arithmetic-only inference*, [arXiv:1712.05877](https://arxiv.org/abs/1712.05877).
#
# **Next:** lesson 11 puts the paper's claims to the test.
