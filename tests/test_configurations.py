"""Any configuration, any image, any labels: the right answer, or a ValueError that names the fault.

Rules that are written here independently say whether a drawn case is possible. A possible one
agrees with the paper's equations, written as plainly as they can be, in float64, and with
transformers; an impossible one is refused by this package itself, never by a library below it.

A few hundred cases, the same on every machine; over 10,000, and others each time, with
`pytest tests/test_configurations.py --hypothesis-profile=many`.
"""

import json
import math
import tempfile
import traceback
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import segformer_edu
from segformer_edu import SegFormer, SegFormerConfig, segmentation_loss
from segformer_edu.analysis import attention_maps, cost
from segformer_edu.analysis.contributions import contributions
from segformer_edu.checkpoints.configs import FIELDS
from tests.conftest import randomize
from tests.oracle.conftest import make_theirs

PACKAGE = str(Path(segformer_edu.__file__).parent)
CLOSE = 1e-5  # in float64, of the largest logit; transformers' softmax is in float32
ROUGH = 0.05  # in float32, where two-channel norms turn rounding into a sign

# ---------------------------------------------------------------- the reference


class Reference:
    """The equations of the paper in float64, one after the other, nothing fused or in strips."""

    def __init__(self, model):
        self.config, self.training = model.config, model.training
        self.dtype = model.decoder.fuse.weight.dtype  # in which it draws
        self.w = {name: x.detach().double() for name, x in model.state_dict().items()}
        self.maps, self.attention = [], []  # of the stages

    def logits(self, images):
        config, x = self.config, images.detach().double()
        rates = iter(drop_rates(config))
        for stage in range(config.num_stages):
            at = f"encoder.stages.{stage}."
            patch_size, stride = config.patch_sizes[stage], config.strides[stage]
            x = self.convolve(x, at + "patch_embedding.projection", patch_size, stride)
            x = self.norm(x, at + "patch_embedding.norm", 1e-5)
            self.attention.append([])
            for block in range(config.depths[stage]):
                here, rate = f"{at}blocks.{block}.", next(rates)
                normed = self.norm(x, here + "norm1", config.block_norm_eps)
                x = x + self.dropped(self.attend(normed, here + "attention.", stage), rate)
                normed = self.norm(x, here + "norm2", config.block_norm_eps)
                x = x + self.dropped(self.mix_ffn(normed, here + "mix_ffn."), rate)
            x = self.norm(x, at + "norm", config.block_norm_eps).permute(0, 3, 1, 2)
            self.maps.append(x)
        return self.decode()

    def convolve(self, x, name, size, stride, padded=True):
        """A convolution as a matrix product over all patches: `(B, C, H, W)` → `(B, H', W', D)`."""
        padding = size // 2 if padded else 0
        height, width = ((side + 2 * padding - size) // stride + 1 for side in x.shape[2:])
        patches = F.unfold(x, size, padding=padding, stride=stride).transpose(1, 2)
        y = patches @ self.w[name + ".weight"].flatten(1).T + self.w[name + ".bias"]
        return y.unflatten(1, (height, width))

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x, name, eps):
        centred = x - x.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return normed * self.w[name + ".weight"] + self.w[name + ".bias"]

    def attend(self, x, name, stage):
        heads, r = self.config.num_heads[stage], self.config.reduction_ratios[stage]
        reduced = x
        if r > 1:
            blocks = x.permute(0, 3, 1, 2)
            reduced = self.convolve(blocks, name + "reduce.projection", r, r, padded=False)
            reduced = self.norm(reduced, name + "reduce.norm", 1e-5)
        q, k, v = (
            self.linear(y, name + part).flatten(1, 2).unflatten(-1, (heads, -1))
            for y, part in ((x, "query"), (reduced, "key"), (reduced, "value"))
        )
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        grids = weights.unflatten(3, reduced.shape[1:3]).unflatten(2, x.shape[1:3])
        self.attention[stage].append(grids)
        mixed = torch.einsum("bhqk,bkhd->bqhd", weights, v)
        return self.linear(mixed.reshape(x.shape), name + "output")

    def mix_ffn(self, x, name):
        x = self.linear(x, name + "expand")
        windows = F.pad(x, (0, 0, 1, 1, 1, 1)).unfold(1, 3, 1).unfold(2, 3, 1)  # (B, H, W, C, 3, 3)
        x = (windows * self.w[name + "depthwise.weight"][:, 0]).sum((-2, -1))
        x = x + self.w[name + "depthwise.bias"]
        return self.linear(x * (1 + torch.erf(x / math.sqrt(2))) / 2, name + "contract")

    def dropped(self, branch, rate):
        """Stochastic depth: one gate per sample, from the same random numbers as the model's."""
        if not self.training or rate == 0:
            return branch
        gates = torch.rand(len(branch)) >= rate
        return branch * (gates / (1 - rate) if rate < 1 else gates)[:, None, None, None].double()

    def decode(self):
        size, maps = self.maps[0].shape[2:], []
        for stage, x in enumerate(self.maps):
            x = self.linear(x.permute(0, 2, 3, 1), f"decoder.projections.{stage}")
            maps.append(F.interpolate(x.permute(0, 3, 1, 2), size, mode="bilinear"))
        x = torch.cat(maps[::-1], dim=1).permute(0, 2, 3, 1)  # stage 4 first
        x = x @ self.w["decoder.fuse.weight"].flatten(1).T
        mean, variance = self.w["decoder.norm.running_mean"], self.w["decoder.norm.running_var"]
        if self.training:
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2), correction=0)
        x = (x - mean) / (variance + 1e-5).sqrt()
        x = (x * self.w["decoder.norm.weight"] + self.w["decoder.norm.bias"]).clamp(min=0)
        channels = torch.ones(len(x), x.shape[-1], 1, 1, dtype=self.dtype)
        channels = F.dropout2d(channels, self.config.decoder_dropout, self.training).double()
        x = x * channels.permute(0, 2, 3, 1)
        weight, bias = self.w["decoder.classifier.weight"], self.w["decoder.classifier.bias"]
        return (x @ weight.flatten(1).T + bias).permute(0, 3, 1, 2)


def drop_rates(config):
    depth = sum(config.depths)
    if config.drop_path_rule == "paper":
        return [config.drop_path_rate * block / depth for block in range(1, depth + 1)]
    return np.linspace(0, config.drop_path_rate, depth).tolist()


def map_sizes(config, size):
    """Height and width of each stage's map, or None if one is too small for its attention."""
    sizes = []
    stages = zip(config.patch_sizes, config.strides, config.reduction_ratios, strict=True)
    for patch_size, stride, r in stages:
        size = tuple((side + patch_size // 2 * 2 - patch_size) // stride + 1 for side in size)
        if min(size) < r:
            return None
        sizes.append(size)
    return sizes


# ---------------------------------------------------------------- what is drawn


MOSTLY = st.sampled_from([True, True, False])


@st.composite
def configs(draw):
    stages = draw(st.integers(1, 5))

    def one_a_stage(low, high):
        return draw(st.lists(st.integers(low, high), min_size=stages, max_size=stages))

    heads = one_a_stage(1, 4)
    dims = [h * d for h, d in zip(heads, one_a_stage(1, 6), strict=True)]
    num_classes = draw(st.integers(1, 7) | st.integers(1, 150))
    rates = st.sampled_from([0, 0.0, 1, 0.1, 0.75])
    return SegFormerConfig(
        num_classes=num_classes,
        in_channels=draw(st.integers(1, 13)),
        embed_dims=dims,
        depths=one_a_stage(1, 2),
        num_heads=tuple(heads),
        reduction_ratios=one_a_stage(1, 3) if draw(st.booleans()) else (1,) * stages,
        mlp_ratios=one_a_stage(1, 4),
        patch_sizes=one_a_stage(1, 7),
        strides=one_a_stage(1, 3) if draw(st.booleans()) else (4, 2, 2, 2, 2)[:stages],
        decoder_dim=draw(st.integers(1, 20)),
        drop_path_rate=draw(rates),
        drop_path_rule=draw(st.sampled_from(["linspace", "paper"])),
        decoder_dropout=draw(rates),
        block_norm_eps=draw(st.sampled_from([1e-6, 1e-5, 1e-5, 1e-12, 0.5])),
        class_names=draw(st.sampled_from([(), [f"Käse {i}" for i in range(num_classes)]])),
        gradient_checkpointing=draw(st.booleans()),
    )


@st.composite
def sizes(draw, config):
    """Height and width: one pixel, around the smallest size that works, or several strips."""
    least = next((side for side in range(1, 150) if map_sizes(config, (side, side))), 1)
    near = st.integers(max(least - 2, 1), least + 9 * config.strides[0])
    height, width = draw(near | st.integers(1, 3)), draw(near)
    shape = draw(st.integers(0, 9))
    if shape == 0:  # wide: the model cuts such maps into strips of rows
        width = max(width, 100 * config.strides[0])
    elif shape == 1:  # often a single token
        height = width = least
    return draw(st.permutations([height, width]))


@st.composite
def images(draw, config, dtype):
    """Numbers of any layout; the values come from a seed, small, large or all the same."""
    height, width = draw(sizes(config))
    batch = draw(st.sampled_from([1, 1, 2, 3, 0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    x = torch.randn(batch, config.in_channels, height, width, generator=generator)
    x = draw(st.sampled_from([1, 1, 255, 1e-3, 0])) * x + draw(st.sampled_from([0, 0, 1]))
    layout = draw(st.sampled_from(["dense", "channels last", "turned", "sliced", "repeated"]))
    if layout == "channels last":
        x = x.to(memory_format=torch.channels_last)
    elif layout == "turned":
        x = x.mT.contiguous().mT
    elif layout == "sliced":
        x = torch.stack([x, -x], dim=-1).flatten(3)[..., ::2]
    elif layout == "repeated":
        x = x[:, :1].expand_as(x)
    return x.to(dtype).requires_grad_(draw(MOSTLY))


def build(draw, config, *dtypes):
    model = randomize(SegFormer(config), draw(st.integers(0, 99))).to(draw(st.sampled_from(dtypes)))
    return model.train(draw(MOSTLY))


# ---------------------------------------------------------------- how it is checked


def refused(call, *words):
    """The call ends in a ValueError raised by this package itself, which holds these words."""
    with pytest.raises(ValueError) as refusal:
        call()
    message, (*_, last) = str(refusal.value), traceback.extract_tb(refusal.tb)
    assert last.filename.startswith(PACKAGE), f"{last.filename} refuses with: {message}"
    assert [word for word in map(str, words) if word not in message] == [], message
    assert len(message.split()) >= 7 and len(message.splitlines()) <= 5, message


def assert_agree(ours, theirs, tolerance=CLOSE):
    """Relative to the largest number, if there is one: a batch may be empty."""
    assert ours.shape == theirs.shape
    if ours.numel():
        scale = max(theirs.abs().max().item(), 1e-3)
        assert (ours.double() - theirs).abs().mean() <= tolerance * scale


few = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
more = settings(few, max_examples=5 * few.max_examples)  # of what takes a millisecond or two


@more
@given(data=st.data(), config=configs())
def test_a_model_agrees_with_the_equations_or_refuses_the_image(data, config):
    model = build(data.draw, config, torch.float64, torch.float32)
    dtype = next(model.parameters()).dtype
    x = data.draw(images(config, dtype))
    before = x.detach().clone()
    size = tuple(x.shape[2:])
    expected_sizes = map_sizes(config, size)
    with torch.set_grad_enabled(data.draw(MOSTLY)):
        if expected_sizes is None:
            for call in (model, model.predict, model.folded()):
                refused(lambda call=call: call(x), f"{size[0]}×{size[1]}", "at least")
            refused(lambda: attention_maps(model, x), f"{size[0]}×{size[1]}", "at least")
            refused(lambda: cost(config, size), f"size = {size}", "at least")
            return
        tokens = len(x) * math.prod(expected_sizes[0])
        if model.training and tokens == 1:
            refused(lambda: model(x), "a single token", "model.eval()")
            return
        torch.manual_seed(0)
        logits = model(x)
        assert logits.shape == (len(x), config.num_classes, *expected_sizes[0])
        assert logits.dtype == dtype and logits.isfinite().all()
        if len(x):
            torch.manual_seed(0)
            expected = Reference(model).logits(x)
            assert_agree(logits, expected, CLOSE if dtype == torch.float64 else ROUGH)
        assert torch.equal(x, before)  # nothing is computed in place
        if logits.requires_grad and len(x):
            logits.square().mean().backward()
            learned = [p.grad for p in model.parameters()]
            assert all(gradient is not None and gradient.isfinite().all() for gradient in learned)
            assert not x.requires_grad or x.grad.isfinite().all()


def attention_entries(config, sizes):
    """Of one image, over all heads and blocks."""
    stages = zip(sizes, config.reduction_ratios, config.num_heads, config.depths, strict=True)
    return sum(h * w * (h // r) * (w // r) * heads * depth for (h, w), r, heads, depth in stages)


@few
@given(data=st.data(), config=configs())
@torch.no_grad()
def test_every_other_view_of_a_model_agrees_with_the_equations(data, config):
    model = build(data.draw, config, torch.float64)
    training = model.training
    x = data.draw(images(config, torch.float64))
    size = tuple(x.shape[2:])
    expected_sizes = map_sizes(config, size)
    if expected_sizes is None or not len(x):
        x = torch.randn(2, config.in_channels, 64, 64, dtype=torch.float64)
        size, expected_sizes = (64, 64), map_sizes(config, (64, 64))
    if expected_sizes is None:
        refused(lambda: contributions(model, x), "64×64", "at least")
        return
    assume(len(x) * attention_entries(config, expected_sizes) < 2**22)  # 32 MB, several times
    reference = Reference(model.eval())
    expected = reference.logits(x)
    if config.block_norm_eps == 1e-5:
        theirs = make_theirs(model).double()
        assert_agree(theirs(x).logits, expected)
    folded = model.folded()
    assert_agree(model(x), expected)
    assert_agree(folded(x), expected)
    summands = contributions(model.train(training), x)
    assert_agree(summands.sum(1), expected)
    weights = attention_maps(model, x)
    for ours, theirs in zip(sum(weights, []), sum(reference.attention, []), strict=True):
        assert_agree(ours, theirs)
    assert all(part.training == training for part in model.modules())  # as it was

    full = F.interpolate(expected, size, mode="bilinear")
    if config.num_classes == 1:
        full = torch.cat([torch.zeros_like(full), full], dim=1)
    for labels in (model.eval().predict(x), folded.predict(x)):
        assert labels.shape == (len(x), *size) and labels.dtype == torch.int64
        chosen = full.gather(1, labels[:, None])[:, 0]
        assert (full.amax(1) - chosen).max() <= CLOSE * full.abs().max()

    bill = cost(config, size)
    assert bill.parameters == sum(p.numel() for p in model.parameters())
    assert [stage.size for stage in bill.stages] == expected_sizes
    assert [stage.attention_entries for stage in bill.stages] == [
        sum(w[0].numel() for w in stage) for stage in weights
    ]


ODD_NUMBERS = (torch.uint8, torch.int16, torch.int64, torch.bool, torch.complex64)
PRECISIONS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@few
@given(data=st.data(), config=configs())
def test_an_image_of_another_kind_is_refused_and_autocast_converts(data, config):
    model = build(data.draw, config, *PRECISIONS)
    dtype, channels = next(model.parameters()).dtype, config.in_channels
    x = torch.rand(2, channels, 64, 64, dtype=dtype)
    odd, other = data.draw(st.sampled_from(ODD_NUMBERS)), data.draw(st.sampled_from(PRECISIONS))
    wrong = {
        "numbers": (x.to(odd), odd),
        "rank": (data.draw(st.sampled_from([x[0], x[None], x[0, 0], x.sum()])), "axes"),
        "channels": (data.draw(st.sampled_from([x[:, 1:], torch.cat([x, x], 1)])), channels),
        "channels last": (x.permute(0, 2, 3, 1), "(2, 64, 64,"),
        "no pixels": (data.draw(st.sampled_from([x[..., :0], x[:, :, :0]])), "at least"),
        "array": (x.float().numpy(), "ndarray"),
        "list": (list(x), "list"),
        "nothing": (None, "NoneType"),
        "text": ("photo.jpg", "str"),
    }
    if other != dtype and map_sizes(config, (64, 64)) is not None:  # else its size is refused
        wrong["precision"] = (x.to(other), dtype, other, "x.float()")
    image, *words = data.draw(st.sampled_from(list(wrong.values())))
    folded = model.folded()
    for call in (model, model.predict, folded, folded.predict):
        refused(lambda call=call: call(image), *words)
    refused(lambda: attention_maps(model, image), *words)
    refused(lambda: contributions(model, image), *words)
    with torch.autocast("cpu", torch.bfloat16):
        if map_sizes(config, (64, 64)) is None:
            refused(lambda: model(x), "64×64")
        elif other == dtype == torch.float64 or (
            other != torch.float64 and dtype in (torch.float32, torch.bfloat16)
        ):
            assert model.eval().predict(x.to(other)).shape == (2, 64, 64)
        else:
            refused(lambda: model.predict(x.to(other)), dtype, other, "x.float()")


NO_WHOLE = (0, -1, True, 1.0, 2.5, "3", None, (3,), 10**7, 10**30, math.nan, math.inf)
NO_LIST = (2, "2222", None, (), [], {1: 2}, {1, 2}, np.ones(2, int), np.array(3), 0.5, range(1, 3))
NO_RATE = (-0.1, 1.0001, math.nan, math.inf, "0.1", None, True, (0.1,), 10**30)
IMPOSSIBLE = {
    **dict.fromkeys(("num_classes", "in_channels", "decoder_dim"), NO_WHOLE),
    **dict.fromkeys(("drop_path_rate", "decoder_dropout"), NO_RATE),
    "drop_path_rule": ("cosine", "Linspace", None, 3, ["paper"], np.array(["paper", "linspace"])),
    "block_norm_eps": (0, 1, -1e-6, 1e-40, math.nan, math.inf, "1e-6", None, True, 10**400),
    "class_names": ("abc", 3, None, (0, 1), ["road"] * 151, {"road": 0}),
    "gradient_checkpointing": (1, 0, "yes", None),
}
A_STAGE = [field.name for field in fields(SegFormerConfig) if "tuple[int" in str(field.type)]


@more
@given(data=st.data(), config=configs())
def test_an_impossible_field_is_refused_by_its_name(data, config):
    name = data.draw(st.sampled_from([*IMPOSSIBLE, *A_STAGE, "all"]))
    if name in IMPOSSIBLE:
        value = data.draw(st.sampled_from(IMPOSSIBLE[name]))
        words = [name, 151 if name == "class_names" and len(str(value)) > 99 else repr(value)]
        changes = {name: value}
    elif name == "all":
        changes = {
            "embed_dims": (10**6,) * config.num_stages,
            "num_heads": (1,) * config.num_stages,
        }
        words = ["parameters", "embed_dims", "lower"]
    else:
        values = list(getattr(config, name))
        kind = data.draw(st.sampled_from(["no list", "length", "entry", "heads"]))
        if kind == "no list":
            values = data.draw(st.sampled_from(NO_LIST))
            words = [name, repr(values)]
        elif kind == "length":
            values += data.draw(st.lists(st.just(1), min_size=1, max_size=3))
            words = [len(values), config.num_stages, "each stage"]
        elif kind == "entry":
            wrong = data.draw(st.sampled_from(NO_WHOLE))
            values[data.draw(st.integers(0, len(values) - 1))] = wrong
            words = [name, repr(wrong)]
        else:
            name, values = "num_heads", [heads + dim for heads, dim in heads_and_dims(config)]
            words = [name, values[0], config.embed_dims[0], "multiple"]
        changes = {name: values}
    refused(lambda: config.replace(**changes), *words)
    refused(lambda: SegFormerConfig(**{**asdict(config), **changes}), *words)
    refused(lambda: config.replace(layers=3), "'layers'", "embed_dims")


def heads_and_dims(config):
    return zip(config.num_heads, config.embed_dims, strict=True)


@st.composite
def masks(draw, num_labels, ignore_index, shape):
    dtype = draw(st.sampled_from([torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    labels = torch.randint(num_labels, shape, generator=generator)
    ignored = torch.rand(shape, generator=generator) < draw(st.sampled_from([0, 0.3, 0.9, 1]))
    labels = labels.where(~ignored, ignore_index)
    stranger = draw(st.none() | st.none() | st.sampled_from([num_labels, -1, -7, 254]))
    if stranger is not None and labels.numel():
        labels[-1, -1, -1] = stranger
    fits = labels.to(dtype).long().equal(labels)
    return labels.to(dtype) if fits else labels


@more
@given(data=st.data())
def test_the_loss_is_the_mean_over_the_pixels_that_count_or_says_why_not(data):
    draw = data.draw
    num_classes = draw(st.integers(1, 5) | st.integers(1, 150))
    num_labels = max(num_classes, 2)
    ignore_index = draw(st.sampled_from([255, 255, -100, -1, 0, num_labels - 1, 2**40]))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9) | st.just(300))
    batch = draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    logits = 3 * torch.randn(batch, num_classes, height, width, generator=generator)
    logits = logits.to(draw(st.sampled_from(PRECISIONS))).requires_grad_(draw(st.booleans()))
    shape = (batch, draw(st.integers(0, 40)), draw(st.integers(0, 40)))
    labels = draw(masks(num_labels, ignore_index, shape))
    weights = None
    if draw(st.booleans()):
        weights = torch.tensor([draw(st.sampled_from([0, 0.5, 1, 7])) for _ in range(num_labels)])
        weights = weights.double()

    def loss():
        return segmentation_loss(logits, labels, ignore_index, weights)

    counts = labels.long() != ignore_index  # 2^40 in 32 bits would be 0
    strangers = labels[counts & ((labels.long() < 0) | (labels.long() >= num_labels))]
    per_class = torch.ones(num_labels).double() if weights is None else weights
    if 0 in shape[1:]:
        refused(loss, shape, "above zero")
    elif len(strangers):
        refused(loss, strangers[0].item(), f"0 … {num_labels - 1}", ignore_index)
    elif not (pixel_weights := per_class[labels[counts].long()]).sum() > 0:
        refused(loss, "every pixel", ignore_index)
    else:
        value = loss()
        full = F.interpolate(logits.detach().double(), shape[1:], mode="bilinear")
        if num_classes == 1:  # a logit against a logit of zero
            full = torch.cat([torch.zeros_like(full), full], dim=1)
        full = full.permute(0, 2, 3, 1)[counts]  # (pixels, K)
        chosen = full.gather(1, labels[counts].long()[:, None])[:, 0]
        expected = (pixel_weights * (full.logsumexp(1) - chosen)).sum() / pixel_weights.sum()
        assert value.dtype == torch.float32 and value.shape == ()
        assert (value.double() - expected).abs() <= 1e-3 * max(expected, 1)
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(value, logits)
            assert gradient.shape == logits.shape and gradient.isfinite().all()

    kind = draw(st.sampled_from(["logits", "rank", "type", "batch", "index", "weights"]))
    if kind == "logits":
        wrong = draw(st.sampled_from([None, logits.long(), logits[:, 0], logits[:, :0]]))
        refused(lambda: segmentation_loss(wrong, labels), "logits")
    elif kind == "rank":
        refused(lambda: segmentation_loss(logits, labels[:, None]), "labels", "(B, H, W)")
    elif kind == "type":
        odd = draw(st.sampled_from([torch.bool, torch.float32, torch.complex64]))
        wide = torch.ones(batch, 4, 4)
        refused(lambda: segmentation_loss(logits, wide.to(odd)), "labels", odd)
        refused(lambda: segmentation_loss(logits, wide.numpy()), "labels", "ndarray")
    elif kind == "batch":
        wide = torch.zeros(batch + 1, 4, 4, dtype=torch.long)
        refused(lambda: segmentation_loss(logits, wide), f"B = {batch}", "labels")
    elif kind == "index":
        odd = draw(st.sampled_from([None, 1.5, "255", True, 2**70, -(2**70)]))
        wide = torch.zeros(batch, 4, 4, dtype=torch.long)
        refused(lambda: segmentation_loss(logits, wide, odd), f"ignore_index = {odd!r}")
    else:
        odd = draw(st.sampled_from([[1.0], torch.ones(num_labels + 1), torch.ones(num_labels) / 0]))
        wide = torch.zeros(batch, 4, 4, dtype=torch.long)
        refused(lambda: segmentation_loss(logits, wide, class_weights=odd), "class_weights")


WRONG_JSON = (None, 0, -1, 1, True, 1.5, "x", [], [1], [10**30], {}, {"0": "a", "2": "b"}, 10**30)


@few
@given(data=st.data(), config=configs())
def test_a_saved_model_comes_back_the_same_and_a_changed_config_is_noticed(data, config):
    model = build(data.draw, config, torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = SegFormer.from_pretrained(folder)
        assert loaded.config == config and not loaded.training
        for name, x in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], x), name

        path = Path(folder, "config.json")
        description = json.loads(path.read_text(encoding="utf-8"))
        name = data.draw(st.sampled_from(sorted(description)))
        del description[name]
        if data.draw(st.booleans()):
            description[name] = data.draw(st.sampled_from(WRONG_JSON))
        path.write_text(json.dumps(description), encoding="utf-8")
        try:
            SegFormer.from_pretrained(folder)
        except ValueError as error:
            message = str(error)
        else:
            return
    assert folder in message
    if name not in description or description[name] is None:
        assert name in message or FIELDS.get(name, "config.json") in message
        assert len(message.splitlines()) == 1, message  # the field, not all tensors it would change
