"""Labels and predictions of binary outcomes, checked once at the door of every CTR metric."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Values = npt.NDArray[np.generic] | Tensor
"A one-dimensional numpy array or tensor; tensors are worked on where they lie."


def binary_outcomes(labels: Values, predictions: Values, *, probabilities: bool = False) -> tuple[Tensor, Tensor]:
    """Labels (n,) as bool and predictions (n,) as they are, on the predictions' device.

    :raises ValueError: unequal or not one-dimensional shapes, a label other than 0 and 1, a NaN or infinite prediction,
        and with `probabilities` one outside [0, 1] (the first offending row is named).
    """
    predicted = as_tensor(predictions)
    if not predicted.is_floating_point():
        predicted = predicted.double()
    given = as_tensor(labels).to(predicted.device)
    if predicted.ndim != 1 or given.shape != predicted.shape:
        raise ValueError(
            f"labels {tuple(given.shape)} and predictions {tuple(predicted.shape)} must be equal in length (n,)"
        )
    _refuse(~torch.isfinite(predicted), predicted, "a prediction is NaN or infinite")
    if probabilities:
        _refuse((predicted < 0) | (predicted > 1), predicted, "a probability lies outside [0, 1]")
    if given.dtype != torch.bool:
        _refuse((given != 0) & (given != 1), given, "a label is neither 0 nor 1")
    return given.bool(), predicted


def row_weights(weights: Values, like: Tensor) -> Tensor:
    """Weights (n,) as float64 beside `like`.

    :raises ValueError: another length, a negative or not finite weight.
    """
    weight = as_tensor(weights).to(like.device, torch.float64)
    if weight.shape != like.shape:
        raise ValueError(f"weights have shape {tuple(weight.shape)} (expected: {tuple(like.shape)})")
    _refuse(~torch.isfinite(weight) | (weight < 0), weight, "a weight is negative, NaN or infinite")
    return weight


def as_tensor(values: Values) -> Tensor:
    """A tensor that shares memory with `values` where it can."""
    if isinstance(values, Tensor):
        return values.detach()
    array = np.ascontiguousarray(values)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _refuse(bad: Tensor, values: Tensor, problem: str) -> None:
    if bool(bad.any()):
        row = int(bad.to(torch.uint8).argmax())
        raise ValueError(f"{problem} (row {row}: {values[row].item()})")
