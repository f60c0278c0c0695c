"""Exercises of lesson 02, the cost of attention."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from segformer_edu.exercises.exercise import diagnose, exercise


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
        "Every token attends to every token, itself included: N² entries, and so in every head.",
    ],
    takeaway="N² per head, and N itself grows with the square of the image's side.",
)
def examine_entries(answer: Callable[..., int]) -> str | None:
    def tokens(height: int, width: int, patch: int) -> int:
        return (height // patch) * (width // patch)

    return diagnose(
        answer,
        entries,
        [(512, 512, 16, 12), (64, 96, 4, 2), (224, 224, 32, 1)],
        {
            "this is the number of tokens. The matrix has a row for each of them, and how many "
            "columns?": lambda h, w, p, heads: tokens(h, w, p),
            "the tokens are counted once in every head. How many pairs do they make?": (
                lambda h, w, p, heads: heads * tokens(h, w, p)
            ),
            "this is the number of pixels, and not the number of pairs of tokens.": (
                lambda h, w, p, heads: h * w
            ),
            "this is the matrix of one head, but every head has its own.": (
                lambda h, w, p, heads: tokens(h, w, p) ** 2
            ),
            "the heads are squared as well. Each head has its own matrix; heads do not attend to "
            "one another.": lambda h, w, p, heads: (heads * tokens(h, w, p)) ** 2,
            "divided by the heads. They divide the channels, not the tokens: every head has a "
            "full matrix.": lambda h, w, p, heads: tokens(h, w, p) ** 2 // heads,
            "the pixels are divided by the patch size once. A patch is that many pixels tall and "
            "that many wide.": lambda h, w, p, heads: heads * (h * w // p) ** 2,
            "every pixel is a token here. What does the patch size do?": (
                lambda h, w, p, heads: heads * (h * w) ** 2
            ),
            "right for a square image; this one has fewer rows of tokens than columns.": (
                lambda h, w, p, heads: heads * (h // p) ** 4
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
        "The queries come first, so they become the rows; k has to be transposed.",
        "Divide by the root of the width, take the softmax along the keys, mix the values with it.",
    ],
    takeaway="three lines: compare, share out, mix.",
)
def examine_attend(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(tokens: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (torch.randn(tokens, width, generator=generator) for _ in range(3))
        return q, k, v

    def root(q: Tensor) -> float:
        return math.sqrt(q.shape[-1])

    return diagnose(
        answer,
        attend,
        [case(9, 4), case(16, 25)],
        {
            "the columns sum to one, and the rows do not. Each query shares out a weight of one, "
            "and a query is a row.": lambda q, k, v: (q @ k.T / root(q)).softmax(0) @ v,
            "keys and queries are swapped: here every key attends to the queries.": (
                lambda q, k, v: (k @ q.T / root(q)).softmax(-1) @ v
            ),
            "the scores are too large: equation 1 divides them first.": (
                lambda q, k, v: (q @ k.T).softmax(-1) @ v
            ),
            "divided by d. The spread of a sum of d products grows more slowly than that.": (
                lambda q, k, v: (q @ k.T / q.shape[-1]).softmax(-1) @ v
            ),
            "divided by the root of the number of tokens. But a single score does not grow with "
            "it: a score is a sum over the channels.": (
                lambda q, k, v: (q @ k.T / math.sqrt(len(k))).softmax(-1) @ v
            ),
            "the softmax comes first and the division after it, so the rows do not sum to one.": (
                lambda q, k, v: (q @ k.T).softmax(-1) / root(q) @ v
            ),
            "the weights mix the keys. A token is found by its key; what it passes on is something "
            "else.": lambda q, k, v: (q @ k.T / root(q)).softmax(-1) @ k,
            "the scores themselves are the weights here: no softmax has turned them into shares.": (
                lambda q, k, v: q @ k.T / root(q) @ v
            ),
            "the scores are multiplied by the root, and spread further still. Which way does "
            "equation 1 go?": lambda q, k, v: (q @ k.T * root(q)).softmax(-1) @ v,
            "these are the weights, one for each key. What should they mix?": (
                lambda q, k, v: (q @ k.T / root(q)).softmax(-1)
            ),
        },
    )


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
        "Each head gets a run of neighbouring channels of every token. Split the last axis first.",
        "unflatten(-1, (num_heads, -1)) gives (B, N, heads, d); the product needs (B, heads, N, "
        "d). Move axes with transpose: a reshape would mix up the numbers.",
        "The d under the root is the width of one head. At the end, transpose back before you "
        "flatten.",
    ],
    takeaway="split, move, attend, move back, join: reshape splits axes, only transpose moves "
    "them.",
)
def examine_multi_head(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(tokens: int, channels: int, heads: int) -> tuple[Tensor, Tensor, Tensor, int]:
        q, k, v = (torch.randn(2, tokens, channels, generator=generator) for _ in range(3))
        return q, k, v, heads

    def attention(
        split: Callable[[Tensor, int], Tensor],
        join: Callable[[Tensor], Tensor],
        width: Callable[[Tensor, int], float],
    ) -> Callable[..., Tensor]:
        def run(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
            parts = [split(x, heads) for x in (q, k, v)]
            scores = parts[0] @ parts[1].transpose(-2, -1) / math.sqrt(width(q, heads))
            return join(scores.softmax(-1) @ parts[2])

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

    def head_width(q: Tensor, heads: int) -> float:
        return q.shape[-1] / heads

    return diagnose(
        answer,
        multi_head,
        [case(6, 8, 2), case(5, 12, 4)],
        {
            "divided by the root of C. A score in one head is a sum of fewer products than that.": (
                attention(split, join, lambda q, heads: q.shape[-1])
            ),
            "the scores are not divided by anything: what does equation 1 ask for?": (
                attention(split, join, lambda q, heads: 1)
            ),
            "there is one head here, as wide as C: num_heads is not used.": (
                lambda q, k, v, heads: multi_head(q, k, v, 1)
            ),
            "(B, N, C) was reshaped to (B, heads, N, d) in one go. The shape is right, but the "
            "numbers are in the wrong place: heads get different tokens instead of different "
            "channels.": attention(view, glue, head_width),
            "the split is right, but the join is not. (B, heads, N, d) became (B, N, C) by a "
            "reshape alone, which mixes tokens.": attention(split, glue, head_width),
            "each head takes channels at regular intervals instead of d neighbours: the last axis "
            "is split the other way round.": attention(interleave, join, head_width),
            "each head takes channels at regular intervals, and puts its answers there too. "
            "Head 1 should have the first channels.": attention(
                interleave, lambda x: x.permute(0, 2, 3, 1).flatten(2), head_width
            ),
            "the join is right, but the split is not. A reshape from (B, N, C) to (B, heads, N, d) "
            "splits the list of tokens, not the channels.": attention(view, join, head_width),
            "the heads attend to one another, inside each token: without the transpose the product "
            "runs over the heads' axis.": attention(
                lambda x, heads: x.unflatten(-1, (heads, -1)), lambda x: x.flatten(2), head_width
            ),
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
        "A float32 takes four bytes; a GiB is 2**30 of them; the heads share the memory.",
        "Two roots: one from N² to N, one from N to the tokens on a side. math.isqrt rounds down.",
    ],
    takeaway="the matrix grows with the fourth power of the side: sixteen times the memory allows "
    "twice the side.",
)
def examine_largest_side(answer: Callable[..., int]) -> str | None:
    def side(tokens: float, patch: float) -> int:
        return int(patch * math.isqrt(int(tokens)))

    def tokens(gibibytes: float, heads: int, unit: float = 2**30, size: float = 4) -> int:
        return math.isqrt(int(gibibytes * unit / size / heads))

    return diagnose(
        answer,
        largest_side,
        [(1, 4, 1), (16, 4, 1), (8, 16, 12), (23.5, 8, 2)],
        {
            "one root where two are needed: from the N² entries to N tokens, and from the tokens, "
            "which fill a square, to those on a side.": (lambda g, p, heads: tokens(g, heads) * p),
            "these are the tokens on a side, but the answer is in pixels.": (
                lambda g, p, heads: side(tokens(g, heads), 1)
            ),
            "one byte for each entry: how many does a float32 take?": (
                lambda g, p, heads: side(tokens(g, heads, size=1), p)
            ),
            "eight bits for each of four bytes: the memory is in bytes already.": (
                lambda g, p, heads: side(tokens(g, heads, size=32), p)
            ),
            "two bytes for each entry would be float16 or bfloat16.": (
                lambda g, p, heads: side(tokens(g, heads, size=2), p)
            ),
            "as if there were one head: each head has a matrix of its own.": (
                lambda g, p, heads: side(tokens(g, 1), p)
            ),
            "rounded to the nearest patch: the resulting image does not always fit.": (
                lambda g, p, heads: p * round((g * 2**30 / 4 / heads) ** 0.25)
            ),
            "a GiB is 2**30 bytes; this counts in GB, 10**9 bytes.": (
                lambda g, p, heads: side(tokens(g, heads, unit=1e9), p)
            ),
            "the pixels of the image are a whole number of patches: round down to tokens before "
            "you multiply.": lambda g, p, heads: int(p * (g * 2**30 / 4 / heads) ** 0.25),
        },
    )


def attend_masked(q: Tensor, k: Tensor, v: Tensor, padded: Tensor) -> Tensor:
    """Attention that leaves out the keys that are padding.

    `(N, d)` three times, and `(N,)` booleans, True where a token is padding → `(N, d)`.
    """
    scores = q @ k.T / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(padded, -math.inf)  # a column: e to the −∞ is 0
    return scores.softmax(-1) @ v


@exercise(
    "02.5",
    "Leave out the padding",
    stars=2,
    minutes=8,
    solution=attend_masked,
    hints=[
        "Which score leads to a weight of exactly zero?",
        "Change the scores before the softmax: then it divides the weight among the other keys.",
        "A key is a column. padded, of shape (N,), meets the last axis when it broadcasts.",
    ],
    takeaway="mask scores with −∞ before the softmax, along the keys.",
)
def examine_attend_masked(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(tokens: int, width: int, *real: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        q, k, v = (torch.randn(tokens, width, generator=generator) for _ in range(3))
        padded = torch.ones(tokens, dtype=torch.bool)
        padded[list(real)] = False
        return q, k, v, padded

    def scores(q: Tensor, k: Tensor) -> Tensor:
        return q @ k.T / math.sqrt(q.shape[-1])

    first = case(6, 4, 0, 1, 2, 3)
    not_numbers = answer(*first).isnan().any(-1)
    if not_numbers.equal(first[3]):
        return (
            "the rows of padding are NaN: the mask is on the queries, the rows, and leaves them no "
            "key at all. It should be on the keys."
        )
    if not_numbers.any():
        return "NaN: −∞ times 0 is not a number. Fill in −∞ where the mask is True."
    return diagnose(
        answer,
        attend_masked,
        [first, case(9, 8, 0, 2, 4)],
        {
            "padding gets no weight, but the other weights no longer sum to one: the mask came "
            "after the softmax.": (
                lambda q, k, v, padded: scores(q, k).softmax(-1).masked_fill(padded, 0) @ v
            ),
            "a score of 0 is not a weight of 0: the softmax makes e⁰ = 1 of it.": (
                lambda q, k, v, padded: scores(q, k).masked_fill(padded, 0).softmax(-1) @ v
            ),
            "the mask is the wrong way round: here only the padding gets attention.": (
                lambda q, k, v, padded: attend_masked(q, k, v, ~padded)
            ),
            "rows of padding are set to zero afterwards; the other rows still attend to it.": (
                lambda q, k, v, padded: attend(q, k, v).masked_fill(padded[:, None], 0)
            ),
            "the mask is not used.": lambda q, k, v, padded: attend(q, k, v),
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
        "already: a softmax over two numbers.",
    ],
    takeaway="so a kernel can read the keys block by block and never hold a whole row, as the "
    "fused one does.",
)
def examine_merge(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scores = [scale * torch.randn(5, size, generator=generator) for size in (3, 7)]
        mixed = [
            each.softmax(-1) @ torch.randn(each.shape[1], 4, generator=generator) for each in scores
        ]
        totals = [each.logsumexp(-1, keepdim=True) for each in scores]
        return mixed[0], totals[0], mixed[1], totals[1]

    small, large = case(1), case(400)
    undivided = "the shares are e to the totals, which do not sum to one: divide by their sum."
    on_small = diagnose(
        answer, merge, [small], {undivided: lambda a, ta, b, tb: ta.exp() * a + tb.exp() * b}
    )
    if on_small == undivided:  # of the large ones it makes infinities, which tell nothing apart
        return undivided
    if on_small is None and not answer(*large).isfinite().all():
        return (
            "right for small scores, but large ones overflow: e to the 1000 is infinite. Only the "
            "difference of the totals matters, so subtract the same number from both."
        )
    return diagnose(
        answer,
        merge,
        [small, large],
        {
            "this is the plain mean. A half with higher scores should get more of the weight.": (
                lambda a, ta, b, tb: (a + b) / 2
            ),
            "this is the sum. The weights of each half sum to one, so together they sum to two.": (
                lambda a, ta, b, tb: a + b
            ),
            "mixed by the totals themselves. A total is the logarithm of a sum: take its "
            "exponential.": lambda a, ta, b, tb: (ta * a + tb * b) / (ta + tb),
            "the halves are swapped: the larger total gets the smaller share.": (
                lambda a, ta, b, tb: merge(a, tb, b, ta)
            ),
            "only the half with the larger total is kept, but the other has its share too.": (
                lambda a, ta, b, tb: torch.where(ta > tb, a, b)
            ),
        },
    )
