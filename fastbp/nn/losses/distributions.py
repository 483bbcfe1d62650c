"""Losses of distributions: Poisson's, and one over several outcomes."""

from __future__ import annotations

from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.validation.arrays import Array
from fastbp.validation.scalars import require_finite


class PoissonNLLLoss(KernelLoss):
    """``exp(x) - y x`` of the logarithm x of a rate and a count y, as ``torch.nn.PoissonNLLLoss``.

    Parameters
    ----------
    log_input : bool
        Whether a prediction is the logarithm of the rate; else it is the rate, and the loss ``x - y log(x + eps)``.
    full : bool
        Whether Stirling's approximation of ``log(y!)``, ``y log y - y + log(2 pi y) / 2``, is added for y above 1.
    eps : float
    reduction : "mean", "sum" or "none"
    """

    row = "PoissonNLLLoss"

    def __init__(
        self, log_input: bool = True, full: bool = False, *, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        self.log_input, self.full = bool(log_input), bool(full)
        self.eps = require_finite(eps, "PoissonNLLLoss", "eps", 0.0)
        super().__init__(reduction)

    def row_for(self, target: Array) -> str:
        return self.row if self.log_input else "PoissonNLLLoss:rate"

    def extra_repr(self) -> str:
        return f"log_input={self.log_input}, full={self.full}"


class KLDivLoss(KernelLoss):
    """``y (log y - x)`` of the logarithm x of a probability and a probability y, as ``torch.nn.KLDivLoss``.

    Parameters
    ----------
    reduction : "mean", "batchmean", "sum" or "none"
        "batchmean" divides the sum by the number of rows, as the divergence is defined; "mean" by that of elements.
    log_target : bool
        Whether a target is a logarithm too; then the loss is ``exp(y) (y - x)``.
    """

    row = "KLDivLoss"
    reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        self.log_target = bool(log_target)
        super().__init__(reduction)

    def row_for(self, target: Array) -> str:
        return "KLDivLoss:log_target" if self.log_target else self.row

    def extra_repr(self) -> str:
        return f"log_target={self.log_target}"
