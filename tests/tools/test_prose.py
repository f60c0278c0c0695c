"""Which numbers the prose of a lesson may hold."""

import pytest

from tools.prose import bare_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a loss of 0.25 and .5", ["0.25", ".5"]),
        ("3,752,694 parameters", ["3,752,694"]),
        ("sees 256 keys", ["256"]),
        ("a tolerance of 1e-5", ["1e-5"]),
        ("60 % of them, 60% and 60 percent", ["60 %", "60%", "60 percent"]),
        ("12 ms, 2 s, 30 seconds", ["12 ms", "2 s", "30 seconds"]),
        ("16 MB, 2 GB, 3 KiB, 32 px, 32 pixels", ["16 MB", "2 GB", "3 KiB", "32 px", "32 pixels"]),
        ("4 G multiply-adds, 14 million", ["4 G", "14 million"]),
        ("5× faster", ["5×"]),
        ("> boxed, 99.9 of it", ["99.9"]),
        ("cited (Table 6): 37.4\n\nnot cited: 38.0", ["38.0"]),
        ("| B0 | 37.4 (Table 6) |\n| B1 | 42.2 |", ["42.2"]),
        ("- 37.4 (Table 6)\n- 42.2", ["42.2"]),
        ("see [lesson 5](05_stochastic_depth.ipynb): 0.1", ["0.1"]),
        ("the table below: 0.1", ["0.1"]),
    ],
)
def test_a_bare_number_is_found(text, numbers):
    assert bare_numbers(text) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "lesson 07, stage 1, B0, r = 8 and 45 minutes",
        "{{keys}} keys, {{share}} %, {{ratio}}×",
        "512×512 pixels, a 3 × 256 × 256 map, an 8×8 block",
        "`x.shape == (1, 256, 32)`",
        "```\n0.25\n\n0.5\n```",
        "$\\sigma = 0.02$ and $$\n0.5\n$$",
        "<img src='a' width=300>",
        "[weights](weights-512.bin)",
        "[Xie and others](https://arxiv.org/abs/2105.15203), 2021: 37.4 mIoU",
        "arXiv:2105.15203, 37.4 mIoU",
        "37.4 mIoU (Table 6), over\ntwo lines 38.0",
        "> boxed, 37.4\n> (Section 3.1)",
        "rate 0.1 (eq. 2)",
        "rate 0.1 (Equation (2)), rate 0.1 (Appendix A)",
        "**Exercise 03.2**",
        "heads 1, 2, 5, 8 or 1,2,5,8",
    ],
)
def test_other_numbers_pass(text):
    assert bare_numbers(text) == []
