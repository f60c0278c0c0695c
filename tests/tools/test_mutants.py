"""Around mutmut: decorators undone, mutants located, wordings recognised, and a true list."""

import ast
import importlib
import inspect

import pytest

from tools.mutants import is_wording, listed, place, undecorated

WRITTEN = """\
class Shape:
    @property
    @twice
    def area(self):
        return self.width * self.height

    @classmethod
    def square(cls, side):
        return cls(side, side)
"""
UNDECORATED = """\
class Shape:

    def area(self):
        return self.width * self.height
    area = property(twice(area))

    @classmethod
    def square(cls, side):
        return cls(side, side)
"""


def test_decorators_that_mutmut_avoids_become_assignments():
    assert undecorated(WRITTEN) == UNDECORATED


@pytest.mark.parametrize(
    ("mutant", "expected"),
    [
        ("segformer_edu.layers.x__check_size__mutmut_12", ("layers", "_check_size")),
        ("segformer_edu.loss.xǁ_StripSumǁforward__mutmut_3", ("loss", "_StripSum.forward")),
        ("segformer_edu.training.metrics.x_scores__mutmut_1", ("training.metrics", "scores")),
    ],
)
def test_the_place_of_a_mutant_is_read_from_its_name(mutant, expected):
    assert place(mutant) == expected


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("raise ValueError('XXrate is no number: give one.XX')", True),
        ("raise ValueError('RATE IS NO NUMBER: GIVE ONE.')", True),
        ("raise ValueError(None)", False),
        ("raise ValueError('rate is no number.')", False),
    ],
)
def test_a_wording_differs_in_letters_alone(after, expected):
    assert is_wording("raise ValueError('Rate is no number: give one.')", after) == expected
    assert not is_wording("name = 'rate'", "name = 'XXrateXX'")


def test_the_list_names_functions_that_are_there():
    for module, function, line in listed():
        found = importlib.import_module(f"segformer_edu.{module}")
        for name in function.split("."):
            found = inspect.getattr_static(found, name)
        ast.parse(line if not line.endswith(":") else f"{line} pass")
