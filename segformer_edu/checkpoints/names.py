"""What every module is called in every published layout, as a table to read."""

from __future__ import annotations

from os.path import commonprefix

from segformer_edu.checkpoints.layouts import PUBLISHED, Layout


def names_table() -> str:
    """A table in Markdown: our name of each module, and its name in the other layouts.

    It has three parts: the modules of a stage, those of a block, and those of the decoder. Each
    begins with a line in bold, which holds what all names below it in the same column begin with.
    """
    *layouts, own = PUBLISHED
    ours = list(own.modules.values())
    parts = (
        [name for name in ours if name.startswith("encoder.") and ".blocks." not in name],
        [name for name in ours if ".blocks." in name],
        [name for name in ours if name.startswith("decoder.")],
    )
    theirs = [names_in(layout) for layout in layouts]
    heads = ["ours", *(layout.name.replace("_", "_<wbr>") for layout in layouts)]
    lines = [_row(heads), "|---" * len(heads) + "|"]
    for part in parts:
        columns = [part, *([names[name] for name in part] for names in theirs)]
        begins = [commonprefix(column).rpartition(".")[0] for column in columns]
        lines.append(_row([f"**{_code(begin)}**" if begin else "" for begin in begins]))
        for names in zip(*columns, strict=True):
            rest = (name.removeprefix(begin) for name, begin in zip(names, begins, strict=True))
            lines.append(_row([_code(name) for name in rest]))
    return "\n".join(lines)


def names_in(layout: Layout) -> dict[str, str]:
    """Our name of each module → its name in a layout, the same for key and value if joined."""
    names = {ours: theirs for theirs, ours in layout.modules.items()}
    attention = "encoder.stages.{stage}.blocks.{block}.attention."
    if joined := names.pop(attention + "key_value", None):
        names |= {attention + "key": joined, attention + "value": joined}
    return names


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(name: str) -> str:
    """A name that a narrow column may break after each of its dots but the first."""
    return f"<code>{name[0]}{name[1:].replace('.', '.<wbr>')}</code>"
