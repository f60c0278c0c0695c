"""Bytes in, tensors out: files, shards, folders and hub ids; nothing in them is ever executed."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from segformer_edu.extras import install_command
from segformer_edu.files import expanded

PICKLED = (".pth", ".pt", ".bin", ".ckpt")
NESTED = ("state_dict", "model_state_dict", "model", "ema")  # where trainers put the weights
LFS_POINTER = b"version https://git-lfs"
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
INDEX = ".index.json"  # of a checkpoint in shards
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
IN_FOLDERS = (WEIGHTS, WEIGHTS + INDEX, "pytorch_model.bin", "pytorch_model.bin" + INDEX)
ON_THE_HUB = (  # the second only where the first has no weights
    [CONFIG, WEIGHTS, WEIGHTS + INDEX, "model-*-of-*.safetensors"],
    [CONFIG, "pytorch_model.bin", "pytorch_model.bin" + INDEX, "pytorch_model-*-of-*.bin"],
)
SHIPPED = Path(__file__).parent.parent / "weights"  # a folder for each name
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w", re.ASCII)  # owner/name


def locate(path_or_hub_id: str | Path) -> Path:
    """The file of weights, or its index of shards: the path itself, one in that folder or in this
    package, or a download.

    Raises:
        ValueError: nothing is there, there are several files to choose from, or a download failed.
    """
    path = expanded(path_or_hub_id)
    if path.is_dir():
        return _weights_in(path)
    if path.exists():
        return path
    if str(path_or_hub_id) in {folder.name for folder in SHIPPED.iterdir()}:
        return _weights_in(SHIPPED / path_or_hub_id)
    suffixes = (*PICKLED, ".safetensors", ".json")
    if not HUB_ID.fullmatch(str(path_or_hub_id)) or path.name.endswith(suffixes):
        raise ValueError(
            f"There is no file or folder {str(path_or_hub_id)!r}. Give the path of one that exists "
            f"or a hub id of the form owner/name."
        )
    return _weights_in(download(str(path_or_hub_id)))


def download(hub_id: str) -> Path:
    """The folder in the hub's own cache that holds a repository's weights and config."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ValueError(
            f"Loading {hub_id!r} from the hub needs huggingface_hub, which is not installed: "
            f"{install_command('hub')}. Or download the files and give their path."
        ) from error
    for patterns in ON_THE_HUB:
        try:
            folder = Path(snapshot_download(hub_id, allow_patterns=patterns))
        except Exception as error:  # from the hub, the connection or the disk
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise ValueError(
                f"{hub_id!r} is not a path here and could not be downloaded from the Hugging Face "
                f"hub: {reason}. Check the spelling and the connection, or give the path of a file."
            ) from error
        if any((folder / name).exists() for name in IN_FOLDERS):
            return folder
    raise ValueError(
        f"{hub_id!r} on the hub holds none of {', '.join(IN_FOLDERS)}: choose another, or download "
        f"its file of weights and give the path of that."
    )


def _weights_in(folder: Path) -> Path:
    """The weights in a folder: under their usual name, or the only file that can be weights."""
    if (folder / "settings.yaml").exists() and (folder / "best").is_dir():
        raise ValueError(
            f"{folder} holds a run, and its weights are in {folder / 'best'}: give that."
        )
    for name in IN_FOLDERS:
        if (folder / name).exists():
            return folder / name
    if adapters := [name for name in ADAPTERS if (folder / name).exists()]:
        raise ValueError(
            f"{folder} holds an adapter ({adapters[0]}), which changes a model and is none: merge "
            f"it into its model with peft's merge_and_unload(), and save that."
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", *PICKLED))
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise ValueError(
            f"{folder} must hold {' or '.join(IN_FOLDERS)}, or exactly one .safetensors or "
            f"{', '.join(PICKLED)} file; found {found}. Give the path of the file itself."
        )
    return files[0]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, or of all shards of an index, by name, on the CPU.

    Raises:
        ValueError: names the file that is damaged, missing, or holds something else.
    """
    if _begins_with(LFS_POINTER, path):
        raise ValueError(
            f"{path} is a pointer that Git LFS left in place of the file: run `git lfs pull` "
            f"where it lies, or download the file itself."
        )
    if path.name.endswith(INDEX):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLED:
        return _read_pickled(path)
    raise ValueError(
        f"{path} ends in {path.suffix!r}, but weights end in .safetensors, {', '.join(PICKLED)} "
        f"or {INDEX}. Rename the file to match its format, or give the file of the weights."
    )


def _begins_with(start: bytes, path: Path) -> bool:
    """Whether a file is there, and begins with these bytes."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        return file.read(len(start)) == start


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or a ValueError that names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON: {error}. Fetch it again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}; an object is needed.")
    return content


def _read_shards(index: Path) -> dict[str, Tensor]:
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise ValueError(f"{index} has no weight_map from tensor names to file names.")
    tensors: dict[str, Tensor] = {}
    for shard in dict.fromkeys(map(str, shard_of.values())):
        if re.search(r"[/\\:]", shard) or not shard.endswith((".safetensors", *PICKLED)):
            raise ValueError(
                f"{index} names the shard {shard!r}: a shard is a .safetensors or "
                f"{', '.join(PICKLED)} file in the index's own folder. Do not trust this file."
            )
        tensors |= read_tensors(index.with_name(shard))
    if absent := sorted(set(shard_of) - set(tensors)):
        raise ValueError(f"The shards of {index} lack {', '.join(absent)}. Fetch them again.")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # damaged bytes make the parser raise anything
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}): it is missing, truncated, or in "
            f"another format. Fetch it again, or rename it to match its format."
        ) from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    """A dict of tensors that torch saved, alone or where trainers put it; code in it is refused."""
    content = load_pickled(
        path,
        f"is not a readable file of weights: it {_obstacle(path)}. Nothing in it was run. If you "
        f"trust its source, open it with torch.load(path, weights_only=False) where its classes "
        f"are installed, and save its state dict alone with torch.save(model.state_dict(), path).",
    )
    if isinstance(content, dict) and {"network", "optimizer", "log_bytes"} <= set(content):
        best = path.parent / "best"
        raise ValueError(
            f"{path} is from where a run resumes; its weights are in {best}: give that."
        )
    while isinstance(content, dict) and (
        inside := [name for name in NESTED if isinstance(content.get(name), dict)]
    ):
        content = content[inside[0]]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; a dict of tensors is needed.")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not _is_dense(tensor):
            raise ValueError(
                f"{path} holds {name!r}, a {type(tensor).__name__}, but only named dense tensors "
                f"are allowed. Save the state dict alone."
            )
    return dict(content)


def _obstacle(path: Path) -> str:
    """Why a file holds no tensors to read, found out without running any of it."""
    try:
        objects = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:  # damaged bytes make the parser raise anything
        if "torchscript" in str(error):
            return "is TorchScript, a program"
        objects = []
    if not objects:
        return (
            "is missing, truncated, in another format (fetch it again, or rename it to match its "
            "format), or holds more than tensors"
        )
    return f"holds more than tensors: {', '.join(sorted(objects)[:3])}"


def load_pickled(path: Path, refusal: str) -> Any:
    """What torch saved in a file, on the CPU; nothing in it is ever executed.

    Raises:
        ValueError: the file cannot be read; the message is its path, followed by the refusal.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the parser raise anything
        raise ValueError(f"{path} {refusal}") from error


def _is_dense(tensor: Tensor) -> bool:
    """Whether a tensor has one number in the file for each of its elements."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return False
    return tensor.nbytes <= tensor.untyped_storage().nbytes()  # else it was expanded from fewer
