"""The same weights give the same gradients as transformers, parameter by parameter.

Some gradients are zero by mathematics, and rounding noise in any program:
- the key's bias adds the same number to all scores of a query, and softmax ignores it;
- what shifts a whole channel of the fused map, when BatchNorm then subtracts the batch mean: the
  biases of the decoder's projections and of the last stage's norm.
These are shown to be noise beside the gradient of their layer's weight; all others are compared.
"""

import pytest
import torch


def vanishes(name, model):
    last_norm = f"encoder.stages.{model.config.num_stages - 1}.norm.bias"
    if name.endswith("attention.key.bias"):
        return True
    shifts_a_channel = name == last_norm or "decoder.projections" in name and name.endswith("bias")
    return model.training and shifts_a_channel


def assert_same_gradients(ours, theirs, their_name, tolerance):
    device, dtype = ours.decoder.fuse.weight.device, ours.decoder.fuse.weight.dtype
    images = torch.randn(2, ours.config.in_channels, 65, 97, device=device, dtype=dtype)
    their_images = images.clone().requires_grad_()
    logits = ours(images.requires_grad_())
    upstream = torch.rand_like(logits)  # of one sign: no sum over pixels cancels by chance
    logits.backward(upstream)
    theirs(their_images).logits.backward(upstream)

    their_parameters = dict(theirs.named_parameters())
    pairs = {name: (x, their_parameters[their_name(name)]) for name, x in ours.named_parameters()}
    assert len(pairs) == len(their_parameters)
    pairs["images"] = images, their_images
    for name, (our, their) in pairs.items():
        scale = their.grad.abs().max()
        if vanishes(name, ours):
            scale = pairs[name.replace("bias", "weight")][1].grad.abs().max()
            assert our.grad.abs().max() <= 1e-4 * scale, name
        else:
            assert scale > 0
            assert (our.grad - their.grad).abs().max() <= tolerance * scale, name


def test_gradients_in_float32(twins, their_name):
    ours, theirs = twins
    # Far from ReLU's kink, where a rounding error would switch a unit on in one model alone.
    for norm in (ours.decoder.norm, theirs.decode_head.batch_norm):
        torch.nn.init.constant_(norm.bias, 8.0)
    assert_same_gradients(ours, theirs, their_name, tolerance=1e-4)


def test_gradients_in_training_mode_in_float64(light_twins, their_name):
    ours, theirs = light_twins
    if ours.decoder.fuse.weight.device.type == "mps":
        pytest.skip("Apple GPUs have no float64")
    ours.double().train(), theirs.double().train()
    assert_same_gradients(ours, theirs, their_name, tolerance=1e-9)
    # The batch went into the running statistics alike.
    norm, their_norm = ours.decoder.norm, theirs.decode_head.batch_norm
    torch.testing.assert_close(norm.running_mean, their_norm.running_mean)
    torch.testing.assert_close(norm.running_var, their_norm.running_var)
