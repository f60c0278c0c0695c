"""Impossible input is a ValueError that names the value, the rule and the remedy.

Each case: what is wrong, the call, and words that its message must hold, among them the offending
value (or its name) and what to do instead.
"""

import math

import numpy as np
import pytest
import torch

from segformer_edu import (
    AllMLPDecoder,
    DropPath,
    EncoderBlock,
    EncoderStage,
    MixFFN,
    MixTransformer,
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
    drop_rates,
    segmentation_loss,
)
from segformer_edu.analysis import attention_maps, cost
from segformer_edu.analysis.contributions import contributions
from segformer_edu.attention import SpatialReduction
from segformer_edu.decoder import FoldedDecoder

CONFIG = SegFormerConfig(
    num_classes=3,
    embed_dims=(4, 8),
    depths=(1, 1),
    num_heads=(1, 2),
    reduction_ratios=(2, 1),
    mlp_ratios=(1, 1),
    patch_sizes=(7, 3),
    strides=(4, 2),
    decoder_dim=8,
)
LABELS = torch.zeros(2, 16, 16, dtype=torch.long)
LOGITS = torch.zeros(2, 3, 4, 4)
NAN = math.nan


def config(**changes):
    return lambda: CONFIG.replace(**changes)


def model(images):
    return lambda: SegFormer(CONFIG)(images)


def predict(images):
    return lambda: SegFormer(CONFIG).eval().predict(images)


def views(images, dtype=torch.float32, look=SegFormer.forward, training=False):
    """A call of `look` on a model of some precision and these images."""
    model = SegFormer(CONFIG.replace(reduction_ratios=(1, 1))).to(dtype).train(training)
    return lambda: look(model, images)


def under_autocast(call):
    def inside():
        with torch.autocast("cpu", torch.bfloat16):
            return call()

    return inside


def decoder(*shapes):
    return lambda: AllMLPDecoder((4, 8), 6, 3)([torch.zeros(shape) for shape in shapes])


def loss(logits=LOGITS, labels=LABELS, ignore_index=255):
    return lambda: segmentation_loss(logits, labels, ignore_index)


CONFIG_CASES = {
    "unknown variant": (lambda: SegFormerConfig.named("b9"), "'b9'", "b0", "nano"),
    "variant by number": (lambda: SegFormerConfig.named(0), "0", "b0"),
    "variant in a list": (lambda: SegFormerConfig.named(["b0"]), "['b0']", "choose"),
    "unknown field": (config(classes=3), "'classes'", "num_classes"),
    "unknown field of a variant": (
        lambda: SegFormerConfig.named("b0", sr_ratios=(8, 4, 2, 1)),
        "'sr_ratios'",
        "reduction_ratios",
    ),
    "no classes": (config(num_classes=0), "num_classes", "0", "at least 1"),
    "classes as text": (config(num_classes="150"), "num_classes", "'150'", "whole number"),
    "classes as a fraction": (config(num_classes=2.5), "num_classes", "2.5", "whole number"),
    "classes as a truth value": (config(num_classes=True), "num_classes", "True", "whole number"),
    "negative channels": (config(in_channels=-3), "in_channels", "-3", "at least 1"),
    "decoder of no width": (config(decoder_dim=0), "decoder_dim", "0", "at least 1"),
    "no stages": (config(embed_dims=()), "embed_dims = ()", "each stage"),
    "stages by name": (config(depths={"first": 1, "second": 1}), "depths", "'first'", "each stage"),
    "stages without an order": (config(depths={1, 2}), "depths", "{1, 2}", "each stage"),
    "an array of no axes": (config(depths=np.array(3)), "depths", "array(3)", "each stage"),
    "a giant stride": (config(strides=(4, 10**30)), "strides", str(10**30), "at most 1,000,000"),
    "a giant number of classes": (config(num_classes=10**7), "num_classes", "10000000", "at most"),
    "a giant model": (
        config(embed_dims=(10**6, 10**6)),
        "parameters",
        "1e+10",
        "lower embed_dims",
    ),
    "one number for all stages": (config(depths=2), "depths", "2", "each stage"),
    "depths as text": (config(depths="22"), "depths", "'22'", "each stage"),
    "depths for too few stages": (config(depths=(2,)), "depths", "(2,)", "1", "embed_dims has 2"),
    "strides for too many stages": (config(strides=(4, 2, 2)), "strides", "3", "each stage"),
    "an empty stage": (config(depths=(0, 1)), "depths", "0", "at least 1"),
    "a negative width": (config(embed_dims=(-4, 8)), "embed_dims", "-4", "at least 1"),
    "a fractional ratio": (config(mlp_ratios=(1.5, 1)), "mlp_ratios", "1.5", "whole number"),
    "no patch": (config(patch_sizes=(0, 3)), "patch_sizes", "0", "at least 1"),
    "no step": (config(strides=(0, 2)), "strides", "0", "at least 1"),
    "reduction to nothing": (config(reduction_ratios=(2, 0)), "reduction_ratios", "0"),
    "a missing ratio": (config(reduction_ratios=(2, None)), "reduction_ratios", "None"),
    "heads that do not divide": (config(num_heads=(3, 2)), "3 heads", "4 channels", "multiple"),
    "drop path above 1": (config(drop_path_rate=1.5), "drop_path_rate", "1.5", "0 to 1"),
    "drop path below 0": (config(drop_path_rate=-0.1), "drop_path_rate", "-0.1", "0 to 1"),
    "drop path not a number": (config(drop_path_rate=NAN), "drop_path_rate", "nan", "0 to 1"),
    "drop path missing": (config(drop_path_rate=None), "drop_path_rate", "None", "0 to 1"),
    "drop path as text": (config(drop_path_rate="0.1"), "drop_path_rate", "'0.1'", "0 to 1"),
    "dropout in percent": (config(decoder_dropout=10), "decoder_dropout", "10", "0 to 1"),
    "dropout as a truth value": (config(decoder_dropout=True), "decoder_dropout", "0 to 1"),
    "unknown rule": (config(drop_path_rule="cosine"), "'cosine'", "linspace", "paper"),
    "epsilon of zero": (config(block_norm_eps=0), "block_norm_eps", "0", "1e-6"),
    "an epsilon that float32 has not": (config(block_norm_eps=1e-46), "1e-46", "1e-37", "1e-6"),
    "an array of rules": (
        config(drop_path_rule=np.array(["paper"] * 2)),
        "drop_path_rule",
        "paper",
    ),
    "negative epsilon": (config(block_norm_eps=-1e-6), "block_norm_eps", "-1e-06", "positive"),
    "epsilon as text": (config(block_norm_eps="1e-6"), "block_norm_eps", "'1e-6'"),
    "checkpointing as text": (
        config(gradient_checkpointing="yes"),
        "gradient_checkpointing",
        "'yes'",
        "True or False",
    ),
    "too few class names": (config(class_names=("road",)), "class_names", "1", "num_classes = 3"),
    "three names for one logit": (
        config(num_classes=1, class_names=("a", "b", "c")),
        "class_names has 3",
        "num_classes = 1",
    ),
    "class names as text": (config(class_names="abc"), "class_names", "'abc'", "list of strings"),
    "class names as numbers": (config(class_names=(0, 1, 2)), "class_names", "strings"),
    "class names as a count": (config(class_names=3), "class_names", "3", "list of strings"),
    "class names missing": (config(class_names=None), "class_names", "None", "list of strings"),
    "a mean without a spread": (config(image_mean=(0.5,) * 3), "3", "image_std 0", "or neither"),
    "a mean of other channels": (
        config(image_mean=(0.5,), image_std=(1.0,)),
        *("image_mean has 1", "in_channels = 3"),
    ),
    "a mean as text": (config(image_mean="0.5"), "image_mean", "'0.5'", "list of numbers"),
    "a spread of nothing": (
        config(image_mean=(0.5,) * 3, image_std=(1.0, 0.0, 1.0)),
        *("image_std = (1.0, 0.0, 1.0)", "above 0"),
    ),
    "a mean that is no number": (
        config(image_mean=(math.nan,) * 3, image_std=(1.0,) * 3),
        *("image_mean = (nan", "finite"),
    ),
}

PART_CASES = {
    "a name for a config": (lambda: SegFormer("b0"), "'b0'", "SegFormerConfig.named"),
    "a dict for a config": (lambda: MixTransformer({}), "{}", "SegFormerConfig"),
    "a stage that is not there": (lambda: EncoderStage(CONFIG, 2), "stage = 2", "0", "1"),
    "a negative stage": (lambda: EncoderStage(CONFIG, -1), "stage = -1", "0", "1"),
    "patches of size 0": (lambda: OverlapPatchEmbedding(3, 8, 0, 4), "patch_size = 0", "at least"),
    "a stride of a half": (lambda: OverlapPatchEmbedding(3, 8, 7, 0.5), "stride = 0.5", "whole"),
    "an image of no channels": (lambda: OverlapPatchEmbedding(0, 8, 7, 4), "in_channels = 0"),
    "attention of no heads": (
        lambda: SpatialReductionAttention(8, 0, 1),
        "num_heads = 0",
        "at least 1",
    ),
    "heads that do not divide a dim": (
        lambda: SpatialReductionAttention(8, 3, 1),
        "num_heads = 3",
        "8 channels",
        "multiple",
    ),
    "attention without reduction ratio": (
        lambda: SpatialReductionAttention(8, 2, 0),
        "reduction_ratio = 0",
        "at least 1",
    ),
    "reduction by a fraction": (
        lambda: SpatialReduction(8, 1.5),
        "reduction_ratio = 1.5",
        "whole number",
    ),
    "a block of no hidden width": (lambda: EncoderBlock(8, 2, 1, mlp_ratio=0), "hidden_dim = 0"),
    "a block with a bad rate": (lambda: EncoderBlock(8, 2, 1, drop_path_rate=2), "2", "0 to 1"),
    "Mix-FFN of no width": (lambda: MixFFN(8, 0), "hidden_dim = 0", "at least 1"),
    "a decoder of no width": (lambda: AllMLPDecoder((4, 8), 0, 3), "decoder_dim = 0", "at least"),
    "a decoder of no classes": (lambda: AllMLPDecoder((4, 8), 6, 0), "num_classes = 0", "at least"),
    "a decoder of no stages": (lambda: AllMLPDecoder((), 6, 3), "embed_dims = ()", "each stage"),
    "a decoder of a stage of no width": (lambda: AllMLPDecoder((4, 0), 6, 3), "embed_dims", "0"),
    "a decoder with a bad rate": (lambda: AllMLPDecoder((4, 8), 6, 3, 1.5), "1.5", "0 to 1"),
    "folding a decoder that trains": (
        lambda: FoldedDecoder(AllMLPDecoder((4, 8), 6, 3).train()),
        "training",
        "eval()",
    ),
    "unknown drop mode": (lambda: DropPath(0.1, "row"), "'row'", "sample", "batch"),
    "a schedule for no blocks": (lambda: drop_rates(0.1, 0), "depth = 0", "at least 1"),
    "a schedule for half a block": (lambda: drop_rates(0.1, 0.5), "depth = 0.5", "whole number"),
    "a schedule of truth": (lambda: drop_rates(0.1, True), "depth = True", "whole number"),
    "an unknown schedule": (lambda: drop_rates(0.1, 8, "cosine"), "'cosine'", "linspace", "paper"),
    **{
        f"a drop rate of {rate!r} in {part.__name__}": (
            lambda part=part, rate=rate, more=more: part(rate, *more),
            repr(rate),
            "0 to 1",
        )
        for part, more in ((DropPath, ()), (drop_rates, (8,)))
        for rate in (-0.1, 1.0001, NAN, math.inf, None, "0.5", True, [0.1])
    },
}

INPUT_CASES = {
    "an image without batch": (model(torch.zeros(3, 32, 32)), "(3, 32, 32)", "x[None]"),
    "an image in eight bits": (model(torch.zeros(1, 3, 32, 32).byte()), "uint8", "/ 255"),
    "an image of whole numbers": (model(torch.zeros(1, 3, 32, 32).long()), "int64", "/ 255"),
    "a complex image": (model(torch.zeros(1, 3, 32, 32, dtype=torch.cfloat)), "complex64"),
    "an image with channels last": (
        model(torch.zeros(1, 32, 32, 3)),
        "(1, 32, 32, 3)",
        "permute(0, 3, 1, 2)",
    ),
    "an image with alpha": (model(torch.zeros(1, 4, 32, 32)), "3 channels", "(1, 4, 32, 32)"),
    "an image in one grey": (model(torch.zeros(1, 1, 32, 32)), "3 channels", "(1, 1, 32, 32)"),
    "an image too low": (model(torch.zeros(1, 3, 4, 32)), "5×5", "4×32", "Enlarge"),
    "an image too narrow": (model(torch.zeros(1, 3, 32, 4)), "5×5", "32×4", "Enlarge"),
    "an empty image": (model(torch.zeros(1, 3, 0, 0)), "5×5", "0×0"),
    "an array for an image": (model(torch.zeros(1, 3, 32, 32).numpy()), "ndarray", "as_tensor"),
    "a list of images": (model([torch.zeros(3, 32, 32)]), "list", "torch"),
    "nothing for an image": (model(None), "NoneType"),
    "labels of an image without batch": (predict(torch.zeros(3, 32, 32)), "(3, 32, 32)", "x[None]"),
    "labels of an image too small": (predict(torch.zeros(1, 3, 4, 4)), "5×5", "4×4"),
    "labels of an array": (predict(torch.zeros(1, 3, 32, 32).numpy()), "ndarray", "as_tensor"),
    "labels of eight bits": (predict(torch.zeros(1, 3, 32, 32).byte()), "uint8", "/ 255"),
    **{
        f"an image in float64 for {name}": (
            views(torch.zeros(1, 3, 32, 32).double(), look=look),
            "float32",
            "float64",
            "x.float()",
            "autocast",
        )
        for name, look in {
            "the model": SegFormer.forward,
            "predict": SegFormer.predict,
            "the folded model": lambda model, x: model.folded()(x),
            "predict of the folded model": lambda model, x: model.folded().predict(x),
            "attention_maps": attention_maps,
            "contributions": contributions,
        }.items()
    },
    **{
        f"a map in float64 for {type(part).__name__}": (
            lambda part=part, give=give: part(give(torch.zeros(1, 8, 8, 8).double())),
            f"{name} has weights in torch.float32",
            "got torch.float64",
            "x.float()",
        )
        for part, name, give in (
            (OverlapPatchEmbedding(8, 8, 3, 2), "OverlapPatchEmbedding", lambda x: x),
            (SpatialReduction(8, 2), "SpatialReduction", lambda x: x),
            (SpatialReductionAttention(8, 2, 2), "SpatialReductionAttention", lambda x: x),
            (MixFFN(8, 8), "MixFFN", lambda x: x),
            (EncoderBlock(8, 2, 2), "EncoderBlock", lambda x: x),
            (MixTransformer(CONFIG.replace(in_channels=8)), "The model", lambda x: x),
            (AllMLPDecoder((8,), 6, 3), "The decoder's map 1", lambda x: [x]),
        )
    },
    "an image in half precision": (views(torch.zeros(1, 3, 32, 32).half()), "float16", "x.float()"),
    "an image in eight floating bits": (
        views(torch.zeros(1, 3, 32, 32).to(torch.float8_e4m3fn)),
        "float8_e4m3fn",
        "x.float()",
    ),
    "an image for a model in half precision": (
        views(torch.zeros(1, 3, 32, 32), torch.bfloat16),
        "weights in torch.bfloat16",
        "got torch.float32",
        "model.float()",
    ),
    "a float64 image under autocast": (
        under_autocast(views(torch.zeros(1, 3, 32, 32).double())),
        "float64",
        "x.float()",
    ),
    "a model in another half precision under autocast": (
        under_autocast(views(torch.zeros(1, 3, 32, 32), torch.float16)),
        "weights in torch.float16",
        "model.float()",
    ),
    "training on one token": (
        views(torch.zeros(1, 3, 4, 4), training=True),
        "(1, 4, 1, 1)",
        "a single token",
        "model.eval()",
    ),
    "attention maps of an encoder": (
        lambda: attention_maps(MixTransformer(CONFIG), torch.zeros(1, 3, 32, 32)),
        "MixTransformer",
        "SegFormer",
    ),
    "contributions of nothing": (lambda: contributions(None, None), "NoneType", "SegFormer"),
    "the cost of an image of truth": (
        lambda: cost(CONFIG.replace(reduction_ratios=(1, 1)), (True, 32)),
        "(True, 32)",
        "at least 1",
    ),
    "patches of a wrong channel count": (
        lambda: OverlapPatchEmbedding(3, 8, 7, 4)(torch.zeros(1, 32, 32, 3)),
        "OverlapPatchEmbedding",
        "3 channels",
        "(1, 32, 32, 3)",
    ),
    "patches of an empty image": (
        lambda: OverlapPatchEmbedding(3, 8, 7, 4)(torch.zeros(1, 3, 0, 5)),
        "1×1",
        "0×5",
    ),
    "attention to loose tokens": (
        lambda: SpatialReductionAttention(8, 2, 2)(torch.zeros(1, 16, 8)),
        "(1, 16, 8)",
        "(B, H, W, C)",
    ),
    "attention to channels second": (
        lambda: SpatialReductionAttention(8, 2, 2)(torch.zeros(1, 8, 4, 5)),
        "C = 8",
        "(1, 8, 4, 5)",
        "permute(0, 2, 3, 1)",
    ),
    "attention without a key": (
        lambda: SpatialReductionAttention(8, 2, 4)(torch.zeros(1, 3, 9, 8)),
        "4×4",
        "3×9",
        "lower the reduction ratio",
    ),
    "weights without a key": (
        lambda: SpatialReductionAttention(8, 2, 4).weights(torch.zeros(1, 9, 3, 8)),
        "4×4",
        "9×3",
    ),
    "attention to whole numbers": (
        lambda: SpatialReductionAttention(8, 2, 1)(torch.zeros(1, 4, 4, 8).int()),
        "int32",
    ),
    "reduction of a map too small": (
        lambda: SpatialReduction(8, 4)(torch.zeros(1, 3, 9, 8)),
        "4×4",
        "3×9",
    ),
    "Mix-FFN of channels second": (
        lambda: MixFFN(8, 16)(torch.zeros(1, 8, 4, 5)),
        "MixFFN",
        "C = 8",
        "permute(0, 2, 3, 1)",
    ),
    "Mix-FFN of loose tokens": (lambda: MixFFN(8, 16)(torch.zeros(1, 16, 8)), "(1, 16, 8)"),
    "a block fed another width": (lambda: EncoderBlock(8, 2, 1)(torch.zeros(1, 4, 4, 6)), "C = 8"),
    "one map for the decoder": (
        lambda: AllMLPDecoder((4, 8), 6, 3)(torch.zeros(1, 4, 8, 8)),
        "list of 2 maps",
    ),
    "a map too few": (decoder((1, 4, 8, 8)), "2 maps", "got 1"),
    "a map too many": (decoder((1, 4, 8, 8), (1, 8, 4, 4), (1, 8, 2, 2)), "2 maps", "got 3"),
    "maps in the wrong order": (
        decoder((1, 8, 4, 4), (1, 4, 8, 8)),
        "map 1",
        "4 channels",
        "(1, 8, 4, 4)",
    ),
    "maps of unlike batches": (decoder((1, 4, 8, 8), (2, 8, 4, 4)), "1 sample", "map 2", "2"),
    "maps of three axes": (decoder((4, 8, 8), (8, 4, 4)), "map 1", "(4, 8, 8)"),
    "an empty map": (decoder((1, 4, 8, 8), (1, 8, 0, 4)), "map 2", "0×4"),
}

LOSS_CASES = {
    "labels beyond the classes": (loss(labels=LABELS + 3), "[3]", "0 … 2", "Map the classes"),
    "labels below zero": (loss(labels=LABELS - 1), "[-1]", "0 … 2", "255"),
    "classes counted from one": (
        loss(labels=torch.arange(1, 4).repeat(2, 16, 6)[:, :, :16]),
        "[3]",
        "0 … 2",
        "ignore_index",
    ),
    "a mask of 255 for a binary model": (
        loss(LOGITS[:, :1], LABELS + 255, ignore_index=-1),
        "[255]",
        "0 … 1",
    ),
    "nothing to learn from": (loss(labels=LABELS + 255), "ignore_index = 255", "every pixel"),
    "a batch of nothing": (loss(LOGITS[:0], LABELS[:0]), "every pixel"),
    "labels with a channel axis": (loss(labels=LABELS[:, None]), "(2, 1, 16, 16)", "labels[:, 0]"),
    "labels of another batch": (loss(labels=LABELS[:1]), "B = 2", "(1, 16, 16)"),
    "labels as fractions": (loss(labels=LABELS.float()), "float32", "labels.long()"),
    "labels as truth values": (loss(labels=LABELS.bool()), "bool", "labels.long()"),
    "labels as an array": (loss(labels=LABELS.numpy()), "ndarray", "as_tensor"),
    "labels on another device": (loss(labels=LABELS.to("meta")), "meta", "cpu", ".to("),
    "labels of no rows": (loss(labels=LABELS[:, :0]), "(2, 0, 16)", "above zero"),
    "labels of no columns": (loss(labels=LABELS[:, :, :0]), "(2, 16, 0)", "above zero"),
    "logits without batch": (loss(logits=LOGITS[0]), "(3, 4, 4)", "(B, K, h, w)"),
    "logits after argmax": (loss(logits=LABELS), "int64", "argmax"),
    "logits of no class": (loss(logits=LOGITS[:, :0]), "(2, 0, 4, 4)", "(B, K, h, w)"),
    "logits as a list": (loss(logits=[LOGITS]), "list", "as_tensor"),
    "a fractional ignore index": (loss(ignore_index=25.5), "ignore_index = 25.5", "whole number"),
    "a giant ignore index": (loss(ignore_index=2**70), f"ignore_index = {2**70}", "whole number"),
    "no ignore index": (loss(ignore_index=None), "ignore_index = None", "whole number"),
}

CASES = CONFIG_CASES | PART_CASES | INPUT_CASES | LOSS_CASES


def test_no_case_hides_another():
    parts = CONFIG_CASES, PART_CASES, INPUT_CASES, LOSS_CASES
    assert len(CASES) == sum(map(len, parts)) >= 60


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_refused_in_plain_words(case):
    call, *words = case
    with pytest.raises(ValueError) as refusal:
        call()
    message = str(refusal.value)
    assert [word for word in words if word not in message] == [], message
    assert len(message.split()) >= 7  # a sentence, not a code
