"""The whole model: its size, its start, its precisions, its copies, and labels at full size."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from segformer_edu import SegFormer, SegFormerConfig, segmentation_loss
from segformer_edu.segformer import disagree, labels_from_logits

# Parameters of the released models with 150 classes, and of their encoders.
PARAMETERS = {
    "b0": (3_752_694, 3_319_392),
    "b1": (13_715_798, 13_151_424),
    "b2": (27_461_974, 24_196_288),
    "b3": (47_337_814, 44_072_128),
    "b4": (64_108_374, 60_842_688),
    "b5": (84_708_694, 81_443_008),
}


# 16-bit convolutions of fewer than 32 channels whose stride is their kernel are wrong in the oneDNN
# of torch 2.13 on processors with AMX (pytorch/pytorch#169688 is of that kind): so not narrower.
WIDE = {"embed_dims": (32, 64, 160, 256), "num_heads": (1, 2, 5, 8)}


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else [result]:
            if isinstance(x, torch.Tensor):
                self.numel = max(self.numel, x.numel())
        return result


def largest_tensor(function, *args):
    with Largest() as largest:
        function(*args)
    return largest.numel


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name):
    with torch.device("meta"):
        model = SegFormer(SegFormerConfig.named(name))
    counts = [sum(x.numel() for x in part.parameters()) for part in (model, model.encoder)]
    assert tuple(counts) == PARAMETERS[name]


def test_initial_weights_are_those_of_the_reference():
    seen = set()
    for part in SegFormer(SegFormerConfig.named("b1")).modules():
        weight = getattr(part, "weight", None)
        if isinstance(part, nn.Linear):
            std = 0.02
        elif isinstance(part, nn.Conv2d):
            std = (2 * part.groups / (part.kernel_size[0] ** 2 * part.out_channels)) ** 0.5
        elif isinstance(part, nn.LayerNorm | nn.BatchNorm2d):
            assert (weight == 1).all()
            assert not part.bias.any()
            seen.add(type(part))
            continue
        else:
            continue
        seen.add(nn.Linear if isinstance(part, nn.Linear) else nn.Conv2d)
        assert weight.std().item() == pytest.approx(std, rel=5 / (2 * weight.numel()) ** 0.5)
        assert part.bias is None or not part.bias.any()
    assert seen == {nn.Linear, nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d}


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 47), (29, 29)], ids=str)
@pytest.mark.parametrize("num_classes", [1, 5])
def test_logits_at_a_quarter_and_labels_at_the_size_of_the_image(
    small_config, device, size, num_classes
):
    model = SegFormer(small_config.replace(num_classes=num_classes)).to(device).eval()
    images = torch.randn(2, 3, *size, device=device)
    assert model(images).shape == (2, num_classes, -(-size[0] // 4), -(-size[1] // 4))
    labels = model.predict(images)
    assert labels.shape == (2, *size)
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (29, 300), (301, 47)], ids=str)
def test_predict_is_the_argmax_of_the_resized_logits(small_model, device, size):
    model = small_model.to(device)
    images = torch.randn(2, 3, *size, device=device)
    full = F.interpolate(model(images), size, mode="bilinear", align_corners=False)
    labels = model.predict(images)
    best, chosen = full.amax(1), full.gather(1, labels[:, None])[:, 0]
    assert (best - chosen).max() <= 1e-5 * full.abs().max()  # others only where two are level
    assert labels.unique().numel() > 1


def test_predict_evaluates_and_leaves_the_model_in_its_modes(small_config, randomized):
    config = small_config.replace(drop_path_rate=0.5, decoder_dropout=0.5)
    model = randomized(SegFormer(config)).train()
    model.encoder.stages[0].eval()  # frozen, while the rest trains
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 3, 65, 97)
    labels = model.predict(images)
    assert [module.training for module in model.modules()] == modes
    for name, x in model.state_dict().items():
        assert torch.equal(x, state[name]), name  # BatchNorm's statistics among them
    assert torch.equal(labels, model.eval().predict(images))  # no dropout, no dropped branch
    assert labels.unique().numel() > 1


def test_predict_of_a_binary_model_is_a_probability_above_one_half(small_config, randomized):
    model = randomized(SegFormer(small_config.replace(num_classes=1)), seed=1).eval()
    images = torch.randn(2, 3, 65, 97)
    full = F.interpolate(model(images), (65, 97), mode="bilinear", align_corners=False)[:, 0]
    clear = full.abs() > 1e-5 * full.abs().max()
    labels = model.predict(images)
    assert torch.equal(labels[clear], (full.sigmoid() > 0.5)[clear].long())
    assert labels.unique().tolist() == [0, 1]


def test_labels_of_few_classes_and_of_ties():
    lower, higher = torch.zeros(2, 1, 1, 4, 4)
    higher += 1
    assert not labels_from_logits(lower, (9, 7)).any()  # a probability of one half is not above it
    assert labels_from_logits(higher, (9, 7)).all()
    # Two classes are told apart by which logit is larger, not by the sign of the first.
    two = torch.cat([2 * higher, higher], dim=1)
    assert not labels_from_logits(two, (9, 7)).any()
    assert labels_from_logits(two.flip(1), (9, 7)).all()


@pytest.mark.parametrize("size", [(96, 128), (37, 53), (24, 32), (5, 3), (1, 1)], ids=str)
@pytest.mark.parametrize(("batch", "classes"), [(0, 4), (1, 150), (2, 4), (3, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_labels_of_smooth_logits_are_the_argmax_at_any_size(device, size, batch, classes, dtype):
    coarse = torch.randn(batch, classes, 5, 6)
    logits = F.interpolate(coarse, (24, 32), mode="bicubic") if batch else coarse
    logits = logits.to(device, dtype if device.type != "mps" else None)
    full = F.interpolate(logits.float(), size, mode="bilinear")
    labels = labels_from_logits(logits, size)
    assert labels.shape == (batch, *size) and labels.dtype == torch.int64
    if classes == 1:
        full = torch.cat([torch.zeros_like(full), full], dim=1)
    best, chosen = full.amax(1), full.gather(1, labels[:, None])[:, 0]
    assert (best - chosen <= 1e-5 * logits.abs().amax((1, 2, 3))[:, None, None]).all()


def test_only_pixels_whose_tokens_disagree_are_mixed(monkeypatch):
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 1, 3:6, 2:5] = 1  # an object of 3×3 tokens
    mixed, embedding_bag = [], F.embedding_bag

    def spy(corners, *args, **kwargs):
        mixed.append(corners)
        return embedding_bag(corners, *args, **kwargs)

    monkeypatch.setattr(F, "embedding_bag", spy)
    labels_from_logits(logits, (32, 32))
    winners = logits.argmax(1).flatten()
    corners = torch.cat(mixed)
    assert all(len(set(winners[four].tolist())) == 2 for four in corners)
    # Of the windows of 2×2 tokens, 4×4 touch the object and 2×2 are inside; each has 4×4 pixels.
    assert len(corners) == (16 - 4) * 16


def test_neighbours_disagree_where_one_of_four_labels_differs():
    labels = torch.randint(3, (2, 6, 7), generator=torch.Generator().manual_seed(0))
    expected = [
        [len(set(image[i : i + 2, j : j + 2].flatten().tolist())) > 1 for j in range(7)]
        for image in labels
        for i in range(6)
    ]
    assert disagree(labels).flatten(0, 1).tolist() == expected
    assert 0 < sum(map(sum, expected)) < 84


def test_predict_keeps_nothing_for_a_backward_pass(small_model, device):
    model, images = small_model.to(device), torch.randn(1, 3, 65, 97, device=device)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
        model.predict(images)
        assert not kept
        model(images)
    assert kept


@torch.no_grad()
def test_predict_and_the_loss_never_hold_all_classes_at_full_size(small_config, device):
    model = SegFormer(small_config.replace(num_classes=150)).to(device).eval()
    images = torch.randn(1, 3, 768, 768, device=device)
    logits = model(images)
    full_size = 150 * 768 * 768
    bound = full_size / 4
    assert largest_tensor(F.interpolate, logits, (768, 768)) == full_size
    assert largest_tensor(model.predict, images) <= bound
    labels = torch.zeros(1, 768, 768, dtype=torch.long, device=device)
    assert largest_tensor(segmentation_loss, logits, labels) <= bound
    with torch.enable_grad():
        assert largest_tensor(segmentation_loss, logits.requires_grad_(), labels) <= bound


@torch.no_grad()
def test_images_of_a_batch_do_not_affect_each_other_in_evaluation(small_model, device):
    model = small_model.to(device)
    images = torch.randn(3, 3, 65, 97, device=device)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains_close_to_float32(small_config, randomized, device, dtype):
    model = randomized(SegFormer(small_config.replace(**WIDE))).to(device).train()
    images, labels = torch.randn(4, 3, 64, 64, device=device), torch.zeros(4, 64, 64).long()
    outcomes = []
    for enabled in (False, True):
        with torch.autocast(device.type, dtype=dtype, enabled=enabled):
            logits = model(images)
            loss = segmentation_loss(logits, labels.to(device))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert all(x.isfinite().all() for x in gradients)
        assert all(x.dtype == torch.float32 for x in gradients)
        outcomes.append((loss, torch.cat([x.flatten() for x in gradients]), logits.dtype))
    (exact, exact_gradient, _), (rounded, rounded_gradient, low) = outcomes
    assert low == dtype
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.0)
    assert (rounded_gradient - exact_gradient).norm() < 0.05 * exact_gradient.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_close_to_float32(small_config, randomized, device, dtype):
    model = randomized(SegFormer(small_config.replace(**WIDE))).to(device).eval()
    images = torch.randn(2, 3, 65, 97, device=device)
    exact = model(images)
    low = model.to(dtype)(images.to(dtype))
    assert low.dtype == dtype
    assert (low.float() - exact).abs().max() < 0.05 * exact.abs().max()
    low.float().square().mean().backward()
    assert all(x.grad.isfinite().all() for x in model.parameters())
    with torch.no_grad():  # in strips
        assert (model(images.to(dtype)).float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert model.predict(images.to(dtype)).shape == (2, 65, 97)


def test_folded_answers_the_same_with_fewer_parameters(small_model, device):
    model = small_model.to(device)
    folded = model.folded()
    images = torch.randn(2, 3, 65, 97, device=device)
    torch.testing.assert_close(folded(images), model(images), rtol=1e-4, atol=1e-5)
    assert (folded.predict(images) == model.predict(images)).float().mean() > 0.999
    counts = [sum(x.numel() for x in part.parameters()) for part in (folded, model)]
    assert counts[0] < counts[1]
    torch.testing.assert_close(folded.folded()(images), folded(images))


def test_folding_leaves_the_model_as_it_was(small_model):
    model = small_model.train()
    before = copy.deepcopy(model.state_dict())
    folded = model.folded()
    assert model.training and not folded.training
    nn.init.zeros_(folded.decoder.classifier.weight)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_a_folded_model_refuses_to_train_and_stays_as_it_was(small_model):
    folded = small_model.folded()
    for part in (folded, folded.decoder):
        with pytest.raises(ValueError, match="is for evaluation only: train the model from which"):
            part.train()
    assert not any(module.training for module in folded.modules())
    assert folded.train(False) is folded


def test_a_copy_and_a_reloaded_state_give_the_same_logits(small_model, small_config):
    images = torch.randn(2, 3, 65, 97)
    reloaded = SegFormer(small_config).eval()
    reloaded.load_state_dict(small_model.state_dict())
    for twin in (copy.deepcopy(small_model), reloaded):
        assert torch.equal(twin(images), small_model(images))


def test_gradient_checkpointing_trains_the_same(small_config, device):
    config = small_config.replace(drop_path_rate=0.5, decoder_dropout=0.2)
    images = torch.randn(4, 3, 64, 64, device=device)
    labels = torch.randint(5, (4, 64, 64), device=device)
    plain = SegFormer(config).to(device)
    recomputed = SegFormer(config.replace(gradient_checkpointing=True)).to(device)
    recomputed.load_state_dict(plain.state_dict())
    outcomes = []
    for model in (plain, recomputed):
        torch.manual_seed(5)
        loss = segmentation_loss(model(images), labels)
        outcomes.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(*outcomes)


def test_the_same_seed_trains_the_same_on_every_run(small_config):
    def losses():
        torch.manual_seed(0)
        model = SegFormer(small_config.replace(drop_path_rate=0.5, decoder_dropout=0.2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        images, labels = torch.randn(4, 3, 32, 32), torch.randint(5, (4, 32, 32))
        for _ in range(3):
            optimizer.zero_grad()
            loss = segmentation_loss(model(images), labels)
            loss.backward()
            optimizer.step()
            yield loss.item()

    assert list(losses()) == list(losses())


def test_a_few_steps_of_training_learn_one_batch(small_config, device):
    model = SegFormer(small_config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    images = torch.randn(2, 3, 64, 64, device=device)
    labels = (images.mean(1) > 0).long()  # what a pixel shows decides its class…
    labels = labels[:, 1::4, 1::4].repeat_interleave(4, 1).repeat_interleave(4, 2)  # …in 4×4 blocks
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = segmentation_loss(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("folded", [False, True])
def test_exported_program_gives_the_same_logits(small_model, folded):
    model = small_model.folded() if folded else small_model
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        program = torch.export.export(model, (images,))
    torch.testing.assert_close(program.module()(images), model(images), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_one_exported_program_answers_for_any_batch_and_size(small_model):
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free},)
    program = torch.export.export(small_model, (torch.randn(2, 3, 64, 96),), dynamic_shapes=shapes)
    for shape in [(1, 3, 65, 97), (3, 3, 129, 67)]:
        images = torch.randn(shape)
        answer = program.module()(images)
        torch.testing.assert_close(answer, small_model(images), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_one_compiled_graph_answers_for_any_size(small_model):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(small_model, backend=backend, fullgraph=True, dynamic=True)
    for shape in [(2, 3, 64, 96), (2, 3, 65, 97), (3, 3, 129, 67)]:
        images = torch.randn(shape)
        torch.testing.assert_close(compiled(images), small_model(images), rtol=1e-4, atol=1e-5)
    assert len(graphs) == 1


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_the_model_is_one_graph_without_breaks(small_model, mode):
    model = small_model.train(mode == "training")
    compiled = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)
    images = torch.randn(2, 3, 65, 97)
    with torch.set_grad_enabled(mode == "training"):
        torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-5)
