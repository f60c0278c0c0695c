"""Weights under every published name give the logits of the model that they came from."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SegformerForImageClassification, SegformerModel

from segformer_edu import SegFormer, SegFormerConfig

B0 = {
    "hidden_sizes": [32, 64, 160, 256],
    "depths": [2, 2, 2, 2],
    "num_attention_heads": [1, 2, 5, 8],
    "decoder_hidden_size": 256,
    "num_labels": 7,
}


def save(state, path, **wrapper):
    state = {name: tensor.detach().clone() for name, tensor in state.items()}
    torch.save({"state_dict": state, **wrapper} if wrapper else state, path)
    return path


@pytest.mark.parametrize("layout, eps", [("reference", 1e-6), ("v5", 1e-5), ("smp", 1e-6)])
def test_a_layout_without_config_loads_as_the_variant_it_fits(
    layout, eps, renamers, their_model, same_logits, tmp_path
):
    theirs = their_model(block_norm_eps=eps, **B0)
    path = save(renamers[layout](theirs.state_dict()), tmp_path / "b0.pth")
    ours = SegFormer.from_pretrained(path)
    assert ours.config == SegFormerConfig.named("b0", num_classes=7, block_norm_eps=eps)
    assert not ours.training
    assert same_logits(ours, theirs)


@pytest.mark.parametrize("layout, eps", [("reference", 1e-6), ("v5", 1e-5), ("smp", 1e-6)])
def test_a_layout_loads_with_the_callers_config(
    layout, eps, renamers, their_model, same_logits, tmp_path, tiny_config
):
    theirs = their_model(block_norm_eps=eps)
    path = save(renamers[layout](theirs.state_dict()), tmp_path / "tiny.pt")
    assert same_logits(SegFormer.from_pretrained(path, tiny_config(block_norm_eps=eps)), theirs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        B0,
        {"num_channels": 1, "num_labels": 1},
        {"sr_ratios": [4, 2, 1, 1], "mlp_ratios": [2, 3, 4, 5]},
        {"patch_sizes": [5, 3, 3, 3], "strides": [2, 2, 2, 1]},
        {
            "num_encoder_blocks": 3,
            "hidden_sizes": [8, 16, 24],
            "depths": [1, 2, 1],
            "num_attention_heads": [1, 2, 3],
        },
    ],
    ids=["tiny", "b0", "one channel, one class", "ratios", "patches", "three stages"],
)
def test_a_folder_of_transformers_loads_by_its_config(
    changes, their_model, same_logits, images, tmp_path
):
    theirs = their_model(**changes)
    theirs.save_pretrained(tmp_path)
    ours = SegFormer.from_pretrained(tmp_path)
    assert ours.config.block_norm_eps == 1e-5
    if changes.get("num_channels") == 1:
        expected = theirs(images[:, :1]).logits
        torch.testing.assert_close(ours(images[:, :1]), expected, rtol=1e-5, atol=1e-5)
    else:
        assert same_logits(ours, theirs)


def test_a_file_of_transformers_without_config_loads_as_the_variant_it_fits(
    their_model, same_logits, tmp_path
):
    theirs = their_model(**B0)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    assert same_logits(SegFormer.from_pretrained(tmp_path / "model.safetensors"), theirs)


def test_training_settings_and_class_names_come_from_config_json(their_model, tmp_path):
    names = {0: "wall", 1: "sky", 2: "tree", 3: "road", 4: "grass"}
    theirs = their_model(drop_path_rate=0.3, classifier_dropout_prob=0.2, id2label=names)
    theirs.save_pretrained(tmp_path)
    config = SegFormer.from_pretrained(tmp_path).config
    assert config.class_names == ("wall", "sky", "tree", "road", "grass")
    assert (config.drop_path_rate, config.decoder_dropout) == (0.3, 0.2)


def test_generic_labels_are_not_class_names(their_model, tmp_path):
    their_model().save_pretrained(tmp_path)
    config = SegFormer.from_pretrained(tmp_path).config
    assert (config.num_classes, config.class_names) == (5, ())


@pytest.mark.parametrize("under", [None, "state_dict", "model_state_dict", "model", "ema"])
@pytest.mark.parametrize("prefix", ["module.", "model.", "net._orig_mod.", "model.module."])
def test_what_trainers_put_around_the_weights_is_taken_off(
    renamers, their_model, same_logits, tmp_path, prefix, under
):
    theirs = their_model(block_norm_eps=1e-6, **B0)
    state = renamers["reference"](theirs.state_dict())
    state = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    path = tmp_path / "a.ckpt"
    torch.save({under: state, "epoch": 3, "optimizer": {"state": {}}} if under else state, path)
    assert same_logits(SegFormer.from_pretrained(path), theirs)


def test_two_models_in_one_file_are_told_apart_by_the_user(renamers, their_model, tmp_path):
    state = renamers["reference"](their_model(block_norm_eps=1e-6, **B0).state_dict())
    torch.save({**state, **{f"module.{name}": x for name, x in state.items()}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds two models: .*module."):
        SegFormer.from_pretrained(tmp_path / "a.pth")


def test_the_five_stages_of_smp_names_are_counted_from_the_last(
    small_config, randomized, images, tmp_path
):
    config = small_config.replace(
        embed_dims=(8, 16, 24, 32, 40),
        depths=(1, 1, 1, 1, 1),
        num_heads=(1, 1, 1, 1, 1),
        reduction_ratios=(4, 2, 1, 1, 1),
        mlp_ratios=(2, 2, 2, 2, 2),
        patch_sizes=(7, 3, 3, 3, 3),
        strides=(4, 2, 2, 2, 2),
    )
    model = randomized(SegFormer(config)).eval()
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state = {
        re.sub(
            r"decode_head\.linear_c\.(\d)\.proj",
            lambda found: f"decoder.mlp_stage.{4 - int(found[1])}.linear",
            name,
        )
        .replace("decode_head.linear_fuse", "decoder.fuse_stage.0")
        .replace("decode_head.batch_norm", "decoder.fuse_stage.1")
        .replace("decode_head.classifier", "segmentation_head.0"): tensor
        for name, tensor in state.items()
    }
    for stage in range(5):
        prefix, number = f"segformer.encoder.block.{stage}.0.", stage + 1
        kv = [state.pop(f"{prefix}attention.self.{part}.weight") for part in ("key", "value")]
        state[f"encoder.block{number}.0.attn.kv.weight"] = torch.cat(kv)
        kv = [state.pop(f"{prefix}attention.self.{part}.bias") for part in ("key", "value")]
        state[f"encoder.block{number}.0.attn.kv.bias"] = torch.cat(kv)
    for theirs, smp in [
        ("attention.self.query", "attn.q"),
        ("attention.output.dense", "attn.proj"),
        ("attention.self.sr", "attn.sr"),
        ("attention.self.layer_norm", "attn.norm"),
        ("layer_norm_", "norm"),
        ("mlp.dense", "mlp.fc"),
    ]:
        state = {name.replace(theirs, smp): tensor for name, tensor in state.items()}
    for pattern, smp in [
        (r"segformer\.encoder\.patch_embeddings\.(\d)\.layer_norm", "encoder.patch_embed<{}>.norm"),
        (r"segformer\.encoder\.patch_embeddings\.(\d)", "encoder.patch_embed<{}>"),
        (r"segformer\.encoder\.layer_norm\.(\d)", "encoder.norm<{}>"),
        (r"segformer\.encoder\.block\.(\d)", "encoder.block<{}>"),
    ]:
        state = {
            re.sub(
                pattern,
                lambda found, smp=smp: smp.replace("<{}>", str(int(found[1]) + 1)),
                name,
            ): tensor
            for name, tensor in state.items()
        }
    assert not [name for name in state if name.startswith("segformer")]
    loaded = SegFormer.from_pretrained(save(state, tmp_path / "five.pth"), config)
    assert torch.equal(loaded(images), model(images))


def test_our_own_state_dict_loads_too(small_config, small_model, images, tmp_path):
    path = save(small_model.state_dict(), tmp_path / "ours.pt")
    assert torch.equal(SegFormer.from_pretrained(path, small_config)(images), small_model(images))


@pytest.mark.parametrize("layout", ["reference", "v5"])
def test_every_parameter_has_memory_of_its_own_and_learns(layout, renamers, their_model, tmp_path):
    path = save(renamers[layout](their_model(**B0).half().state_dict()), tmp_path / "a.pth")
    model = SegFormer.from_pretrained(path)
    parameters = list(model.parameters())
    assert len({x.untyped_storage().data_ptr() for x in parameters}) == len(parameters)
    for x in parameters:
        assert x.requires_grad and x.is_contiguous()
        assert (x.dtype, x.device.type) == (torch.float32, "cpu")


# Encoder-only files ----------------------------------------------------------------------------


def encoder_only(state, prefix, strip):
    """The encoder's part of a state, with or without its prefix, and an ImageNet classifier."""
    kept = {name: tensor for name, tensor in state.items() if name.startswith(prefix)}
    kept = {name.removeprefix(prefix) if strip else name: x for name, x in kept.items()}
    head = "classifier" if prefix == "segformer." else "head"
    return {**kept, f"{head}.weight": torch.randn(1000, 32), f"{head}.bias": torch.randn(1000)}


@pytest.mark.parametrize("strip", [True, False], ids=["no prefix", "prefix"])
@pytest.mark.parametrize(
    "layout, prefix, eps",
    [
        ("reference", "backbone.", 1e-6),
        ("v5", "segformer.", 1e-5),
        ("smp", "encoder.", 1e-6),
        ("mmsegmentation", "backbone.", 1e-6),
    ],
)
def test_an_encoder_alone_loads_with_a_fresh_decoder(
    layout, prefix, eps, strip, renamers, their_model, images, tmp_path
):
    theirs = their_model(block_norm_eps=eps, **B0)
    state = encoder_only(renamers[layout](theirs.state_dict()), prefix, strip)
    path = save(state, tmp_path / "mit_b0.pth")
    with pytest.raises(ValueError, match=r"encoder only.*pass num_classes"):
        SegFormer.from_pretrained(path)
    ours = SegFormer.from_pretrained(path, num_classes=3)
    expected = theirs.segformer(images, output_hidden_states=True).hidden_states
    for ours_map, their_map in zip(ours.encoder(images), expected, strict=True):
        assert (ours_map - their_map).abs().max() <= 1e-5 * their_map.abs().max()
    assert ours(images).shape[1] == 3
    assert ours.config == SegFormerConfig.named("b0", num_classes=3, block_norm_eps=eps)


def test_of_mmsegmentation_the_encoder_loads_and_the_decoder_is_said_to_be_left_out(
    renamers, their_model, images, tmp_path
):
    theirs = their_model(block_norm_eps=1e-6, **B0)
    state = renamers["mmsegmentation"](theirs.state_dict())
    state["decode_head.convs.0.bn.weight"] = torch.ones(256)
    path = save(state, tmp_path / "segformer_mit-b0.pth", meta={"epoch": 3})
    with pytest.raises(ValueError, match=r"a decoder of another kind \(decode_head.convs.0.bn.wei"):
        SegFormer.from_pretrained(path)
    with pytest.warns(UserWarning, match="decoder starts from random weights, the encoder is load"):
        ours = SegFormer.from_pretrained(path, num_classes=3)
    expected = theirs.segformer(images, output_hidden_states=True).hidden_states
    for ours_map, their_map in zip(ours.encoder(images), expected, strict=True):
        assert (ours_map - their_map).abs().max() <= 1e-5 * their_map.abs().max()


def test_the_packed_rows_of_mmsegmentation_are_those_of_torchs_own_attention(
    renamers, their_model, tmp_path
):
    """Its names are those of nn.MultiheadAttention, which is asked here what the rows mean."""
    state = renamers["mmsegmentation"](their_model(**B0).state_dict())
    ours = SegFormer.from_pretrained(save(state, tmp_path / "a.pth"), num_classes=3)
    name = "backbone.layers.3.1.1.attn.attn."
    theirs = torch.nn.MultiheadAttention(256, 8, batch_first=True)
    theirs.load_state_dict({x.removeprefix(name): state[x] for x in state if x.startswith(name)})
    tokens = torch.randn(1, 6, 256)
    expected, _ = theirs(tokens, tokens, tokens, need_weights=False)
    found = ours.encoder.stages[3].blocks[1].attention(tokens.view(1, 2, 3, 256))
    torch.testing.assert_close(found.view(1, 6, 256), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [SegformerModel, SegformerForImageClassification])
def test_a_folder_of_a_transformers_encoder_loads_with_a_fresh_decoder(
    kind, their_model, randomized, images, tmp_path
):
    labels = {label: f"breed {label}" for label in range(5)}  # the classes of its own task
    theirs = randomized(kind(their_model(id2label=labels).config)).eval()
    theirs.save_pretrained(tmp_path)
    encoder = getattr(theirs, "segformer", theirs)
    ours = SegFormer.from_pretrained(tmp_path, num_classes=5)
    expected = encoder(images, output_hidden_states=True).hidden_states
    for ours_map, their_map in zip(ours.encoder(images), expected, strict=True):
        assert (ours_map - their_map).abs().max() <= 1e-5 * their_map.abs().max()
    assert (ours.config.num_classes, ours.config.class_names) == (5, ())


def test_a_decoder_far_larger_than_the_file_is_refused_before_it_is_made(
    their_model, tiny_config, tmp_path
):
    state = encoder_only(their_model().state_dict(), "segformer.", strip=False)
    path = save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"would hold 40\d{7}: they do not belong together"):
        SegFormer.from_pretrained(path, tiny_config(decoder_dim=10**4), num_classes=3)


# Another number of classes ---------------------------------------------------------------------


def test_other_classes_start_a_fresh_classifier_and_say_so_once(their_model, tmp_path):
    theirs = their_model(id2label={i: f"name {i}" for i in range(5)})
    theirs.save_pretrained(tmp_path)
    full = SegFormer.from_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"has 5 classes, but num_classes = 9") as caught:
        ours = SegFormer.from_pretrained(tmp_path, num_classes=9)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert (ours.config.num_classes, ours.config.class_names) == (9, ())
    state, full_state = ours.state_dict(), full.state_dict()
    different = [n for n in state if not torch.equal(state[n], full_state[n])]
    assert different == ["decoder.classifier.weight", "decoder.classifier.bias"]


def test_a_fresh_classifier_is_on_the_cpu_whatever_the_default_device(their_model, tmp_path):
    their_model().save_pretrained(tmp_path)
    with torch.device("meta"), pytest.warns(UserWarning, match="random weights"):
        ours = SegFormer.from_pretrained(tmp_path, num_classes=9)
    assert {x.device.type for x in ours.state_dict().values()} == {"cpu"}


def test_the_same_number_of_classes_loads_all_without_a_warning(
    their_model, same_logits, tmp_path, recwarn
):
    theirs = their_model(id2label={i: f"name {i}" for i in range(5)})
    theirs.save_pretrained(tmp_path)
    ours = SegFormer.from_pretrained(tmp_path, num_classes=5)
    assert same_logits(ours, theirs) and len(ours.config.class_names) == 5
    assert not [w for w in recwarn if "num_classes" in str(w.message)]


@pytest.mark.parametrize("num_classes", [0, -1, 2.5, True, "5"])
def test_an_impossible_number_of_classes_is_refused(num_classes, their_model, tmp_path):
    their_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"num_classes = "):
        SegFormer.from_pretrained(tmp_path, num_classes=num_classes)


def test_the_callers_class_names_stay_with_a_fresh_decoder(their_model, tmp_path, tiny_config):
    names = ("road", "sky")
    config = tiny_config(num_classes=2, class_names=names)
    state = encoder_only(their_model().state_dict(), "segformer.", strip=False)
    path = save(state, tmp_path / "a.pth")
    assert SegFormer.from_pretrained(path, config, num_classes=2).config.class_names == names


# Strictness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["reference", "v5", "smp"])
def test_everything_that_does_not_fit_is_listed_by_both_names(
    layout, renamers, their_model, tmp_path, tiny_config
):
    state = renamers[layout](their_model().state_dict())
    names = {
        "reference": ("backbone.block2.1.attn.kv.bias", "backbone.norm3.weight"),
        "v5": (
            "segformer.stages.1.blocks.1.attention.q_proj.bias",
            "segformer.stages.2.layer_norm.weight",
        ),
        "smp": ("encoder.block2.1.attn.kv.bias", "decoder.mlp_stage.1.linear.bias"),
    }
    missing, reshaped = names[layout]
    del state[missing]
    state[reshaped] = torch.zeros(7)
    state["teacher.weight"] = torch.zeros(1)
    with pytest.raises(ValueError) as caught:
        SegFormer.from_pretrained(save(state, tmp_path / "a.pth"), tiny_config())
    message = str(caught.value)
    part = "query" if layout == "v5" else "key"
    ours = {"smp": "decoder.projections.2.bias"}.get(layout, "encoder.stages.2.norm.weight")
    assert f"missing: {missing} (ours: encoder.stages.1.blocks.1.attention.{part}.bias)" in message
    assert f"other shape: {reshaped} (ours: {ours}) is (7,) in the file" in message
    assert "unexpected: teacher.weight" in message
    assert message.count("missing:") == (1 if layout == "v5" else 2)
    assert message.count("other shape:") == message.count("unexpected:") == 1
    assert "a.pth" in message


@pytest.mark.parametrize(
    "changes, line",
    [
        (
            {"depths": (1, 1, 1, 1)},
            "unexpected: segformer.stages.1.blocks.1.attention.q_proj.weight (ours: ",
        ),
        (
            {"depths": (1, 2, 2, 1)},
            "missing: segformer.stages.2.blocks.1.attention.q_proj.weight (our",
        ),
        ({"decoder_dim": 8}, "decode_head.linear_fuse.weight (ours: decoder.fuse.weight) is "),
        ({"num_classes": 4}, "decoder.classifier.bias) is (5,) in the file, (4,) in the model"),
        ({"in_channels": 1}, "is (8, 3, 7, 7) in the file, (8, 1, 7, 7) in the model"),
        ({"reduction_ratios": (8, 4, 2, 2)}, "missing: segformer.stages.3.blocks.0.attention.seq"),
        ({"mlp_ratios": (2, 4, 4, 4)}, "is (32,) in the file, (16,) in the model"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_config_that_contradicts_the_file_is_refused_with_the_place(
    changes, line, their_model, tmp_path, tiny_config
):
    path = save(their_model().state_dict(), tmp_path / "a.pth")
    with pytest.raises(ValueError) as caught:
        SegFormer.from_pretrained(path, tiny_config(**changes))
    assert line in str(caught.value)


def test_integers_for_weights_are_refused(their_model, tmp_path, tiny_config):
    state = their_model().state_dict()
    name = "decode_head.classifier.weight"
    state = {**state, name: state[name].to(torch.int8)}
    with pytest.raises(ValueError, match=rf"other type: {name} .* is torch.int8"):
        SegFormer.from_pretrained(save(state, tmp_path / "a.pth"), tiny_config())


@pytest.mark.parametrize("kv", [torch.tensor(1.0), torch.zeros(1), torch.zeros(3, 8)])
def test_a_joint_key_and_value_that_cannot_be_halved_is_another_shape(
    kv, renamers, their_model, tmp_path, tiny_config
):
    state = renamers["reference"](their_model().state_dict())
    state["backbone.block1.0.attn.kv.weight"] = kv
    with pytest.raises(ValueError, match=r"other shape: backbone.block1.0.attn.kv.weight"):
        SegFormer.from_pretrained(save(state, tmp_path / "a.pth"), tiny_config())


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "resnet.safetensors"
    save_file({"layer1.0.conv1.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"no SegFormer in a known layout.*layer1.0.conv1.weight"):
        SegFormer.from_pretrained(path)


def test_of_much_that_does_not_fit_the_first_ten_are_listed(their_model, tmp_path, tiny_config):
    state = their_model().state_dict()
    kept = {name: x for name, x in state.items() if ".blocks.1." not in name}
    with pytest.raises(ValueError, match="does not fit the config") as caught:
        SegFormer.from_pretrained(save(kept, tmp_path / "a.pth"), tiny_config())
    lines = str(caught.value).splitlines()
    assert sum("missing:" in line for line in lines) == 10
    assert re.fullmatch(r"  … and \d\d+ more", lines[11])


def test_sizes_that_no_variant_has_ask_for_a_config(their_model, tmp_path):
    path = save(their_model().state_dict(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"embed_dims = \(8, 16, 24, 32\).* a SegFormerConfig"):
        SegFormer.from_pretrained(path)


@pytest.mark.parametrize(
    "name, tensor",
    [
        ("segformer.stages.0.patch_embeddings.proj.weight", None),
        ("segformer.stages.2.blocks.0.mlp.fc1.weight", None),
        ("segformer.stages.1.patch_embeddings.proj.weight", torch.zeros(16)),
        ("decode_head.linear_fuse.weight", torch.tensor(1.0)),
    ],
)
def test_a_size_that_cannot_be_read_is_named(name, tensor, their_model, tmp_path):
    state = their_model(**B0).state_dict()
    if tensor is None:
        del state[name]
    else:
        state = {**state, name: tensor}
    with pytest.raises(ValueError, match=rf"lacks {name} \(ours"):
        SegFormer.from_pretrained(save(state, tmp_path / "a.pth"))


def test_half_precision_weights_become_float32(their_model, tmp_path):
    their_model().to(torch.bfloat16).save_pretrained(tmp_path)
    ours = SegFormer.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
