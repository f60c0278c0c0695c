"""The table of names holds, for every module and layout, the name that loading goes by."""

import pytest

from segformer_edu.checkpoints.layouts import PUBLISHED
from segformer_edu.checkpoints.names import names_in, names_table

*LAYOUTS, OWN = PUBLISHED


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_module_has_the_name_that_loading_goes_by(layout):
    names = names_in(layout)
    assert names.keys() == set(OWN.modules.values())
    for ours, theirs in names.items():
        numbers = {"stage": 1, "number": 2, "block": 0, "reversed": 2}  # the second of four stages
        expected = layout.theirs(ours.format(**numbers) + ".weight", num_stages=4)
        assert theirs.format(**numbers) + ".weight" == expected


def test_the_table_has_a_row_for_every_module_and_its_bold_lines_complete_the_names():
    begins, found = [], []
    for line in names_table().splitlines()[2:]:
        cells = [cell.strip() for cell in line.replace("<wbr>", "").split("|")[1:-1]]
        plain = [cell.strip("*").removeprefix("<code>").removesuffix("</code>") for cell in cells]
        if any("**" in cell for cell in cells):
            begins = plain
        else:
            found.append([begin + name for begin, name in zip(begins, plain, strict=True)])
    assert sorted(found) == sorted(
        [ours, *(names_in(layout)[ours] for layout in LAYOUTS)] for ours in OWN.modules.values()
    )
