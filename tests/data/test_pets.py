"""Oxford-IIIT Pet, over real HTTP from a server on loopback, with small files in its layout."""

import builtins
import hashlib
import importlib.util
import io
import re
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pooch
import pytest
from PIL import Image

from segformer_edu.data import pets
from segformer_edu.data.pets import CLASSES, Pets

TRAINVAL = ("Abyssinian_1", "Abyssinian_34", "Egyptian_Mau_14", "beagle_116", "pug_2", "pug_3")
TEST = ("Abyssinian_2", "saint_bernard_10")
FORMATS = {  # what some of the files called .jpg really are
    "Abyssinian_34": ("P", {"format": "GIF"}),
    "Egyptian_Mau_14": ("RGBA", {"format": "PNG"}),
    "beagle_116": ("CMYK", {"format": "JPEG", "quality": 100}),
    "pug_2": ("L", {"format": "JPEG", "quality": 100}),
}


def trimap(name):
    """Squares of 8 pixels: 1 is pet, 2 background, 3 border; taller than wide."""
    rng = np.random.default_rng(len(name))
    return rng.integers(1, 4, (4, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def photograph(name):
    """A file called .jpg, whose grey is 80 times the number in its trimap."""
    mode, options = FORMATS.get(name, ("RGB", {"format": "JPEG", "quality": 100}))
    exif = Image.Exif()
    if name == "pug_3":
        exif[0x0112] = 6  # its camera was held upright; its trimap was drawn on what is stored
        options = {**options, "exif": exif}
    return encoded(Image.fromarray(80 * trimap(name)).convert(mode), **options)


def encoded(picture, **options):
    content = io.BytesIO()
    picture.save(content, **options)
    return content.getvalue()


def archive(files):
    """A .tar.gz of named contents; anything but bytes is a ready member without any."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as members:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                members.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                members.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def archives():
    names = [*TRAINVAL, *TEST]
    images = {f"images/{name}.jpg": photograph(name) for name in names}
    images["images/Abyssinian_100.mat"] = b"not a photograph"
    annotations = {
        "annotations/README": b"about",
        "annotations/list.txt": b"#Image CLASS-ID SPECIES BREED ID\n",
        "annotations/trainval.txt": "".join(f"{name} 1 1 1\n" for name in TRAINVAL).encode(),
        "annotations/test.txt": "".join(f"{name} 1 1 1\n" for name in TEST).encode(),
        "annotations/xmls/pug_2.xml": b"<box/>",
        "annotations/trimaps/._Abyssinian_1.png": b"\x00\x05\x16\x07Mac OS X",
    }
    for name in names:
        mask = encoded(Image.fromarray(trimap(name)), format="PNG")
        annotations[f"annotations/trimaps/{name}.png"] = mask
    return {"images.tar.gz": archive(images), "annotations.tar.gz": archive(annotations)}


class Handler(BaseHTTPRequestHandler):
    """Serves archives, whole or from the byte that is asked for; hangs up where it is told to."""

    def do_GET(self):
        server = self.server
        name = self.path.rpartition("/")[2]
        content, start = server.archives.get(name), 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and server.resumes:
            start = int(asked[1])
        server.asked.append((name, start))
        if content is None or start >= len(content):
            self.send_error(404 if content is None else 416)
            return
        self.send_response(206 if asked and server.resumes else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = server.hang_up_at.pop(name, len(content))
        self.wfile.write(content[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server of both archives, to which the package is pointed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.archives = archives()
    server.asked, server.resumes, server.hang_up_at = [], True, {}
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(pets, "SERVER", f"http://127.0.0.1:{server.server_port}/datasets/pets")
    checksums = {
        name: f"md5:{hashlib.md5(content).hexdigest()}" for name, content in server.archives.items()
    }
    monkeypatch.setattr(pets, "CHECKSUMS", checksums)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(monkeypatch):
    """No server anywhere."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(pets, "SERVER", "http://127.0.0.1:9/datasets/pets")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_published_addresses_and_checksums():
    assert pets.SERVER == "https://thor.robots.ox.ac.uk/datasets/pets"
    assert pets.CHECKSUMS == {
        "images.tar.gz": "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
        "annotations.tar.gz": "md5:95a8c909bbe2e81eed6a22bccdf3f68f",
    }


def test_both_archives_are_fetched_once_and_unpacked(server, tmp_path, capfd):
    dataset = Pets(folder=tmp_path / "pets")
    assert [image.stem for image, _ in dataset.pairs] == list(TRAINVAL)
    assert server.asked == [("images.tar.gz", 0), ("annotations.tar.gz", 0)]
    assert "images.tar.gz: 100%" in capfd.readouterr().err  # its progress bar
    folder = tmp_path / "pets"
    assert names_in(folder) == ["annotations", "annotations.tar.gz", "images", "images.tar.gz"]
    assert names_in(folder / "annotations") == ["test.txt", "trainval.txt", "trimaps"]
    assert names_in(folder / "annotations" / "trimaps") == sorted(
        f"{name}.png" for name in (*TRAINVAL, *TEST)
    )
    assert all(name.endswith(".jpg") for name in names_in(folder / "images"))
    for path in folder.glob("*.tar.gz"):
        path.unlink()
    assert len(Pets("test", folder)) == len(TEST)
    assert len(server.asked) == 2


def test_every_kind_of_file_comes_out_in_three_colours_with_its_labels(server, tmp_path):
    dataset = Pets(folder=tmp_path)
    assert dataset.class_names == CLASSES == ("pet", "background", "border")
    for index, name in enumerate(TRAINVAL):
        image, labels = dataset.picture(index)
        np.testing.assert_array_equal(labels, trimap(name) - 1)
        assert image.shape == (32, 24, 3) and image.dtype == np.uint8
        grey = 80 * trimap(name)[..., None].astype(int)
        inner = np.s_[2:6, 2:6]  # JPEG softens edges
        assert np.abs(image[inner].astype(int) - grey[inner]).max() <= 6, name
    assert dataset.check().counts.sum() == len(TRAINVAL) * 32 * 24


def test_the_border_may_be_ignored(server, tmp_path):
    dataset = Pets("test", tmp_path, border="ignore")
    assert dataset.class_names == ("pet", "background")
    expected = np.array([0, 0, 1, 255], dtype=np.uint8)[trimap("Abyssinian_2")]
    np.testing.assert_array_equal(dataset.picture(0)[1], expected)


def test_pictures_fit_into_a_size(server, tmp_path):
    images, labels = Pets("test", tmp_path, size=16)[1]
    assert images.shape == (3, 16, 16) and labels.shape == (16, 16)


def test_without_a_folder_the_data_go_to_the_users_cache(server, tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    Pets("test")
    assert (tmp_path / "cache" / "segformer_edu" / "pets" / "images").is_dir()


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    whole = server.archives["images.tar.gz"]
    server.archives["images.tar.gz"] = whole = whole + bytes(300_000)  # zeros behind a tar are fine
    pets.CHECKSUMS["images.tar.gz"] = f"md5:{hashlib.md5(whole).hexdigest()}"
    server.hang_up_at["images.tar.gz"] = 200_000
    with pytest.raises(ValueError, match="the connection failed.*goes on where it stopped"):
        Pets(folder=tmp_path)
    assert names_in(tmp_path) == ["images.tar.gz.part"]
    have = (tmp_path / "images.tar.gz.part").stat().st_size
    assert 100_000 < have <= 200_000
    assert len(Pets(folder=tmp_path)) == len(TRAINVAL)
    assert server.asked[:2] == [("images.tar.gz", 0), ("images.tar.gz", have)]
    assert (tmp_path / "images.tar.gz").read_bytes() == whole
    assert not list(tmp_path.glob("*.part"))


def test_a_part_that_is_all_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "images.tar.gz.part").write_bytes(server.archives["images.tar.gz"])
    assert len(Pets(folder=tmp_path)) == len(TRAINVAL)


def test_a_server_that_cannot_resume_starts_anew(server, tmp_path):
    server.resumes = False
    (tmp_path / "images.tar.gz.part").write_bytes(server.archives["images.tar.gz"][:500])
    assert len(Pets(folder=tmp_path)) == len(TRAINVAL)


@pytest.mark.parametrize("part", [b"", b"of another file"])
def test_a_wrong_checksum_is_refused_and_leaves_nothing(server, tmp_path, part):
    server.archives["images.tar.gz"] = archive({"images/evil_1.jpg": b"another file"})
    (tmp_path / "images.tar.gz.part").write_bytes(part)
    with pytest.raises(ValueError, match=r"wrong checksum and was deleted.*by hand into") as error:
        Pets(folder=tmp_path)
    assert names_in(tmp_path) == []
    assert "\n" not in str(error.value)


def test_what_the_server_answers_is_passed_on(server, tmp_path):
    del server.archives["images.tar.gz"]
    with pytest.raises(ValueError, match=r"images.tar.gz \(404 [\w ]+: Not Found\)"):
        Pets(folder=tmp_path)


def test_without_a_network_one_sentence_says_so_and_what_to_do(offline, tmp_path):
    with pytest.raises(ValueError) as error:
        Pets(folder=tmp_path / "pets")
    assert str(error.value) == (
        f"Oxford-IIIT Pet could not be fetched from http://127.0.0.1:9/datasets/pets/images.tar.gz "
        f"(the connection failed): try again with a connection (it goes on where it stopped), or "
        f"download images.tar.gz by hand into {tmp_path / 'pets'}."
    )


def test_archives_fetched_by_hand_are_unpacked_without_a_network(server, tmp_path):
    for name, content in server.archives.items():
        (tmp_path / name).write_bytes(content)
    assert len(Pets("test", tmp_path)) == len(TEST)
    assert server.asked == []


def test_a_folder_that_cannot_be_written_to_is_named(server, tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(ValueError, match=r"could not be fetched.*file"):
        Pets(folder=tmp_path / "file")


def test_what_is_unpacked_is_never_half_there(server, tmp_path, monkeypatch):
    extract = tarfile.TarFile.extractfile

    def fail(self, member):
        if member.name.endswith("pug_3.jpg"):
            raise KeyboardInterrupt
        return extract(self, member)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tarfile.TarFile, "extractfile", fail)
        Pets(folder=tmp_path)
    assert not (tmp_path / "images").exists()
    (tmp_path / "images.tar.gz.unpacking" / "images" / "stale_1.jpg").write_bytes(b"")
    pets.unpack(tmp_path / "images.tar.gz")
    assert len(names_in(tmp_path / "images")) == len(TRAINVAL) + len(TEST)
    assert names_in(tmp_path) == ["images", "images.tar.gz"]


def test_an_archive_writes_only_files_of_the_data_set(tmp_path):
    link = tarfile.TarInfo("images/link_1.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "../../outside"
    hard = tarfile.TarInfo("images/link_2.jpg")
    hard.type, hard.linkname = tarfile.LNKTYPE, "images/pug_1.jpg"
    device = tarfile.TarInfo("images/device_1.jpg")
    device.type = tarfile.CHRTYPE
    hostile = {
        "../up_1.jpg": b"x",
        "images/../../up_2.jpg": b"x",
        str(tmp_path / "absolute_1.jpg"): b"x",
        str(tmp_path / "images" / "pug_2.jpg"): b"x",
        "evil/images/pug_3.jpg": b"x",
        "images/pug_4.jpg.exe": b"x",
        "images/sub/deep_1.jpg": b"x",
        "images/.._1.jpg": b"x",
        "images/script_1.sh": b"x",
        "other/pug_1.jpg": b"x",
        "link": link,
        "hard": hard,
        "device": device,
        "./images/pug_1.jpg": b"a photograph",
    }
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "images.tar.gz").write_bytes(archive(hostile))
    pets.unpack(folder / "images.tar.gz")
    written = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert sorted(written) == [
        "a",
        "a/b",
        "a/b/images",
        "a/b/images.tar.gz",
        "a/b/images/pug_1.jpg",
    ]


def test_files_that_went_missing_are_named(server, tmp_path):
    Pets(folder=tmp_path)
    (tmp_path / "images" / "pug_2.jpg").unlink()
    (tmp_path / "annotations" / "trimaps" / "pug_3.png").unlink()
    with pytest.raises(ValueError, match="(?s)pug_2.png has no photograph.*pug_3.jpg has no mask"):
        Pets(folder=tmp_path)
    assert len(Pets("test", tmp_path)) == len(TEST)
    (tmp_path / "annotations" / "test.txt").unlink()
    with pytest.raises(ValueError, match="test.txt cannot be read.*remove .*annotations"):
        Pets("test", tmp_path)


def test_a_trimap_with_another_number_is_named(server, tmp_path):
    dataset = Pets("test", tmp_path)
    path = tmp_path / "annotations" / "trimaps" / "saint_bernard_10.png"
    Image.fromarray(trimap("saint_bernard_10") * 2).save(path)
    with pytest.raises(ValueError, match="saint_bernard_10.png holds 4"):
        dataset.check()


def test_pooch_is_asked_for_only_where_something_is_fetched(server, tmp_path, monkeypatch):
    Pets(folder=tmp_path)
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name == "pooch":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.delitem(sys.modules, "pooch")
    monkeypatch.setattr(builtins, "__import__", without)
    specification = importlib.util.spec_from_file_location("pets_without_pooch", pets.__file__)
    anew = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(anew)
    assert len(anew.Pets(folder=tmp_path)) == len(TRAINVAL)
    for folder in (None, tmp_path / "elsewhere"):
        with pytest.raises(ValueError, match=r'pooch is needed: .*install.*\[train\]"'):
            anew.Pets(folder=folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"split": "train"}, "split = 'train': choose one of trainval, test"),
        ({"split": None}, "split = None"),
        ({"border": True}, "border = True: choose one of class, ignore"),
        ({"size": (16,)}, r"size = \(16,\)"),
    ],
)
def test_impossible_arguments_are_refused(server, tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        Pets(**{"folder": tmp_path, **arguments})
