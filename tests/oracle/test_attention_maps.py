"""analysis.attention_maps gives the attention that transformers reports, stage by stage."""

import torch

from segformer_edu.analysis import attention_maps


@torch.no_grad()
def test_attention_maps_are_those_of_transformers(light_twins):
    ours, theirs = light_twins
    device = next(ours.parameters()).device
    images = torch.randn(2, ours.config.in_channels, 65, 97, device=device)
    theirs.set_attn_implementation("eager")  # the only one of theirs that has the maps
    expected = theirs(images, output_attentions=True).attentions
    theirs.set_attn_implementation("sdpa")
    found = attention_maps(ours, images)
    assert [len(stage) for stage in found] == list(ours.config.depths)
    for weights, their_weights in zip(sum(found, []), expected, strict=True):
        # (B, heads, H, W, h, w) against (B, heads, H·W, h·w)
        torch.testing.assert_close(weights.flatten(4).flatten(2, 3), their_weights)
