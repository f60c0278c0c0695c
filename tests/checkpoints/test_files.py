"""Where weights are read from, and that damaged or hostile files do no harm."""

import json
import os
import pickle
import struct
import sys
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from segformer_edu import SegFormer


@pytest.fixture
def folder(small_model, tmp_path):
    """A folder that save_pretrained wrote, to read from and to damage."""
    small_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def sharded(folder):
    """The same folder with its weights in two shards and an index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[::2]}
    shards["model-00002-of-00002.safetensors"] = names[1::2]
    for shard, part in shards.items():
        save_file({name: state[name] for name in part}, folder / shard)
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    write_index(folder, weight_map)
    return folder


def write_index(folder, weight_map):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


def read_index(folder):
    index = folder / "model.safetensors.index.json"
    return json.loads(index.read_text(encoding="utf-8"))["weight_map"]


def same(loaded, model):
    state = model.state_dict()
    return all(torch.equal(x, state[name]) for name, x in loaded.state_dict().items())


# Every kind of file ----------------------------------------------------------------------------


def test_a_folder_a_file_in_it_and_their_paths_as_text_load_alike(folder, small_model):
    for path in (folder, folder / "model.safetensors", str(folder), f"{folder}/"):
        assert same(SegFormer.from_pretrained(path), small_model)


def test_shards_load_from_the_folder_and_from_their_index(sharded, small_model):
    assert same(SegFormer.from_pretrained(sharded), small_model)
    index = sharded / "model.safetensors.index.json"
    assert same(SegFormer.from_pretrained(index), small_model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "iter_160000.pth", "weights.pt"])
def test_pickled_weights_load_from_their_folder(name, folder, small_model):
    torch.save(load_file(folder / "model.safetensors"), folder / name)
    (folder / "model.safetensors").unlink()
    assert same(SegFormer.from_pretrained(folder), small_model)


def test_pickled_shards_load(folder, small_model):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    weight_map = {}
    for number, part in enumerate((names[:50], names[50:]), start=1):
        shard = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
    assert same(SegFormer.from_pretrained(folder), small_model)


def test_the_zipless_format_of_old_torch_versions_loads(folder, small_model, small_config):
    path = folder / "old.pth"
    torch.save(small_model.state_dict(), path, _use_new_zipfile_serialization=False)
    assert same(SegFormer.from_pretrained(path, small_config), small_model)


def test_a_home_directory_is_understood(folder, small_model, monkeypatch):
    for name in ("HOME", "USERPROFILE"):  # the second on Windows
        monkeypatch.setenv(name, str(folder.parent))
    assert same(SegFormer.from_pretrained("~/model"), small_model)


# What is not there -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["no_such_file", "no/such/file", "weights/b0.pth", "../gone/b0", "a/b.safetensors", "a//b"],
)
def test_a_path_that_is_not_there_and_no_hub_id_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"There is no file or folder"):
        SegFormer.from_pretrained(path)


@pytest.mark.parametrize(
    "path", [None, 3, b"model", ["model"], "", "a\0b", "~nobody_of_this_name/model", "a" * 5000]
)
def test_a_value_that_cannot_be_a_path_is_refused(path, small_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (SegFormer.from_pretrained, small_model.save_pretrained):
        with pytest.raises(ValueError, match=r"is not a path"):
            call(path)
    assert list(tmp_path.iterdir()) == []  # "" once meant the folder one happened to be in


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold model.safetensors.* found none"):
        SegFormer.from_pretrained(tmp_path)


def test_a_folder_with_several_candidates_names_them(tmp_path):
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"found a.pth, b.pth"):
        SegFormer.from_pretrained(tmp_path)


def test_a_file_of_another_kind_is_refused(folder):
    with pytest.raises(ValueError, match=r"config.json ends in '.json', but weights end in"):
        SegFormer.from_pretrained(folder / "config.json")


@pytest.mark.parametrize("config", [{"depths": (1,)}, "b0", 3])
def test_anything_but_a_config_is_refused(config, folder):
    with pytest.raises(ValueError, match=r"is not a SegFormerConfig: make one"):
        SegFormer.from_pretrained(folder, config)


# Damaged and hostile weights -------------------------------------------------------------------


class Bomb:
    """Makes a folder when it is unpickled without care."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def renamed_pickle(path):
    torch.save({"a": torch.zeros(2)}, path)


def renamed_safetensors(path):
    save_file({"a": torch.zeros(2)}, path)


def huge_header(path):
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")


def header_that_is_no_json(path):
    path.write_bytes(struct.pack("<Q", 8) + b"{{{{{{{{")


def offsets_beyond_the_end(path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def zip_of_something_else(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def html_page(path):
    path.write_text("<html>404: not found</html>", encoding="utf-8")


def a_whole_model(path):
    torch.save(torch.nn.Linear(1, 1), path)


@pytest.mark.parametrize(
    "suffix, damage",
    [
        *((".safetensors", d) for d in (truncated, empty, renamed_pickle, html_page)),
        *((".safetensors", d) for d in (huge_header, header_that_is_no_json)),
        (".safetensors", offsets_beyond_the_end),
        *((".pth", d) for d in (truncated, empty, renamed_safetensors, html_page)),
        *((".bin", d) for d in (zip_of_something_else, a_whole_model)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_damaged_file_is_refused_by_name(suffix, damage, folder):
    path = folder / f"damaged{suffix}"
    if suffix == ".safetensors":
        (folder / "model.safetensors").rename(path)
    else:
        torch.save(load_file(folder / "model.safetensors"), path)
    damage(path)
    with pytest.raises(ValueError, match=rf"damaged{suffix} is not a readable"):
        SegFormer.from_pretrained(path)


def bomb_in_torch_file(path, bomb):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": bomb}, path)


def bomb_in_old_torch_file(path, bomb):
    torch.save({"a": bomb}, path, _use_new_zipfile_serialization=False)


def bomb_in_plain_pickle(path, bomb):
    path.write_bytes(pickle.dumps(bomb, protocol=2))


@pytest.mark.parametrize(
    "write", [bomb_in_torch_file, bomb_in_old_torch_file, bomb_in_plain_pickle]
)
@pytest.mark.parametrize("name", ["a.pth", "a.bin", "a.pt", "a.safetensors"])
def test_code_in_a_file_is_never_run(write, name, folder):
    victim = folder / "harm"
    write(folder / name, Bomb(victim))
    with pytest.raises(ValueError, match=rf"{name} is not a readable"):
        SegFormer.from_pretrained(folder / name)
    assert not victim.exists()
    if name != "a.safetensors":  # the file is a live bomb: read without care, it goes off
        torch.load(folder / name, weights_only=False) if write is not bomb_in_plain_pickle else (
            pickle.loads((folder / name).read_bytes())
        )
        assert victim.exists()


def test_code_in_a_shard_is_never_run(sharded):
    weight_map = read_index(sharded)
    name = next(iter(weight_map))
    bomb_in_plain_pickle(sharded / "shard.bin", Bomb(sharded / "harm"))
    write_index(sharded, {**weight_map, name: "shard.bin"})
    with pytest.raises(ValueError, match=r"shard.bin is not a readable"):
        SegFormer.from_pretrained(sharded)
    assert not (sharded / "harm").exists()


@pytest.mark.parametrize(
    "content, words",
    [
        ([torch.zeros(1)], r"holds a list; a dict of tensors"),
        (torch.zeros(1), r"holds a Tensor; a dict of tensors"),
        ({"a": 3}, r"holds 'a', a int, but"),
        ({0: torch.zeros(1)}, r"holds 0, a Tensor, but"),
        ({"a": {"b": torch.zeros(1)}}, r"holds 'a', a dict, but"),
        ({"a": torch.zeros(2, 2).to_sparse()}, r"holds 'a', a Tensor, but only named dense"),
        ({"a": torch.zeros(1).expand(10**12)}, r"holds 'a', a Tensor, but only named dense"),
        ({"a": torch.zeros(2, device="meta")}, r"holds 'a', a Tensor, but only named dense"),
        ({}, r"its first names are none: it is empty"),
        ({"state_dict": {}}, r"its first names are none: it is empty"),
    ],
    ids=[
        "list",
        "tensor",
        "number",
        "number as name",
        "nested",
        "sparse",
        "expanded",
        "meta",
        "empty",
        "empty inside",
    ],
)
def test_a_torch_file_of_something_else_says_what_it_holds(content, words, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=words):
        SegFormer.from_pretrained(tmp_path / "a.pth")


def test_what_a_file_holds_besides_tensors_is_named(tmp_path):
    torch.save({"state_dict": {}, "log": Bomb(tmp_path)}, tmp_path / "a.pth")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "whole.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "traced.pt")
    for name, words in [
        ("a.pth", r"holds more than tensors: \w+.mkdir\. Nothing in it was run"),
        ("whole.pt", r"holds more than tensors: torch.nn.modules.linear.Linear\. Nothing"),
        ("traced.pt", "is TorchScript, a program"),
    ]:
        with pytest.raises(ValueError, match=f"{name} is not a readable .* it {words}"):
            SegFormer.from_pretrained(tmp_path / name)


def test_metadata_of_safetensors_is_no_weight(folder, small_model):
    path = folder / "model.safetensors"
    save_file(load_file(path), path, metadata={"format": "pt", "epoch": "3"})
    assert same(SegFormer.from_pretrained(folder), small_model)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_named_as_such(name, tmp_path):
    (tmp_path / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match=f"{name} is a pointer .*git lfs pull"):
        SegFormer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_is_named_as_such(name, tmp_path):
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ValueError, match="holds an adapter .*merge_and_unload"):
        SegFormer.from_pretrained(tmp_path)


def test_a_run_points_to_its_weights(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "settings.yaml").write_text("steps: 1\n", encoding="utf-8")
    folder.rename(run / "best")
    torch.save({"network": {}, "optimizer": {}, "log_bytes": 3}, run / "last.pt")
    for path in (run, run / "last.pt"):
        with pytest.raises(ValueError, match=r"weights are in .*run.best: give that"):
            SegFormer.from_pretrained(path)


# Hostile indexes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shard",
    ["../stolen.safetensors", "/etc/stolen.safetensors", "sub/stolen.safetensors", "..", "", "."]
    + ["..\\stolen.safetensors", "C:stolen.safetensors", "stolen.txt", 3, None, ["a"]],
)
def test_a_shard_outside_the_folder_is_refused(shard, sharded):
    """The file that the index points to is there, and it is never opened."""
    good = sharded / "model-00001-of-00002.safetensors"
    (sharded / "sub").mkdir()
    for place in (sharded.parent, sharded / "sub"):
        (place / "stolen.safetensors").write_bytes(good.read_bytes())
    weight_map = read_index(sharded)
    name = next(iter(weight_map))
    write_index(sharded, {**weight_map, name: shard})
    with pytest.raises(ValueError, match=r"index.json names the shard .* Do not trust this file"):
        SegFormer.from_pretrained(sharded)


def test_a_shard_that_is_not_there_is_named(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model-00002-of-00002.safetensors is not a readable"):
        SegFormer.from_pretrained(sharded)


def test_a_tensor_that_no_shard_holds_is_named(sharded):
    shard = next(iter(read_index(sharded).values()))
    write_index(sharded, {**read_index(sharded), "lost.weight": shard})
    with pytest.raises(ValueError, match=r"lack lost.weight"):
        SegFormer.from_pretrained(sharded)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_a_file_that_is_not_an_index_is_refused(content, sharded):
    (sharded / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"index.json (is not readable|holds a|has no weight_map)"):
        SegFormer.from_pretrained(sharded)


# config.json -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b"not json", b"[1]", b'"b0"', b"null", b"\xff\xfe", b"[" * 100_000]
)
def test_a_config_json_that_is_not_a_json_object_is_refused_by_name(content, folder):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config.json (is not readable JSON|holds a JSON)"):
        SegFormer.from_pretrained(folder)


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("model_type", "vit", "model_type = 'vit'"),
        ("model_type", None, "model_type = None"),
        ("hidden_act", "relu", "hidden_act = 'relu': a SegFormer has 'gelu'"),
        ("hidden_sizes", "b0", "embed_dims = 'b0'"),
        ("hidden_sizes", [8, "16", 24, 32], r"embed_dims\[1\] = '16'"),
        ("hidden_sizes", [8, 16, 24], "has 4 entries but"),
        ("hidden_sizes", [], "embed_dims = \\[\\]"),
        ("hidden_sizes", {"a": 1}, "embed_dims = {'a': 1}"),
        ("depths", 2, "depths = 2"),
        ("depths", [1, 2, 1, -1], r"depths\[3\] = -1"),
        ("depths", [100, 100, 100, 100], "asks for 400 blocks: they do not belong together"),
        ("depths", [10**9] * 4, r"depths\[0\] = 1000000000"),
        ("num_attention_heads", [3, 2, 3, 4], "heads do not divide"),
        ("sr_ratios", [8, 4, 2, 0], r"reduction_ratios\[3\] = 0"),
        ("sr_ratios", [10**6, 4, 2, 1], "about 6e\\+13 parameters"),
        ("sr_ratios", [2000, 4, 2, 1], r"\(8, 8, 8, 8\) in the file, \(8, 8, 2000, 2000\) in the"),
        ("mlp_ratios", [4.5, 4, 4, 4], r"mlp_ratios\[0\] = 4.5"),
        ("patch_sizes", [2500, 3, 3, 3], r"\(8, 3, 7, 7\) in the file, \(8, 3, 2500, 2500\) in"),
        ("strides", [True, 2, 2, 2], r"strides\[0\] = True"),
        ("decoder_hidden_size", "wide", "decoder_dim = 'wide'"),
        ("decoder_hidden_size", 10**4, r"\(16, 64, 1, 1\) in the file, \(10000, 40000, 1, 1\)"),
        ("hidden_sizes", [10**9, 16, 24, 32], r"embed_dims\[0\] = 1000000000"),
        ("num_channels", 3.0, "in_channels = 3.0"),
        ("drop_path_rate", 2, "drop_path_rate = 2"),
        ("classifier_dropout_prob", "0.1", "decoder_dropout = '0.1'"),
        ("num_encoder_blocks", "4", "num_encoder_blocks = '4'"),
        ("num_encoder_blocks", 0, "num_encoder_blocks = 0"),
        ("hidden_sizes", None, "hidden_sizes is missing"),
        ("decoder_hidden_size", None, "decoder_hidden_size is missing"),
        ("id2label", ["wall"], "id2label = \\['wall'\\]"),
        ("id2label", {"1": "wall"}, "id2label = "),
        ("id2label", {"a": "wall"}, "id2label = "),
        ("id2label", {str(i): i for i in range(5)}, "class_names = "),
        ("segformer_edu", 3, "segformer_edu = 3"),
        ("segformer_edu", {"num_classes": 3}, "segformer_edu holds 'num_classes'"),
        ("segformer_edu", {"block_norm_eps": "small"}, "block_norm_eps = 'small'"),
        ("segformer_edu", {"drop_path_rule": []}, "drop_path_rule = \\[\\]"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_config_json_with_an_impossible_field_says_which(field, value, words, folder):
    path = folder / "config.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**described, field: value}), encoding="utf-8")
    with pytest.raises(ValueError, match=words) as caught:
        SegFormer.from_pretrained(folder)
    assert str(folder) in str(caught.value)


def test_a_config_json_that_contradicts_the_weights_names_the_tensors(folder):
    path = folder / "config.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**described, "decoder_hidden_size": 24}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"decode_head.linear_fuse.weight \(ours: decoder.fuse.we"):
        SegFormer.from_pretrained(folder)


def test_a_config_json_of_another_library_is_not_ours_to_read(folder, small_config, small_model):
    (folder / "config.json").write_text(
        '{"encoder_name": "mit_b0", "classes": 5}', encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"no published variant"):
        SegFormer.from_pretrained(folder)
    assert same(SegFormer.from_pretrained(folder, small_config), small_model)


def test_the_number_of_classes_may_come_from_num_labels_or_from_the_weights(folder, small_config):
    path = folder / "config.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    del described["id2label"], described["label2id"]
    for extra in ({}, {"num_labels": 5}):
        path.write_text(json.dumps({**described, **extra}), encoding="utf-8")
        assert SegFormer.from_pretrained(folder).config == small_config


# The hub ---------------------------------------------------------------------------------------


def test_a_missing_hub_client_is_a_sentence_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r'pip install --editable ".*\[hub\]"'):
        SegFormer.from_pretrained("nvidia/segformer-b0-finetuned-ade-512-512")
