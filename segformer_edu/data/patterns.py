"""Files by a pattern, such as photos/*_mask.png, in which * stands for the name of a picture."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

EXAMPLES = 3  # files that a refusal names, of those that do not fit


def composed(name: str) -> str:
    """A name in which each letter with a mark, such as ü, is one character. Some systems and
    programs store two: the letter, and the mark.
    """
    return unicodedata.normalize("NFC", name)


class Match(NamedTuple):
    """A file that fits a pattern.

    Attributes:
        folders: what ** stands for, such as "train/aachen"; "" without ** and at its top.
        name: what * stands for.
        path: where it is, as the pattern says it.
        place: the same from the root, by which files of two patterns are compared.
    """

    folders: str
    name: str
    path: Path
    place: str


class Pattern:
    """A folder, or a path with one * in its last part and perhaps ** before it.

    A folder is short for all image files in it. Hidden files and folders never fit, and letters fit
    large and small. Brackets and question marks mean themselves, because folders are called so.

    Args:
        what: "images" or "masks", for messages.
        path: photos, photos/*.jpg, photos/*_mask.png, or photos/**/*.jpg at any depth.
        endings: of image files. A pattern that names no ending, such as *_mask, takes them all.

    Attributes:
        fixed: letters of a file's name that the pattern gives; more of them make it more precise.

    Raises:
        ValueError: a folder that does not exist, or a * where none can be.
    """

    def __init__(self, what: str, path: Path, endings: Sequence[str]) -> None:
        self.what, self.path, self.endings = what, path, endings
        parts = path.parts if "*" in str(path) else (*path.parts, "*")
        wild = [place for place, part in enumerate(parts) if "*" in part]
        deep = len(wild) == 2 and parts[wild[0]] == "**"
        if parts[-1].count("*") != 1 or not (deep or len(wild) == 1):
            raise ValueError(
                f"{what} = {path} cannot be read as a pattern: one * in its last part stands for "
                f"the name of a picture, and one ** before it for folders, as in photos/*.jpg and "
                f"photos/**/*.jpg."
            )
        self.folder, self.deep = Path(*parts[: wild[0]]), deep
        if not self.folder.is_dir():
            raise ValueError(
                f"{what} = {path} is not a folder: give the path of one that exists, or a pattern "
                f'in quotes, such as "photos/*.jpg".'
                if path == self.folder
                else f"{what} = {path} fits nothing, because there is no folder {self.folder}: "
                f"give the path of one that exists."
            )
        before, after = parts[-1].split("*")
        self.fixed = len(before + after)
        free = "" if "." in after else f"(?:{'|'.join(map(re.escape, endings))})"
        between = "".join(re.escape(f"{part}/") for part in parts[wild[0] + 1 : -1])
        folders = "(?:(?P<folders>.+)/)?" if deep else ""
        regex = f"{folders}{between}{re.escape(before)}(?P<name>[^/]+){re.escape(after)}{free}"
        self._regex = re.compile(composed(regex), re.IGNORECASE)

    def files(self) -> list[Match]:
        """All files that fit, in the order of their paths."""
        root, matches = os.path.abspath(self.folder), []
        for inside in sorted(self._walk()):
            if found := self._regex.fullmatch(composed(inside)):
                groups, place = found.groupdict(), os.path.join(root, inside)
                path = self.folder / inside
                matches.append(Match(groups.get("folders") or "", groups["name"], path, place))
        return matches

    def nothing(self) -> ValueError:
        """The refusal of a pattern that no file fits, with some of the files that are there."""
        kind = {"images": "photograph", "masks": "mask"}[self.what]
        others = sorted(self._walk())
        there = ", ".join(others[:EXAMPLES]) + ", …" * (len(others) > EXAMPLES)
        if self.path == self.folder:
            return ValueError(
                f"{self.what} = {self.path} holds no {kind}: their names end in "
                f"{', '.join(self.endings)}. Folders inside it are searched only by a pattern, "
                f"such as {self.what} = '{self.path / '**' / '*'}'."
            )
        return ValueError(
            f"{self.what} = {self.path} fits no file. In {self.folder} there "
            f"{f'are {there}' if others else 'is none'}."
        )

    def _walk(self) -> Iterator[str]:
        """The files of the folder, as paths from there; those of folders in it only with **."""
        for folder, inner, files in os.walk(self.folder):
            inner[:] = [name for name in inner if self.deep and not name.startswith(".")]
            inside = Path(folder).relative_to(self.folder).as_posix()
            start = "" if inside == "." else f"{inside}/"
            yield from (f"{start}{name}" for name in files if not name.startswith("."))
