"""The work of a SegFormer, against the tensors that the kernels of a real run read and write."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import cost, roofline
from segformer_edu.analysis.roofline import (
    Ceilings,
    Work,
    copied,
    measured_ceilings,
    operations_of_b0,
    work_of,
)
from segformer_edu.decoder import compose
from tests.analysis.test_cost import ODD

# What torch calls the kernels of each operation; all others are views.
KERNELS = {
    "convolution": "convolution",
    "addmm": "convolution",
    "mm": "convolution",
    "native_layer_norm": "norm",
    "native_batch_norm": "norm",
    "cudnn_batch_norm": "norm",
    "_native_batch_norm_legit_no_training": "norm",
    "gelu": "GELU",
    "relu": "ReLU",
    "add": "add",
    "cat": "concatenate",
    "upsample_bilinear2d": "resize",
    "_scaled_dot_product_flash_attention_for_cpu": "attention",
}


class Traffic(TorchDispatchMode):
    """The bytes of the tensors that kernels are given and return, kernel by kernel."""

    def __init__(self):
        super().__init__()
        self.bytes = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.name().removeprefix("aten::").partition(".")[0]
        if name in KERNELS:
            first = result[0] if isinstance(result, tuple) else result
            given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
            moved = sum(x.nbytes for x in [*given, first])
            kernel = KERNELS[name]
            self.bytes[kernel] = self.bytes.get(kernel, 0) + moved
        return result


def whole(model):
    """The model with its Mix-FFN on whole maps."""
    for stage in model.encoder.stages:
        for block in stage.blocks:
            block.mix_ffn.forward = block.mix_ffn.mix
    return model


def as_published(decoder, maps):
    resized = []
    for project, x in zip(decoder.projections, maps, strict=True):
        x = project(x.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)
        resized.append(F.interpolate(x, maps[0].shape[2:], mode="bilinear"))
    fused = decoder.norm(decoder.fuse(torch.cat(resized[::-1], dim=1)))
    return decoder.classifier(F.relu(fused))


def as_commuted(decoder, maps):
    """The norm folded by hand, which counts as nothing here."""
    weights, _ = compose(decoder.projections, decoder.fuse)
    total = None
    for weight, x in zip(weights, maps, strict=True):
        x = F.conv2d(x, weight[:, :, None, None], torch.zeros(len(weight)))
        x = x if total is None else F.interpolate(x, total.shape[2:], mode="bilinear")
        total = x if total is None else total + x
    return decoder.classifier(F.relu(total))


def by_kernel(works):
    names = {"norm": "norm", "GELU": "GELU", "ReLU": "ReLU", "skip": "add", "add": "add"}
    names |= {"resize": "resize", "concatenate": "concatenate", "attention": "attention"}
    found = {}
    for work in works:
        kernel = names.get(work.name, "convolution")
        found[kernel] = found.get(kernel, 0) + work.bytes
    return found


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ODD)
def test_multiply_adds_are_those_of_cost(name, batch):
    config, size = ODD[name]
    bill = cost(config, size)
    d, dims = config.decoder_dim, config.embed_dims
    composing = sum(d**2 * c for c in dims)
    adds = sum(work.multiply_adds for work in work_of(config, size, batch=batch))
    assert adds == batch * (bill.multiply_adds - composing) + composing
    adds = sum(work.multiply_adds for work in work_of(config, size, published=True, batch=batch))
    assert adds == batch * bill.reference_multiply_adds
    for number, stage in enumerate(bill.stages, start=1):
        works = [work for work in work_of(config, size) if work.part == f"stage {number}"]
        assert sum(work.multiply_adds for work in works) == stage.multiply_adds


@torch.no_grad()
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_bytes_are_those_of_the_tensors_of_a_run(small_config, published, batch):
    model = whole(SegFormer(small_config).eval())
    images = torch.randn(batch, 3, 96, 64)
    works = work_of(small_config, (96, 64), published, batch)
    with Traffic() as traffic:
        maps = model.encoder(images)
    stages = by_kernel([work for work in works if work.part != "decoder"])
    assert traffic.bytes == stages
    with Traffic() as traffic:
        (as_published if published else as_commuted)(model.decoder, maps)
    assert traffic.bytes == by_kernel([work for work in works if work.part == "decoder"])


@torch.no_grad()
def test_the_eight_operations_compute_and_move_what_they_say():
    for name, operation in operations_of_b0(torch.Generator().manual_seed(0)).items():
        with Traffic() as traffic, FlopCounterMode(display=False) as counter:
            result = operation.run()
        assert operation.numbers == result.numel(), name
        moved = sum(traffic.bytes.values())
        # The lesson's norm has a scale and a shift, which are next to nothing.
        assert operation.bytes == pytest.approx(moved, rel=1e-3), name
        if "attention" not in name:  # which torch does not count on a CPU
            assert 2 * operation.multiply_adds == counter.get_total_flops(), name
        else:
            assert operation.multiply_adds == 2 * 128**2 * 16**2 * 32
        assert operation.operations == (2 * operation.multiply_adds or result.numel())


def test_the_roof_by_hand():
    """100 operations and 10 bytes in a second."""
    ceilings = Ceilings(operations=100.0, memory=10.0, cache=40.0)
    assert ceilings.ridge == 10
    assert [ceilings.roof(intensity) for intensity in (0.5, 10, 25)] == [5, 100, 100]
    much, little = Work("", "", 500, 20), Work("", "", 50, 20)
    assert (much.arithmetic(ceilings), much.moving(ceilings), much.least(ceilings)) == (10, 2, 10)
    assert (little.arithmetic(ceilings), little.least(ceilings)) == (1, 2)


def test_ceilings_are_rates_of_what_was_run(monkeypatch):
    """With a clock that says that every call takes a thousandth of a second."""
    monkeypatch.setattr(roofline, "seconds_a_call", lambda function, *given: 1e-3)
    ceilings = measured_ceilings()
    product = torch.zeros(1024, 1024)
    with FlopCounterMode(display=False) as counter:
        product @ product
    assert ceilings.operations == 1000 * counter.get_total_flops()
    assert ceilings.memory == 1000 * 2 * 64 * 2**20
    assert copied(10) == 1000 * 2 * 40


def test_real_ceilings_are_numbers():
    assert all(value > 0 and math.isfinite(value) for value in measured_ceilings())


@pytest.mark.parametrize("batch", [0, 1.5, True])
def test_a_batch_is_a_whole_number(batch):
    with pytest.raises(ValueError, match="give a whole number of images"):
        work_of(SegFormerConfig(), (64, 64), batch=batch)


def test_a_size_that_the_model_refuses_is_refused():
    with pytest.raises(ValueError, match="size"):
        work_of(SegFormerConfig(), (8, 8))
