"""Weights from the hub, over real HTTP from a stub of it on loopback, into a cache of its own."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from segformer_edu import SegFormer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StubHub(BaseHTTPRequestHandler):
    """Answers as the hub does: a repository's list of files, and each file. It records all GETs."""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.server.fetched.append(self.path)
        self.answer(with_body=True)

    def answer(self, with_body):
        body, headers = self.find()
        self.send_response(200 if body is not None else 404)
        if body is None:
            body, headers = b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"}
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def find(self):
        for repository, files in self.server.repositories.items():
            if self.path.startswith(f"/api/models/{repository}"):
                listing = {"id": repository, "sha": COMMIT}
                if "/tree/" in self.path:
                    listing = [
                        {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                        for name, content in files.items()
                    ]
                return json.dumps(listing).encode(), {"Content-Type": "application/json"}
            for name, content in files.items():
                if self.path.startswith(f"/{repository}/resolve/") and self.path.endswith(name):
                    etag = hashlib.sha256(content).hexdigest()
                    return content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
        return None, {}

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(small_model, tmp_path):
    """A hub with one repository in safetensors among other files, and one of pickled weights."""
    folder = tmp_path / "model"
    small_model.save_pretrained(folder)
    weights = (folder / "model.safetensors").read_bytes()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    config = (folder / "config.json").read_bytes()
    pickled = (folder / "pytorch_model.bin").read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), StubHub)
    server.fetched = []
    server.repositories = {
        "lab/modern": {
            "config.json": config,
            "model.safetensors": weights,
            "pytorch_model.bin": pickled,
            "tf_model.h5": b"large",
        },
        "lab/pickled": {"config.json": config, "pytorch_model.bin": pickled, "README.md": b"hi"},
        "lab/empty": {"README.md": b"nothing here yet"},
    }
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(hub, tmp_path):
    """A function that loads hub ids one after another, in a process of its own."""

    def run(*hub_ids, **environment):
        script = (
            "import sys, torch\n"
            "from segformer_edu import SegFormer\n"
            "folder, *hub_ids = sys.argv[1:]\n"
            "for hub_id in hub_ids:\n"
            "    try:\n"
            "        model = SegFormer.from_pretrained(hub_id)\n"
            '        torch.save(model.state_dict(), f\'{folder}/{hub_id.replace("/", " ")}.pt\')\n'
            "        print('loaded')\n"
            "    except ValueError as error:\n"
            "        print(str(error).replace('\\n', ' '))\n"
        )
        return subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), *hub_ids],
            capture_output=True,
            encoding="utf-8",
            timeout=240,
            cwd=Path(__file__).parents[2],
            env={
                **{
                    name: value for name, value in os.environ.items() if "proxy" not in name.lower()
                },
                "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
                "HF_HOME": str(tmp_path / "cache"),
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "OMP_NUM_THREADS": "1",
                **environment,
            },
        )

    return run


def files(hub, repository):
    """The files of a repository that were fetched, in the order of their names."""
    paths = [path for path in hub.fetched if f"/{repository}/resolve/" in path]
    return sorted(path.rpartition("/")[2] for path in paths)


def test_a_hub_id_is_fetched_once_and_then_comes_from_the_cache(hub, fetch, small_model, tmp_path):
    first = fetch("lab/modern", "lab/modern", "lab/pickled", "lab/nothing", "lab/empty")
    assert first.returncode == 0, first.stderr
    *loaded, nothing, empty = first.stdout.splitlines()
    assert loaded == 3 * ["loaded"]
    assert "'lab/nothing' is not a path here and could not be downloaded from the" in nothing
    assert "holds none of model.safetensors" in empty
    # no other format of the same weights, and nothing for the second time
    assert files(hub, "lab/modern") == ["config.json", "model.safetensors"]
    assert files(hub, "lab/pickled") == ["config.json", "pytorch_model.bin"]
    assert "Fetching" in first.stderr  # its progress bar
    fetched = torch.load(tmp_path / "lab modern.pt", weights_only=True)
    assert all(torch.equal(x, fetched[name]) for name, x in small_model.state_dict().items())

    without_hub = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for environment in (without_hub, {"HF_HUB_OFFLINE": "1"}):
        again = fetch("lab/modern", "lab/other", **environment)
        known, unknown = again.stdout.splitlines()
        assert known == "loaded" and "Check the spelling and the connection" in unknown


def test_something_that_only_looks_like_a_hub_id_never_leaves_the_machine(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("this must not be asked of the hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    for path in ("weights/b0.pth", "weights/b0.safetensors", "a/b/c", "./a/b", "b0", "a/b.json"):
        with pytest.raises(ValueError, match=r"There is no file or folder"):
            SegFormer.from_pretrained(path)
