"""A file is written completely or not at all; and where the lessons find their tables."""

import errno
import os
import subprocess
import sys

import pytest

from segformer_edu import files
from segformer_edu.files import expanded, typed, write_atomically


def test_the_name_moves_when_the_bytes_are_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []

    def fsync(descriptor):
        seen.append((path.read_bytes(), os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"new content")
    assert seen == [(b"old", 11)]
    assert path.read_bytes() == b"new content" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_does_not_fit_on_the_disk_leaves_the_old_one(tmp_path):
    """The operating system refuses to make any file longer than 100 bytes."""
    resource = pytest.importorskip("resource", reason="the limit is one of Unix")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError) as refusal:
            write_atomically(path, bytes(10**6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert refusal.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_home_folder_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as on a system without one
    with pytest.raises(ValueError, match="~ada/run' is not a path here: there is no such"):
        expanded("~ada/run")


def test_a_folder_that_is_not_there_is_no_place(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", b"")


@pytest.mark.parametrize("word", ["a b", "it's", "photos/**/*_mask", "$HOME", "ä☃", "", '"', "#x"])
def test_a_command_is_typed_so_that_the_shell_reads_it_as_meant(word):
    code = "import sys; print(ascii(sys.argv[1:]))"
    line = typed([sys.executable, "-c", code, word, "last"])
    said = subprocess.run(line, shell=True, capture_output=True, encoding="utf-8", check=True)
    assert said.stdout.strip() == ascii([word, "last"])


def test_the_experiments_tables_are_beside_the_package_or_beside_the_notebook(
    tmp_path, monkeypatch
):
    assert (files.experiments_folder() / "branches.json").exists()  # of the repository
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "files.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="put the folder experiments .* beside this noteb"):
        files.experiments_folder()
    (tmp_path / "experiments" / "claims").mkdir(parents=True)
    assert files.experiments_folder() == tmp_path / "experiments"
