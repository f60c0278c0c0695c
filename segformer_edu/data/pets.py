"""The Oxford-IIIT Pet data set: 7,349 photographs of cats and dogs, each pixel pet, background or
border.

O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar: Cats and Dogs. CVPR 2012. The data are under
the licence CC BY-SA 4.0.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from segformer_edu.checks import check_choice
from segformer_edu.data.folder import Folder
from segformer_edu.extras import install_command
from segformer_edu.files import expanded

SERVER = "https://thor.robots.ox.ac.uk/datasets/pets"
CHECKSUMS = {  # as published with torchvision; 792 MB and 19 MB
    "images.tar.gz": "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
    "annotations.tar.gz": "md5:95a8c909bbe2e81eed6a22bccdf3f68f",
}
# All that is unpacked: not the copies of macOS that begin with "._", nor boxes, nor .mat files.
WANTED = re.compile(
    r"images/\w+\.jpg|annotations/(trainval|test)\.txt|annotations/trimaps/\w+\.png", re.ASCII
)
SPLITS = ("trainval", "test")  # 3,680 and 3,669 photographs
CLASSES = ("pet", "background", "border")  # 1, 2 and 3 in the files
RESUMED, ALL_THERE = 206, 416  # what a server answers to a request for the rest of a file


class Pets(Folder):
    """Oxford-IIIT Pet, fetched if need be (811 MB; the download resumes where it stopped).

    Some files called .jpg hold a GIF or a PNG, with a palette or transparency; all come out in
    three colours. Photographs are taken as stored, as their masks were drawn.

    Args:
        split: "trainval" or "test".
        folder: where the data are or will be; by default the user's cache. It holds images/ and
            annotations/ as the archives have them, which may also be unpacked there by hand.
        border: "class" makes the border between pet and background a class of its own, "ignore"
            leaves two classes and labels it 255.
        size: as in `Folder`.

    Raises:
        ValueError: an argument that cannot be; no connection, or a download that is damaged, with
            the address and the folder for fetching by hand; or files that are missing or damaged.
            Several processes must not fetch at once: let one of them go first.
    """

    def __init__(
        self,
        split: str = "trainval",
        folder: str | Path | None = None,
        *,
        border: str = "class",
        size: int | Sequence[int] | None = None,
    ) -> None:
        check_choice(tuple(SPLITS), split=split)
        check_choice(("class", "ignore"), border=border)
        folder = fetch(folder)
        annotations = folder / "annotations"
        count = 3 if border == "class" else 2
        super().__init__(
            folder / "images",
            annotations / "trimaps",
            CLASSES[:count],
            values=(1, 2, 3)[:count],
            ignore_index=(1, 2, 3)[count:],
            size=size,
            names=read_split(annotations / f"{split}.txt"),
            upright=False,
        )


def read_split(path: Path) -> list[str]:
    """The first word of each line: the name of a photograph, without its ending."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): remove {path.parent}, and it is fetched again."
        ) from None
    return [line.split()[0] for line in lines if line.strip()]


def fetch(folder: str | Path | None = None) -> Path:
    """The folder with images/ and annotations/, each downloaded and unpacked if it is not there.

    Raises:
        ValueError: as in `Pets`.
    """
    if folder is None:
        folder = _pooch().os_cache("segformer_edu") / "pets"
    folder = expanded(folder)
    for archive in CHECKSUMS:
        if not (folder / archive.removesuffix(".tar.gz")).is_dir():
            unpack(download(archive, folder))
    return folder


def download(archive: str, folder: Path) -> Path:
    """An archive in the folder: there already with the right checksum, or from the server."""
    pooch = _pooch()
    import requests

    url = f"{SERVER}/{archive}"
    try:
        return Path(pooch.retrieve(url, CHECKSUMS[archive], archive, folder, downloader=resume))
    except (OSError, ValueError) as error:
        answered = isinstance(error, requests.HTTPError)
        if isinstance(error, requests.RequestException) and not answered:
            reason = "the connection failed"
        elif isinstance(error, OSError):  # what the server answered, or what the disk did
            reason = str(error).partition(" for url")[0]
        else:  # pooch found another checksum
            reason = "what came has a wrong checksum and was deleted"
        raise ValueError(
            f"Oxford-IIIT Pet could not be fetched from {url} ({reason}): try again with a "
            f"connection (it goes on where it stopped), or download {archive} by hand into "
            f"{folder}."
        ) from error


def resume(url: str, output_file: str, pooch: Any) -> None:
    """What pooch calls to download a file: the bytes go to a .part file, where they wait for the
    next call if the connection breaks.
    """
    import requests

    part = Path(output_file).with_name(url.rpartition("/")[2] + ".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code != ALL_THERE:
            response.raise_for_status()
            have = have if response.status_code == RESUMED else 0  # else it starts anew
            total = have + int(response.headers.get("Content-Length", 0))
            with (
                part.open("ab" if have else "wb") as file,
                tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True) as bar,
            ):
                for chunk in response.iter_content(2**16):
                    file.write(chunk)
                    bar.update(len(chunk))
    part.replace(output_file)


def unpack(archive: Path) -> None:
    """The photographs, trimaps and splits of an archive, beside it, all of them or none.

    Only names that the data set has are written, so no archive can write anywhere else.
    """
    part = archive.with_name(archive.name + ".unpacking")
    shutil.rmtree(part, ignore_errors=True)  # of a time before that was stopped
    with tarfile.open(archive) as members:
        for member in tqdm(members, f"unpacking {archive.name}", unit=" files"):
            name = str(PurePosixPath(member.name))  # without "./"
            content = members.extractfile(member) if member.isfile() else None
            if content is not None and WANTED.fullmatch(name):
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (part / name).write_bytes(content.read())
    for folder in part.iterdir():
        folder.replace(archive.parent / folder.name)
    part.rmdir()


def _pooch() -> Any:
    """pooch, which only a download needs."""
    try:
        import pooch
    except ImportError as error:
        raise ValueError(
            f"To fetch Oxford-IIIT Pet, pooch is needed: run {install_command('train')}, or give "
            f"the folder that holds images/ and annotations/."
        ) from error
    return pooch
