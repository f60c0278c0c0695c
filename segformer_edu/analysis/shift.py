"""How much tokens change when the photograph moves under them (lesson 01)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

BORDER = 4  # tokens left out at each side, where padding would change them as well


def change_under_shift(
    embed: Callable[[Tensor], Tensor], images: Tensor, shift: int, stride: int = 4
) -> float:
    """How far the tokens of a moved image are from those of the image, against their own spread.

    The middle of the images is cut out twice, the second time `shift` pixels further left, so that
    its content stands further right. Each token is compared with the one at the place that its
    content has come to, to the nearest token. The answer is the root of the mean squared
    difference, divided by the spread of the tokens over the image: 0 where the tokens are the same,
    √2 where they are as different as two tokens drawn at random.

    Args:
        embed: `(B, 3, H, W)` → `(B, C, H / stride, W / stride)`.
        images: `(B, 3, H, W)`.
        shift: pixels.
        stride: pixels from token to token.
    """
    height, width = (side // 4 for side in images.shape[2:])  # a quarter is left on each side
    rows = images[..., height:-height, :]
    before, after = (
        embed(rows[..., width - moved : 3 * width - moved]) for moved in (0, shift)
    )  # (B, C, H', W')
    tokens = (2 * shift + stride) // (2 * stride)  # the shift in tokens, rounded
    before = before[..., BORDER:-BORDER, BORDER : -BORDER - tokens]
    after = after[..., BORDER:-BORDER, BORDER + tokens : -BORDER]
    spread = (before - before.mean((2, 3), keepdim=True)).square().mean()
    return ((after - before).square().mean() / spread).sqrt().item()
