"""Exercises of lesson 02, the cost of attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal, uses


def entries(height: int, width: int, patch: int, heads: int) -> int:
    """Entries of the attention matrices of one layer, where the sides are multiples of the
    patch.
    """
    tokens = (height // patch) * (width // patch)
    return heads * tokens**2  # a weight for every pair of tokens, in every head


@exercise(
    "02.1",
    "Count the entries",
    stars=1,
    minutes=4,
    solution=entries,
    hints=[
        "Two steps: how many tokens are there, and how many pairs do they make?",
        "A patch is `patch` pixels tall and `patch` pixels wide, so count the tokens per side.",
        "Every token attends to every token, itself included. That makes N² entries in each head.",
    ],
    takeaway="each head has N² entries, and N itself grows with the square of the image's side.",
)
def examine_entries(answer: Callable[..., int]) -> str | None:
    def tokens(height: int, width: int, patch: int) -> int:
        return (height // patch) * (width // patch)

    def draw(rng: Random) -> tuple[int, ...]:
        patch = rng.randint(1, 9)
        return patch * rng.randint(1, 9), patch * rng.randint(1, 9), patch, rng.randint(1, 5)

    return diagnose(
        answer,
        entries,
        [(512, 512, 16, 12), (64, 96, 4, 2), (224, 224, 32, 1), *drawn(draw)],
        {
            "this is the number of tokens. The matrix has a row for each of them, and how many "
            "columns?": lambda h, w, p, heads: tokens(h, w, p),
            "the tokens are counted once in every head. But how many pairs do they make?": (
                lambda h, w, p, heads: heads * tokens(h, w, p)
            ),
            "this is the number of pixels, not the number of pairs of tokens.": (
                lambda h, w, p, heads: h * w
            ),
            "this is the matrix of one head, but every head has its own.": (
                lambda h, w, p, heads: tokens(h, w, p) ** 2
            ),
            "the heads are squared as well. Each head has its own matrix; heads do not attend to "
            "one another.": lambda h, w, p, heads: (heads * tokens(h, w, p)) ** 2,
            "this is divided by the heads. They divide the channels and not the tokens, so every "
            "head has a full matrix.": lambda h, w, p, heads: tokens(h, w, p) ** 2 // heads,
            "the pixels are divided by the patch size once, but a patch is that many pixels tall "
            "and that many wide.": lambda h, w, p, heads: heads * (h * w // p) ** 2,
            "every pixel is a token here. What does the patch size do?": (
                lambda h, w, p, heads: heads * (h * w) ** 2
            ),
            "this is right for a square image. Others have more columns of tokens than rows, or "
            "fewer.": lambda h, w, p, heads: heads * (h // p) ** 4,
            "a token attends to itself as well, so that pair counts too.": (
                lambda h, w, p, heads: heads * tokens(h, w, p) * (tokens(h, w, p) - 1)
            ),
            "these are bytes, four for each entry. Count the entries.": (
                lambda h, w, p, heads: 4 * heads * tokens(h, w, p) ** 2
            ),
        },
    )


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Eq. 1 of the paper, for one head: queries, keys and values `(N, d)` → `(N, d)`."""
    scores = q @ k.T / math.sqrt(q.shape[-1])  # (N, N): a row for each query
    return scores.softmax(dim=-1) @ v


@exercise(
    "02.2",
    "Attention in matrix form",
    stars=1,
    minutes=6,
    solution=attend,
    hints=[
        "Begin with the shapes: which product of q and k has a row for each query and a column for "
        "each key?",
        "The queries come first, so they become the rows, and k has to be transposed.",
        "Divide by the root of the width, take the softmax along the keys, and mix the values with "
        "it.",
    ],
    takeaway="attention is three steps: compare, share out, mix.",
)
def examine_attend(answer: Callable[..., Tensor]) -> str | None:
    def case(rng: Random, tokens: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (normal(rng, tokens, width) for _ in range(3))
        return q, k, v

    def draw(rng: Random) -> tuple[Tensor, Tensor, Tensor]:
        return case(rng, rng.randint(1, 9), rng.randint(1, 9))

    def root(q: Tensor) -> float:
        return math.sqrt(q.shape[-1])

    rng = Random(0)
    cases = [case(rng, 9, 4), case(rng, 16, 25), case(rng, 3, 8), large_scores(rng, 6)]
    diagnosis = diagnose(
        answer,
        attend,
        [*cases, *drawn(draw)],
        {
            "the columns sum to one, and the rows do not. Each query shares out a weight of one, "
            "and a query is a row.": lambda q, k, v: (q @ k.T / root(q)).softmax(0) @ v,
            "keys and queries are swapped: here every key attends to the queries.": (
                lambda q, k, v: (k @ q.T / root(q)).softmax(-1) @ v
            ),
            "keys and values are swapped. A token is found by its key, and its value is what it "
            "passes on.": lambda q, k, v: (q @ v.T / root(q)).softmax(-1) @ k,
            "the scores are too large, because equation 1 divides them first.": (
                lambda q, k, v: (q @ k.T).softmax(-1) @ v
            ),
            "the scores are divided by d. But the spread of a sum of d products grows more slowly "
            "than that.": lambda q, k, v: (q @ k.T / q.shape[-1]).softmax(-1) @ v,
            "the scores are divided by √d rounded to a whole number. Widths that are no squares "
            "need the root as it is.": (
                lambda q, k, v: (q @ k.T / math.isqrt(q.shape[-1])).softmax(-1) @ v
            ),
            "the scores are divided by the root of the number of tokens. But a single score does "
            "not grow with it: a score is a sum over the channels.": (
                lambda q, k, v: (q @ k.T / math.sqrt(len(k))).softmax(-1) @ v
            ),
            "the softmax comes first and the division after it, so the rows do not sum to one.": (
                lambda q, k, v: (q @ k.T).softmax(-1) / root(q) @ v
            ),
            "the weights mix the keys. A token is found by its key, but it passes on its value.": (
                lambda q, k, v: (q @ k.T / root(q)).softmax(-1) @ k
            ),
            "the matrix of weights is transposed before it mixes the values. Its rows belong to "
            "the queries already.": lambda q, k, v: (q @ k.T / root(q)).softmax(-1).T @ v,
            "the scores themselves are the weights here: no softmax has turned them into shares.": (
                lambda q, k, v: q @ k.T / root(q) @ v
            ),
            "the weights are e to the scores, and nothing divides them by their sum. A query's "
            "weights should sum to one.": lambda q, k, v: (q @ k.T / root(q)).exp() @ v,
            "the scores are multiplied by the root, so they spread further still. Which way does "
            "equation 1 go?": lambda q, k, v: (q @ k.T * root(q)).softmax(-1) @ v,
            "these are the weights, one for each key. What should they mix?": (
                lambda q, k, v: (q @ k.T / root(q)).softmax(-1)
            ),
            "channels look at channels here, because qᵀ k is a (d, d) matrix. Every token should "
            "ask every token, which makes it (N, N).": (
                lambda q, k, v: v @ (q.T @ k / root(q)).softmax(-1)
            ),
        },
        {OVERFLOWS: lambda q, k, v: (q @ k.T).max() < LARGE},
    )
    if diagnosis is None and uses(answer, cases[0], "attention"):
        return (
            "the numbers are right, but PyTorch's own attention has computed them. The exercise "
            "asks you to write it out."
        )
    return diagnosis


SMALL, LARGE = 20, 60  # e to such scores is no problem for float32, e to the 89 is
OVERFLOWS = (
    "this is right for small scores, but e to the 89 is more than float32 can hold, and ∞/∞ is not "
    "a number. Subtract each row's largest score first, or use softmax, which does so."
)


def large_scores(rng: Random, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys of whole numbers, so that scores in the hundreds are exact."""
    q, k = ((size * normal(rng, tokens, 4)).round() for size in (12, 8))
    return q.abs(), k, normal(rng, tokens, 4)


def multi_head(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """Attention in every head by itself: `(B, N, C)` three times → `(B, N, C)`."""

    def heads(x: Tensor) -> Tensor:  # (B, N, C) → (B, heads, N, d)
        return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    q, k, v = heads(q), heads(k), heads(v)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, N, N)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


@exercise(
    "02.3",
    "Attention in several heads",
    stars=2,
    minutes=10,
    solution=multi_head,
    hints=[
        "Each head gets a run of neighbouring channels of every token, so split the last axis "
        "first.",
        "unflatten(-1, (num_heads, -1)) gives (B, N, heads, d); the product needs (B, heads, N, "
        "d). Move axes with transpose, because a reshape would mix up the numbers.",
        "The d under the root is the width of one head. At the end, transpose back before you "
        "flatten.",
    ],
    takeaway="reshape splits axes, and only transpose moves them: split, move, attend, move back, "
    "join.",
)
def examine_multi_head(answer: Callable[..., Tensor]) -> str | None:
    def case(
        rng: Random, batch: int, tokens: int, width: int, heads: int
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        q, k, v = (normal(rng, batch, tokens, width * heads) for _ in range(3))
        return q, k, v, heads

    def draw(rng: Random) -> tuple[Tensor, Tensor, Tensor, int]:
        return case(rng, rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 5), rng.randint(1, 4))

    def attention(
        split: Callable[[Tensor, int], Tensor],
        join: Callable[[Tensor], Tensor],
        divisor: Callable[[Tensor, int], float],
        axis: int = -1,
    ) -> Callable[..., Tensor]:
        def run(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
            parts = [split(x, heads) for x in (q, k, v)]
            scores = parts[0] @ parts[1].transpose(-2, -1) / divisor(q, heads)
            return join(scores.softmax(axis) @ parts[2])

        return run

    def split(x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def view(x: Tensor, heads: int) -> Tensor:
        return x.reshape(len(x), heads, x.shape[1], -1)

    def interleave(x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)

    def join(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def glue(x: Tensor) -> Tensor:
        return x.reshape(len(x), x.shape[2], -1)

    def root(q: Tensor, heads: int) -> float:
        return math.sqrt(q.shape[-1] / heads)

    rng = Random(0)
    return diagnose(
        answer,
        multi_head,
        [case(rng, 2, 6, 4, 2), case(rng, 2, 5, 3, 4), *drawn(draw)],
        {
            "the scores are divided by the root of C. But a score in one head is a sum of fewer "
            "products than that.": attention(split, join, lambda q, heads: math.sqrt(q.shape[-1])),
            "the scores are not divided by anything. What does equation 1 ask for?": (
                attention(split, join, lambda q, heads: 1)
            ),
            "the scores are divided by d, the width of a head. Equation 1 has its square root.": (
                attention(split, join, lambda q, heads: q.shape[-1] / heads)
            ),
            "the scores are divided by the root of the number of heads. Equation 1 has the width "
            "of one head there.": attention(split, join, lambda q, heads: math.sqrt(heads)),
            "the scores are multiplied by √d here, but equation 1 divides them by it.": (
                attention(split, join, lambda q, heads: 1 / root(q, heads))
            ),
            "the weights of each key sum to one over the queries. Each query divides a weight of "
            "one among the keys, so the softmax runs over the keys, the last axis.": (
                attention(split, join, root, axis=-2)
            ),
            "the softmax runs over the heads, which should be kept apart.": (
                attention(split, join, root, axis=1)
            ),
            "keys and values are swapped. A token is found by its key, and its value is what it "
            "passes on.": lambda q, k, v, heads: multi_head(q, v, k, heads),
            "there is one head here, as wide as C: num_heads is not used.": (
                lambda q, k, v, heads: multi_head(q, k, v, 1)
            ),
            "(B, N, C) was reshaped to (B, heads, N, d) in one go. The shape is right, but the "
            "numbers are in the wrong place: heads get different tokens instead of different "
            "channels.": attention(view, glue, root),
            "the split is right, but the join is not. (B, heads, N, d) became (B, N, C) by a "
            "reshape alone, which mixes tokens.": attention(split, glue, root),
            "each head takes channels at regular intervals instead of d neighbours: the last axis "
            "is split the other way round.": attention(interleave, join, root),
            "each head takes channels at regular intervals, and puts its answers there too. But "
            "head 1 should have the first channels.": attention(
                interleave, lambda x: x.permute(0, 2, 3, 1).flatten(2), root
            ),
            "the join is right, but the split is not. A reshape from (B, N, C) to (B, heads, N, d) "
            "splits the list of tokens, not the channels.": attention(view, join, root),
            "the heads attend to one another, inside each token: without the transpose the product "
            "runs over the heads' axis.": attention(
                lambda x, heads: x.unflatten(-1, (heads, -1)), lambda x: x.flatten(2), root
            ),
        },
        {
            "this is right for one head. What changes when there are several?": (
                lambda q, k, v, heads: heads == 1
            )
        },
    )


def largest_side(gibibytes: float, patch: int, heads: int) -> int:
    """The side of the largest square image for which the attention matrices of one layer fit into
    the memory in float32.
    """
    entries_a_head = int(gibibytes * 2**30 / 4 / heads)
    tokens = math.isqrt(entries_a_head)  # N, of N²
    return patch * math.isqrt(tokens)  # and N itself is the square of the tokens per side


@exercise(
    "02.4",
    "The largest image that fits",
    stars=2,
    minutes=8,
    solution=largest_side,
    hints=[
        "Work backwards: from bytes to entries, from entries to tokens, from tokens to pixels.",
        "A float32 takes four bytes, a GiB has 2**30 of them, and the heads share the memory.",
        "You need two roots: one from N² to N, and one from N to the tokens on a side. math.isqrt "
        "rounds down.",
    ],
    takeaway="the matrix grows with the fourth power of the side: sixteen times the memory allows "
    "twice the side.",
)
def examine_largest_side(answer: Callable[..., int]) -> str | None:
    def side(tokens: float, patch: float) -> int:
        return int(patch * math.isqrt(int(tokens)))

    def tokens(gibibytes: float, heads: int, unit: float = 2**30, size: float = 4) -> int:
        return math.isqrt(int(gibibytes * unit / size / heads))

    def draw(rng: Random) -> tuple[float, int, int]:
        return round(rng.uniform(0.01, 40), 3), rng.randint(1, 32), rng.randint(1, 16)

    return diagnose(
        answer,
        largest_side,
        [(1, 4, 1), (16, 4, 1), (8, 16, 12), (23.5, 8, 2), *drawn(draw)],
        {
            "one root is taken where two are needed: from the N² entries to N tokens, and from the "
            "tokens, which fill a square, to those on a side.": (
                lambda g, p, heads: tokens(g, heads) * p
            ),
            "these are the tokens on a side, but the answer is in pixels.": (
                lambda g, p, heads: side(tokens(g, heads), 1)
            ),
            "one byte is counted for each entry. How many does a float32 take?": (
                lambda g, p, heads: side(tokens(g, heads, size=1), p)
            ),
            "each of the four bytes is counted with its eight bits, but the memory is in bytes "
            "already.": (lambda g, p, heads: side(tokens(g, heads, size=32), p)),
            "two bytes are counted for each entry. That would be float16 or bfloat16.": (
                lambda g, p, heads: side(tokens(g, heads, size=2), p)
            ),
            "this would be right for one head, but each head has a matrix of its own.": (
                lambda g, p, heads: side(tokens(g, 1), p)
            ),
            "this is rounded to the nearest patch, so the resulting image does not always fit.": (
                lambda g, p, heads: p * round((g * 2**30 / 4 / heads) ** 0.25)
            ),
            "a GiB is 2**30 bytes; this counts in GB, 10**9 bytes.": (
                lambda g, p, heads: side(tokens(g, heads, unit=1e9), p)
            ),
            "a GiB is 2**30 bytes; this counts in MiB, 2**20 bytes.": (
                lambda g, p, heads: side(tokens(g, heads, unit=2**20), p)
            ),
            "eight bytes are counted for each entry, as if the scores and their softmax both had "
            "to fit, or as for float64. Here the matrices count once, in float32.": (
                lambda g, p, heads: side(tokens(g, heads, size=8), p)
            ),
            "the image has a whole number of patches on a side, so round down to tokens before "
            "you multiply.": lambda g, p, heads: int(p * (g * 2**30 / 4 / heads) ** 0.25),
        },
    )


def attend_masked(q: Tensor, k: Tensor, v: Tensor, padded: Tensor) -> Tensor:
    """Attention that leaves out the keys that are padding.

    `(N, d)` three times, and `(N,)` booleans, True where a token is padding → `(N, d)`.
    """
    scores = q @ k.T / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(padded, -math.inf)  # a key is a column, and e to the −∞ is 0
    return scores.softmax(-1) @ v


@exercise(
    "02.5",
    "Leave out the padding",
    stars=2,
    minutes=8,
    solution=attend_masked,
    hints=[
        "Which score leads to a weight of exactly zero?",
        "Change the scores before the softmax. Then it divides the weight among the other keys.",
        "A key is a column, and padded, of shape (N,), meets the last axis when it broadcasts.",
    ],
    takeaway="the mask puts −∞ into the scores before the softmax, along the keys.",
)
def examine_attend_masked(answer: Callable[..., Tensor]) -> str | None:
    Case = tuple[Tensor, Tensor, Tensor, Tensor]

    def mask(rng: Random, tokens: int) -> Tensor:
        real = rng.sample(range(tokens), rng.randint(1, tokens))
        return torch.tensor([token not in real for token in range(tokens)])

    def case(rng: Random, tokens: int, width: int, *padding: int) -> Case:
        q, k, v = (normal(rng, tokens, width) for _ in range(3))
        return q, k, v, torch.tensor([token in padding for token in range(tokens)])

    def draw(rng: Random) -> Case:
        tokens = rng.randint(1, 8)
        if rng.random() < 0.5:
            return *large_scores(rng, tokens), mask(rng, tokens)
        return *case(rng, tokens, rng.randint(1, 8))[:3], mask(rng, tokens)

    def scores(q: Tensor, k: Tensor) -> Tensor:
        return q @ k.T / math.sqrt(q.shape[-1])

    def zeroed(x: Tensor, padded: Tensor) -> Tensor:
        return x.masked_fill(padded[:, None], 0)

    def the_other_way(q: Tensor, k: Tensor, v: Tensor, padded: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=padded[None])[0]

    def filled(value: float) -> Callable[..., Tensor]:
        return lambda q, k, v, padded: scores(q, k).masked_fill(padded, value).softmax(-1) @ v

    def lowered(value: float) -> Callable[..., Tensor]:
        return lambda q, k, v, padded: (scores(q, k) - value * padded).softmax(-1) @ v

    def deep(rng: Random) -> Case:
        """Real tokens with scores of −2,000,000, all alike, so that rounding does not matter."""
        q, padded = torch.full((5, 4), 1000.0), torch.tensor([False, True, False, True, False])
        return q, zeroed(-q, padded), normal(rng, 5, 4), padded

    rng = Random(0)
    cases = [case(rng, 6, 4, 4, 5), case(rng, 9, 8, 1, 3, 5, 6, 7, 8), case(rng, 5, 3)]
    return diagnose(
        answer,
        attend_masked,
        [*cases, deep(rng), *drawn(draw)],
        {
            "padding adds nothing to the answer, but it still takes weight from the others, which "
            "no longer sum to one. The mask has to come before the softmax.": (
                lambda q, k, v, padded: scores(q, k).softmax(-1).masked_fill(padded, 0) @ v
            ),
            "a score of 0 is not a weight of 0: the softmax makes e⁰ = 1 of it.": filled(0),
            "keys of zeros are still keys. Their score is 0, and the softmax makes e⁰ = 1 of it, "
            "so they take weight from the others.": (
                lambda q, k, v, padded: attend(q, zeroed(k, padded), zeroed(v, padded))
            ),
            "the mask is the wrong way round: here only the padding gets attention.": (
                lambda q, k, v, padded: attend_masked(q, k, v, ~padded)
            ),
            "the mask is the wrong way round. F.scaled_dot_product_attention wants True where a "
            "token may look, but `padded` is True where it may not.": the_other_way,
            "the rows of padding are NaN: the mask is on the queries, the rows, and leaves them no "
            "key at all. It should be on the keys.": (
                lambda q, k, v, padded: (
                    scores(q, k).masked_fill(padded[:, None], -math.inf).softmax(-1) @ v
                )
            ),
            "the result is NaN, because −∞ times 0 is not a number. Fill in −∞ where the mask is "
            "True.": lambda q, k, v, padded: (scores(q, k) + padded * -math.inf).softmax(-1) @ v,
            "the keys of the padding are −∞, but a query has numbers of both signs, so their "
            "scores are −∞, ∞ or not a number. Fill −∞ into the scores instead.": (
                lambda q, k, v, padded: attend(q, k.masked_fill(padded[:, None], -math.inf), v)
            ),
            "the mask is right, but the softmax runs over the queries. A column of padding has "
            "nothing to divide then, which gives NaN.": (
                lambda q, k, v, padded: scores(q, k).masked_fill(padded, -math.inf).softmax(0) @ v
            ),
            "the mask is right, but the scores are not divided by √d.": (
                lambda q, k, v, padded: (q @ k.T).masked_fill(padded, -math.inf).softmax(-1) @ v
            ),
            "the rows of the padding are zero, but the other rows still attend to it. The mask "
            "belongs on the keys.": lambda q, k, v, padded: zeroed(attend(q, k, v), padded),
            "the real tokens are right, but the rows of the padding are zero. The exercise lets "
            "padded queries look at the real tokens as well, so mask the keys alone.": (
                lambda q, k, v, padded: zeroed(attend_masked(q, k, v, padded), padded)
            ),
            "the real tokens are right, but the rows of the padding are NaN, because their queries "
            "are masked as well. Mask the keys alone.": (
                lambda q, k, v, padded: attend_masked(q, k, v, padded).masked_fill(
                    padded[:, None], math.nan
                )
            ),
            "the mask is not used.": lambda q, k, v, padded: attend(q, k, v),
            **{
                f"a score of {-low} is low, but not −∞: where the real scores are lower still, "
                "the padding gets the attention.": filled(-low)
                for low in (5, 10, 20, 50)
            },
            **{
                f"subtracting {low} makes the padding weaker, but where its score is higher than "
                "the others by more than that, it still gets the attention. Fill in −∞.": (
                    lowered(low)
                )
                for low in (5, 10, 20, 50)
            },
        },
        {
            "this is right while no score is far below zero. Where the real tokens have scores of "
            "−2,000,000, the padding gets attention. Fill in −∞, and softmax does the rest.": (
                lambda q, k, v, padded: scores(q, k).min() > -1e6
            ),
            "this is right for small scores. Where they are large, the padding still gets "
            "attention, or numbers overflow or vanish. Put −∞ into the scores, and softmax does "
            "the rest.": (lambda q, k, v, padded: (q @ k.T).abs().max() < SMALL),
            "this is right where nothing is padded. What does it do with padding?": (
                lambda q, k, v, padded: not padded.any()
            ),
        },
    )


def merge(first: Tensor, first_total: Tensor, second: Tensor, second_total: Tensor) -> Tensor:
    """Attention over all keys, computed from attention over each half of them.

    `first` and `second`, `(N, d)`, are what attention over one half of the keys gives; the totals,
    `(N, 1)`, are `scores.logsumexp(-1, keepdim=True)` of that half.
    """
    share = torch.sigmoid(first_total - second_total)  # e^a / (e^a + e^b), without overflow
    return share * first + (1 - share) * second


@exercise(
    "02.6",
    "Softmax, half by half",
    stars=3,
    minutes=15,
    solution=merge,
    hints=[
        "Write the softmax over all keys as a fraction. Which part of its denominator comes from "
        "the first half?",
        "A half's denominator is e to the total of that half. So the two outputs are mixed with "
        "weights exp(first_total) and exp(second_total), divided by their sum.",
        "exp(1000) overflows. Multiply both by the same factor, or use a function that has done so "
        "already, a softmax over two numbers.",
    ],
    takeaway="so a kernel can read the keys block by block and never hold a whole row, as the "
    "fused one does.",
)
def examine_merge(answer: Callable[..., Tensor]) -> str | None:
    Case = tuple[Tensor, Tensor, Tensor, Tensor]

    def case(
        rng: Random, shift: float = 0, spread: float = 1, dtype: torch.dtype = torch.float64
    ) -> Case:
        """Both halves of attention whose scores lie around `shift`, in float64 or float32."""
        queries, width = rng.randint(1, 6), rng.randint(1, 6)
        parts: list[Tensor] = []
        for _ in range(2):
            scores = (shift + spread * normal(rng, queries, rng.randint(1, 8)).double()).to(dtype)
            values = normal(rng, scores.shape[1], width).to(scores)
            parts += [scores.softmax(-1) @ values, scores.logsumexp(-1, keepdim=True)]
        return parts[0], parts[1], parts[2], parts[3]

    def draw(rng: Random) -> Case:
        return case(rng, rng.choice([-900, 0, 0, 720, 900]), rng.choice([1, 1, 30, 400]))

    rng = Random(0)
    return diagnose(
        answer,
        merge,
        [case(rng, dtype=torch.float32), case(rng, spread=400, dtype=torch.float32), *drawn(draw)],
        {
            "this is the plain mean. A half with higher scores should get more of the weight.": (
                lambda a, ta, b, tb: (a + b) / 2
            ),
            "this is the sum. The weights of each half sum to one, so together they sum to two.": (
                lambda a, ta, b, tb: a + b
            ),
            "the halves are mixed by the totals themselves. A total is the logarithm of a sum, so "
            "take its exponential.": lambda a, ta, b, tb: (ta * a + tb * b) / (ta + tb),
            "the halves are swapped: the larger total gets the smaller share.": (
                lambda a, ta, b, tb: merge(a, tb, b, ta)
            ),
            "only the half with the larger total is kept, but the other has its share too.": (
                lambda a, ta, b, tb: torch.where(ta > tb, a, b)
            ),
            "the shares are e to the totals, which do not sum to one. Divide by their sum.": (
                lambda a, ta, b, tb: ta.exp() * a + tb.exp() * b
            ),
        },
        {
            "this is right for small scores, but large ones overflow: e to the 1000 is infinite, "
            "and e to the −1000 is 0. Only the difference of the two totals matters, so subtract "
            "the larger of the two from both, row by row.": (
                lambda a, ta, b, tb: torch.cat([ta, tb]).abs().max() < LARGE
            )
        },
    )
