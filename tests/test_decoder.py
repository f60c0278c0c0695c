"""The decoder against eq. 4 and the published head written out, in training and evaluation."""

import copy

import pytest
import torch
from torch.nn import functional as F

from segformer_edu import AllMLPDecoder
from segformer_edu.decoder import FoldedDecoder
from tests.published import published_decoder

DIMS = (6, 10, 14, 18)
SIZES = {
    "square": [(16, 16), (8, 8), (4, 4), (2, 2)],
    "odd": [(17, 25), (9, 13), (5, 7), (3, 4)],
    "tall": [(150, 21), (75, 11), (38, 6), (19, 3)],
    "not halves": [(33, 20), (11, 19), (7, 7), (1, 1)],
}


@pytest.fixture
def decoder(device, randomized):
    return randomized(AllMLPDecoder(DIMS, 12, 5, dropout=0.0)).to(device)


def maps_of(sizes, device, batch=2):
    return [
        torch.randn(batch, dim, *size, device=device) for dim, size in zip(DIMS, sizes, strict=True)
    ]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("mode", ["training", "evaluation", "training, BatchNorm frozen"])
def test_equals_the_published_form(decoder, device, sizes, mode):
    if device.type == "mps":
        pytest.skip("Apple GPUs have no float64")
    decoder.double().train(mode != "evaluation")
    decoder.norm.train(mode == "training")
    outcomes = []
    for form in (decoder, lambda maps: published_decoder(decoder, maps)):
        torch.manual_seed(0)
        maps = [x.double().requires_grad_() for x in maps_of(sizes, device)]
        logits = form(maps)
        upstream = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).to(logits)
        outcomes.append(
            [logits, *torch.autograd.grad(logits, [*maps, *decoder.parameters()], upstream)]
        )
    torch.testing.assert_close(*outcomes, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_strips_give_the_same_as_the_whole_map(decoder, device, sizes, batch):
    maps = maps_of(sizes, device, batch)
    decoder.eval()
    in_strips = decoder(maps)
    with torch.enable_grad():  # a recorded gradient takes the map in one piece
        whole = decoder(maps)
    torch.testing.assert_close(in_strips, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(in_strips, published_decoder(decoder, maps), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_training_mode_takes_the_statistics_of_the_whole_map_without_a_gradient_too(
    decoder, device
):
    maps = maps_of(SIZES["tall"], device)  # in evaluation more than one strip
    expected = published_decoder(decoder.train(), maps)
    torch.testing.assert_close(decoder(maps), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_folded_gives_the_same_with_fewer_parameters(decoder, device, sizes):
    decoder.eval()
    folded = FoldedDecoder(decoder)
    maps = maps_of(sizes, device)
    torch.testing.assert_close(folded(maps), decoder(maps), rtol=1e-5, atol=1e-5)
    count, whole = (sum(x.numel() for x in part.parameters()) for part in (folded, decoder))
    assert count == sum(12 * dim for dim in DIMS) + 12 + 5 * 12 + 5  # W_i A_i, bias, classifier
    assert count < whole


def test_folding_shares_nothing_with_the_decoder(decoder):
    folded = FoldedDecoder(decoder.eval())
    own = {x.data_ptr() for x in decoder.parameters()}
    assert own.isdisjoint(x.data_ptr() for x in folded.parameters())


@pytest.mark.parametrize(("mode", "called"), [(True, ["norm"]), (False, [])])
def test_printing_a_decoder_says_which_of_its_parts_are_never_called(decoder, mode, called):
    seen = []
    for name in ("projections.0", "fuse", "norm"):
        decoder.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    decoder.train(mode)([torch.randn(2, dim, 8, 8) for dim in DIMS])
    assert seen == called
    words = "projections, fuse and (in evaluation) norm hold parameters and are not called"
    assert repr(decoder).startswith(f"AllMLPDecoder(\n  {words}\n")


@torch.no_grad()
@pytest.mark.parametrize("part", ["norm", "dropout"])
def test_a_part_that_trains_alone_sees_the_whole_map(randomized, monkeypatch, part):
    decoder = randomized(AllMLPDecoder(DIMS, 12, 5, dropout=0.5)).eval()
    decoder.get_submodule(part).train()
    maps = [torch.randn(1, dim, *size) for dim, size in zip(DIMS, SIZES["tall"], strict=True)]
    answers = []
    for exporting in (False, True):  # an exported graph has one strip
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda exporting=exporting: exporting)
        torch.manual_seed(0)
        answers.append(copy.deepcopy(decoder)(maps))
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)  # by other kernels


def test_a_frozen_norm_needs_no_second_token(decoder):
    decoder.train().norm.eval()
    assert decoder([torch.randn(1, dim, 1, 1) for dim in DIMS]).shape == (1, 5, 1, 1)


def test_dropout_drops_whole_channels_in_training_only(randomized, device):
    decoder = randomized(AllMLPDecoder(DIMS, 64, 5, dropout=0.5)).to(device)
    maps = maps_of(SIZES["square"], device)
    seen = []
    decoder.norm.register_forward_hook(lambda part, inputs, output: seen.append(F.relu(output)))
    decoder.classifier.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
    decoder.train()(maps)
    before, after = (x.flatten(0, 1).flatten(1) for x in seen)  # a row for each sample and channel
    dropped = ~after.any(1)
    assert 32 < dropped.sum() < 96
    torch.testing.assert_close(after[~dropped], 2 * before[~dropped])
    decoder.eval()
    torch.testing.assert_close(decoder(maps), decoder(maps))


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_any_number_of_stages(randomized, device, stages):
    dims = [4 + 2 * stage for stage in range(stages)]
    decoder = randomized(AllMLPDecoder(dims, 8, 3, dropout=0.0)).to(device).eval()
    maps = [
        torch.randn(2, dim, 18 >> stage, 30 >> stage, device=device)
        for stage, dim in enumerate(dims)
    ]
    torch.testing.assert_close(
        decoder(maps), published_decoder(decoder, maps), rtol=1e-4, atol=1e-5
    )


def test_as_many_maps_in_one_tensor_are_refused():
    with pytest.raises(ValueError, match=r"list of 2 maps, .* got Tensor\."):
        AllMLPDecoder((4, 4), 6, 3)(torch.zeros(2, 1, 4, 8, 8))


def test_the_refusal_of_a_width_names_it():
    with pytest.raises(ValueError, match=r"^embed_dims\[1\] = 0:"):
        AllMLPDecoder((4, 0), 6, 3)
