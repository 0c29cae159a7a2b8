"""Generators of features: what a fresh unit's incoming weights are, beside a draw of the layer's initial distribution.

Both are the released talk's future work ("better generators"), in a form of ours; neither is published.

`orthogonal` takes from a draw r what is already there, its projection on the layer's other rows, and keeps its norm:

    r ← ‖r‖ p / ‖p‖,    p = r − Qᵀ Q r,    Q the polar factor of the other rows, each divided by its norm

The polar factor is an isometry of what the rows span, and 0 elsewhere, also where they depend on one another: Qᵀ Q is
the projection. It comes of matrix products alone, which every path takes: ten steps of Muon's iteration lift singular
values above 3e-6 of their Frobenius norm to about 1, six of Newton's and Schulz' settle them there. Where nothing is
left, ‖p‖ ≤ 1e-3 ‖r‖, since the others span the space, and in layers of more units than inputs, the draw is taken as it
is.

`scaled` gives a draw the layer's scale on the data. From running means m and s of what enters the layer and its square,
with inputs taken to vary independently of one another, v = max(s − m², 0), a pre-activation w x + b has

    mean c = w m + b,    second moment q = Σ w² v + c²

The fresh unit is a r, with bias −a r m: its pre-activation has mean 0 and the mean of the layer's second moments. So it
is neither always on nor always off on the data as they are now. Without biases a is such that the second moment is
right with the mean left in. Where the inputs do not vary along r the draw keeps its norm. Of a kernel, m and s run over
places too. With a learned scale α of the layer, α w and α r stand in c, q and the bias for w and r.

`scaled` diverges where inputs that stand still begin to move. A draw along which inputs vary little, though above
`STILL`, is made up to a thousand times as long, and the first change of an input that stood still is then as much
larger. On the slowly-changing regression (`flip: one`, width 5, 20 seeds, 200,000 steps), where 15 of 20 inputs stand
still for 10,000 steps at a time, SGD at step size 0.01 diverged in 19 of 20 runs, at replacement rates 1e-4 and 1e-3,
and at 0.003 in none and in 6; Adam at 0.001 in none. With `initial` none of these diverged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.isometry import newton_schulz
from workloads.methods.muon import orthogonalized

SPANNED = 1e-3  # of a draw's norm: less is left of it where rows span the space
STILL = 1e-6  # of a draw's raw second moment: less is rounding of inputs that do not vary
TINY = 1e-30  # added to norms: of a row of zeros, which spans nothing
LIFTING, SETTLING = 10, 6  # steps of the two iterations


def orthogonal_to(others: Tensor, row: Tensor) -> Tensor:
    """`row` (inputs,) without its projection on the rows of `others` (units, inputs), at its norm; see above.

    Rows of zeros count as none.
    """
    if len(others) > len(row):
        return row
    unit = others / (torch.sqrt((others * others).sum(1, keepdim=True)) + TINY)
    polar = newton_schulz(orthogonalized(unit, LIFTING), SETTLING)  # of singular values in 0.68 to 1.21, and 0
    left = row - (polar.T @ (polar @ row[:, None])).squeeze(1)
    size, whole = (torch.sqrt((value * value).sum()) for value in (left, row))
    return torch.where(size > SPANNED * whole, left * (whole / (size + TINY)), row)


def scaled_to(
    row: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    square: Tensor,
    factor: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A draw (inputs,) at the layer's scale, and its bias, 0-d; see above.

    `weight` (units, columns, ...) and `bias` (units,) are the layer's, `mean`, `square` (columns,) of what enters it;
    `factor` (1,) is its learned scale, where it has one.
    """
    m, s = (
        torch.broadcast_to(v.view(-1, *[1] * (weight.ndim - 2)), weight.shape[1:]).flatten() for v in (mean, square)
    )
    v = (s - m * m).clamp(min=0)
    rows, drawn = weight.flatten(1), row
    if factor is not None:
        rows, drawn = factor * rows, factor * drawn
    centre = (rows * m).sum(1) + (0 if bias is None else bias)
    target = ((rows * rows * v).sum(1) + centre * centre).mean()
    shift = (drawn * m).sum()
    own = (drawn * drawn * v).sum() + (shift * shift if bias is None else 0)
    varies = (own > STILL * (drawn * drawn * s).sum()) & (target > 0)
    scale = torch.where(varies, torch.sqrt(target / torch.where(varies, own, 1)), 1)
    return scale * row, -scale * shift
