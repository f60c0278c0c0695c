"""Counts are short enough for a picture, and say one key but two keys."""

import pytest

from segformer_edu.widgets.words import percent, pixels, plural, short, signed


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (256, "256"), (1000, "1.00 k"), (16_384, "16.4 k"), (3_714_658, "3.71 M")]
    + [(123_456_789, "123 M"), (8_160_000_000, "8.16 G"), (2e12, "2.00 T")],
)
def test_a_count_keeps_three_digits(count, words):
    assert short(count) == words
    assert short(count, "B") == (f"{words} B" if count < 1000 else f"{words}B")


def test_nouns_agree_with_their_count():
    assert [plural(count, "key") for count in (0, 1, 2, 4096)] == [
        "0 keys",
        "1 key",
        "2 keys",
        "4,096 keys",
    ]


def test_sizes_and_percents_are_as_on_the_sliders():
    assert (pixels((384, 512)), percent(45)) == ("384 × 512", "45 %")


def test_a_sign_is_a_minus_and_no_hyphen():
    assert [signed(number) for number in (1.25, -0.734, 0)] == ["+1.25", "−0.73", "+0.00"]
