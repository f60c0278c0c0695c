"""A folder for each situation, in which the models that see already are."""

import shutil

import pytest
from PIL import Image
from tqdm import tqdm

from tests.situations.making import save_weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """seeing: ground, red and blue; bright: dark and bright; four: the same as seeing, of bands;
    nameless: the same without names.
    """
    folder = tmp_path_factory.mktemp("weights")
    save_weights(folder / "seeing")
    save_weights(folder / "bright", bright=True)
    save_weights(folder / "four", in_channels=4)
    save_weights(folder / "nameless", names=())
    return folder


@pytest.fixture
def place(weights, tmp_path, monkeypatch):
    shutil.copytree(weights, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    # What reads HEIC has not been loaded yet, whatever another test did.
    Image.init()
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])
    # A bar shows itself where one waits for more than a second, which depends on the machine.
    monkeypatch.setattr(tqdm, "display", lambda bar, *_, **__: True)
    return tmp_path
