"""What each library calls its weights: published layouts, translated into our names.

A template such as `block{number}.{block}.attn.q` stands for one module in every stage and block.
`{stage}` counts stages from 0, `{number}` from 1, and `{reversed}` from the last one down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

from torch import Tensor

# Within one stage: their module → ours, below `encoder.stages.{stage}.`
REFERENCE = {
    "patch_embed{number}.proj": "patch_embedding.projection",
    "patch_embed{number}.norm": "patch_embedding.norm",
    "block{number}.{block}.norm1": "blocks.{block}.norm1",
    "block{number}.{block}.attn.q": "blocks.{block}.attention.query",
    "block{number}.{block}.attn.kv": "blocks.{block}.attention.key_value",  # split on arrival
    "block{number}.{block}.attn.proj": "blocks.{block}.attention.output",
    "block{number}.{block}.attn.sr": "blocks.{block}.attention.reduce.projection",
    "block{number}.{block}.attn.norm": "blocks.{block}.attention.reduce.norm",
    "block{number}.{block}.norm2": "blocks.{block}.norm2",
    "block{number}.{block}.mlp.fc1": "blocks.{block}.mix_ffn.expand",
    "block{number}.{block}.mlp.dwconv.dwconv": "blocks.{block}.mix_ffn.depthwise",
    "block{number}.{block}.mlp.fc2": "blocks.{block}.mix_ffn.contract",
    "norm{number}": "norm",
}
SELF_ATTENTION = "encoder.block.{stage}.{block}.attention.self"
HUGGING_FACE_FILE = {
    "encoder.patch_embeddings.{stage}.proj": "patch_embedding.projection",
    "encoder.patch_embeddings.{stage}.layer_norm": "patch_embedding.norm",
    "encoder.block.{stage}.{block}.layer_norm_1": "blocks.{block}.norm1",
    SELF_ATTENTION + ".query": "blocks.{block}.attention.query",
    SELF_ATTENTION + ".key": "blocks.{block}.attention.key",
    SELF_ATTENTION + ".value": "blocks.{block}.attention.value",
    "encoder.block.{stage}.{block}.attention.output.dense": "blocks.{block}.attention.output",
    SELF_ATTENTION + ".sr": "blocks.{block}.attention.reduce.projection",
    SELF_ATTENTION + ".layer_norm": "blocks.{block}.attention.reduce.norm",
    "encoder.block.{stage}.{block}.layer_norm_2": "blocks.{block}.norm2",
    "encoder.block.{stage}.{block}.mlp.dense1": "blocks.{block}.mix_ffn.expand",
    "encoder.block.{stage}.{block}.mlp.dwconv.dwconv": "blocks.{block}.mix_ffn.depthwise",
    "encoder.block.{stage}.{block}.mlp.dense2": "blocks.{block}.mix_ffn.contract",
    "encoder.layer_norm.{stage}": "norm",
}
REDUCTION = "stages.{stage}.blocks.{block}.attention.sequence_reduction"
HUGGING_FACE_MEMORY = {
    "stages.{stage}.patch_embeddings.proj": "patch_embedding.projection",
    "stages.{stage}.patch_embeddings.layer_norm": "patch_embedding.norm",
    "stages.{stage}.blocks.{block}.layernorm_before": "blocks.{block}.norm1",
    "stages.{stage}.blocks.{block}.attention.q_proj": "blocks.{block}.attention.query",
    "stages.{stage}.blocks.{block}.attention.k_proj": "blocks.{block}.attention.key",
    "stages.{stage}.blocks.{block}.attention.v_proj": "blocks.{block}.attention.value",
    "stages.{stage}.blocks.{block}.attention.o_proj": "blocks.{block}.attention.output",
    REDUCTION + ".sequence_reduction": "blocks.{block}.attention.reduce.projection",
    REDUCTION + ".layer_norm": "blocks.{block}.attention.reduce.norm",
    "stages.{stage}.blocks.{block}.layernorm_after": "blocks.{block}.norm2",
    "stages.{stage}.blocks.{block}.mlp.fc1": "blocks.{block}.mix_ffn.expand",
    "stages.{stage}.blocks.{block}.mlp.dwconv.dwconv": "blocks.{block}.mix_ffn.depthwise",
    "stages.{stage}.blocks.{block}.mlp.fc2": "blocks.{block}.mix_ffn.contract",
    "stages.{stage}.layer_norm": "norm",
}
MMSEGMENTATION = {  # 1.x; names as its users quote them (issues 1343 and 1380 of mmsegmentation)
    "layers.{stage}.0.projection": "patch_embedding.projection",
    "layers.{stage}.0.norm": "patch_embedding.norm",
    "layers.{stage}.1.{block}.norm1": "blocks.{block}.norm1",
    "layers.{stage}.1.{block}.attn.attn.in_proj": "blocks.{block}.attention.query_key_value",
    "layers.{stage}.1.{block}.attn.attn.out_proj": "blocks.{block}.attention.output",
    "layers.{stage}.1.{block}.attn.sr": "blocks.{block}.attention.reduce.projection",
    "layers.{stage}.1.{block}.attn.norm": "blocks.{block}.attention.reduce.norm",
    "layers.{stage}.1.{block}.norm2": "blocks.{block}.norm2",
    "layers.{stage}.1.{block}.ffn.layers.0": "blocks.{block}.mix_ffn.expand",
    "layers.{stage}.1.{block}.ffn.layers.1": "blocks.{block}.mix_ffn.depthwise",
    "layers.{stage}.1.{block}.ffn.layers.4": "blocks.{block}.mix_ffn.contract",
    "layers.{stage}.2": "norm",
}
OURS = {"stages.{stage}." + module: module for module in HUGGING_FACE_FILE.values()}


def _decoder(projection: str, fuse: str, norm: str, classifier: str) -> dict[str, str]:
    return {
        projection: "decoder.projections.{stage}",
        fuse: "decoder.fuse",
        norm: "decoder.norm",
        classifier: "decoder.classifier",
    }


@dataclass(frozen=True)
class Layout:
    """One way to name the weights.

    Args:
        name: what messages call it.
        block_norm_eps: epsilon of the block and stage norms of the models that use this layout.
        prefix: what precedes the encoder's modules in a file that holds the decoder too.
        encoder: their module → ours, within one stage.
        decoder: their module → ours.
        dead: their modules that take no part in the forward pass.
    """

    name: str
    block_norm_eps: float
    prefix: str
    encoder: Mapping[str, str]
    decoder: Mapping[str, str]
    dead: tuple[str, ...] = ()

    @cached_property
    def modules(self) -> dict[str, str]:
        """Their module → ours, in full."""
        encoder = {
            self.prefix + theirs: "encoder.stages.{stage}." + ours
            for theirs, ours in self.encoder.items()
        }
        return {**encoder, **self.decoder}

    def ours(self, theirs: str, num_stages: int) -> str | None:
        """Our name for their tensor, or None if the layout has no such tensor."""
        return _renamed(theirs, self.modules, num_stages)

    def theirs(self, ours: str, num_stages: int) -> str | None:
        """Their name for our tensor, or None; they may keep key and value in one tensor."""
        modules = {ours: theirs for theirs, ours in self.modules.items()}
        joint = re.sub(r"attention\.(key|value)\.", "attention.key_value.", ours)
        return _renamed(ours, modules, num_stages) or _renamed(joint, modules, num_stages)


PUBLISHED = (
    Layout(
        "reference",
        1e-6,
        "backbone.",
        REFERENCE,
        _decoder(
            "decode_head.linear_c{number}.proj",
            "decode_head.linear_fuse.conv",
            "decode_head.linear_fuse.bn",
            "decode_head.linear_pred",
        ),
        dead=("decode_head.conv_seg.",),
    ),
    Layout(
        "Hugging Face file",
        1e-5,
        "segformer.",
        HUGGING_FACE_FILE,
        _decoder(
            "decode_head.linear_c.{stage}.proj",
            "decode_head.linear_fuse",
            "decode_head.batch_norm",
            "decode_head.classifier",
        ),
    ),
    Layout(
        "Hugging Face in memory",
        1e-5,
        "segformer.",
        HUGGING_FACE_MEMORY,
        _decoder(
            "decode_head.linear_projections.{stage}.proj",
            "decode_head.linear_fuse",
            "decode_head.batch_norm",
            "decode_head.classifier",
        ),
    ),
    Layout(
        "segmentation_models_pytorch",
        1e-6,
        "encoder.",
        REFERENCE,
        _decoder(
            "decoder.mlp_stage.{reversed}.linear",
            "decoder.fuse_stage.0",
            "decoder.fuse_stage.1",
            "segmentation_head.0",
        ),
    ),
    Layout(
        "segformer_edu",
        1e-6,
        "encoder.",
        OURS,
        _decoder(
            "decoder.projections.{stage}", "decoder.fuse", "decoder.norm", "decoder.classifier"
        ),
    ),
)
HUGGING_FACE = PUBLISHED[1]  # the layout that is written
ENCODERS = (  # whose decoder is another one
    Layout("mmsegmentation 1.x", 1e-6, "backbone.", MMSEGMENTATION, {}, dead=("decode_head.",)),
)
KNOWN = (*PUBLISHED, *ENCODERS)
LAYOUTS = [replace(layout, prefix=prefix) for layout in KNOWN for prefix in (layout.prefix, "")]

# What trainers put before all names: DistributedDataParallel, Lightning and others, torch.compile.
WRAPPERS = re.compile(r"^((module|model|net|network|_orig_mod)\.)+|(?<=\.)_orig_mod\.")
INDEX = "(?P<{}>0|[1-9][0-9]{{0,3}})"  # few digits: no name has 10 ** 18
LEAF = r"\.(?P<leaf>weight|bias|running_mean|running_var|num_batches_tracked)"


@dataclass(frozen=True)
class Weights:
    """The tensors of a file under our names, and where each came from.

    Args:
        source: the file or folder, for messages.
        layout: the layout that explains most of the names.
        tensors: our name → tensor.
        origins: our name → theirs.
        unexpected: their names that the layout does not explain.
        foreign: a name, if there is one, of a part that is left out.
        random: our prefix for what starts from random weights instead.
    """

    source: str
    layout: Layout
    tensors: Mapping[str, Tensor]
    origins: Mapping[str, str]
    unexpected: tuple[str, ...]
    foreign: str | None = None
    random: str | None = None

    @property
    def num_stages(self) -> int:
        return len({name.split(".")[2] for name in self.tensors if name.startswith("encoder.")})

    @property
    def num_classes(self) -> int | None:
        return self.size("decoder.classifier.weight", 0)

    @property
    def has_decoder(self) -> bool:
        return any(name.startswith("decoder.") for name in self.tensors)

    def size(self, name: str, axis: int) -> int | None:
        """The length of one axis of one of our tensors, None if the file lacks it."""
        shape = self.tensors[name].shape if name in self.tensors else ()
        return shape[axis] if axis < len(shape) else None

    def their_name(self, ours: str) -> str:
        """What a tensor is called in the file, or would be called."""
        return self.origins.get(ours) or self.layout.theirs(ours, self.num_stages) or "no name"


def translate(tensors: Mapping[str, Tensor], source: str) -> Weights:
    """Tensors under the names of any layout → under our names.

    Raises:
        ValueError: no layout explains any name.
    """
    full_names = list(tensors)
    names = {_bare(name): name for name in full_names}
    if len(names) < len(full_names):
        once = set(names.values())
        twice = next(name for name in full_names if name not in once)
        raise ValueError(
            f"{source} holds two models: {twice} and {names[_bare(twice)]}. Save the one that you "
            f"want alone."
        )
    layout, ours = max(
        ((layout, _translation(layout, names)) for layout in LAYOUTS), key=lambda pair: len(pair[1])
    )
    if not ours:
        raise ValueError(
            f"{source} holds no SegFormer in a known layout "
            f"({', '.join(layout.name for layout in KNOWN)}); its first names are "
            f"{', '.join(full_names[:3]) or 'none: it is empty'}."
        )
    found: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for theirs, name in ours.items():
        for part, tensor in _split(name, tensors[names[theirs]]):
            found[part], origins[part] = tensor, names[theirs]
    ignored = layout.dead
    if not any(name.startswith("decoder.") for name in found):  # left over from ImageNet
        ignored += tuple(p + head for p in ("", layout.prefix) for head in ("head.", "classifier."))
    unexpected = [
        full for name, full in names.items() if name not in ours and not name.startswith(ignored)
    ]
    foreign = next((full for name, full in names.items() if name.startswith(layout.dead)), None)
    return Weights(source, layout, found, origins, tuple(unexpected), foreign)


def _bare(name: str) -> str:
    """A name without what trainers put before it; torch's own attention joins with _."""
    return re.sub(r"\bin_proj_(?=weight$|bias$)", "in_proj.", WRAPPERS.sub("", name))


def _translation(layout: Layout, names: Iterable[str]) -> dict[str, str]:
    """Their name → ours, for the names that the layout explains."""
    ours = [layout.ours(name, num_stages=0) or "" for name in names]
    stages = [int(name.split(".")[2]) for name in ours if name.startswith("encoder.")]
    num_stages = max(stages, default=0) + 1  # needed for stages counted from the last
    pairs = ((name, layout.ours(name, num_stages)) for name in names)
    return {theirs: name for theirs, name in pairs if name}


def _split(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
    """Split joint queries, keys and values, as many rows of each; make a Linear of a 1×1 conv."""
    if found := re.search(r"\.((?:query_)?key_value)\.", name):
        parts = found[1].split("_")
        rows = tensor.tensor_split(len(parts)) if tensor.ndim else [tensor] * len(parts)
        return [(name.replace(found[1], part), x) for part, x in zip(parts, rows, strict=True)]
    if tensor.ndim == 4 and re.search(r"\.mix_ffn\.(expand|contract)\.weight$", name):
        tensor = tensor.flatten(1)
    return [(name, tensor)]


def _renamed(name: str, modules: Mapping[str, str], num_stages: int) -> str | None:
    """Translate a tensor's name by the first template that it fits."""
    for template, module in modules.items():
        if found := _pattern(template).fullmatch(name):
            index = {key: int(digits) for key, digits in found.groupdict().items() if key != "leaf"}
            stage = index.get("stage", index.get("number", 1) - 1)
            if "reversed" in index:
                stage = num_stages - 1 - index["reversed"]
            indices = {"stage": stage, "number": stage + 1, "reversed": num_stages - 1 - stage}
            return module.format(**index | indices) + "." + found["leaf"]
    return None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A template as a regular expression with one group for each index."""
    pieces = re.split(r"\{(\w+)\}", template)  # text, index, text, index, …
    pieces[0::2] = map(re.escape, pieces[0::2])
    pieces[1::2] = map(INDEX.format, pieces[1::2])
    return re.compile("".join(pieces) + LEAF)
