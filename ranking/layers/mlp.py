"""A multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ranking.layers.activations import ACTIVATIONS, Activation


class Mlp(nn.Module):
    """h_{l+1} = dropout(relu(W_l h_l + b_l)), or another `activation`; no layer at all when `widths` is empty.

    Input (..., D), output (..., widths[-1]), or the input itself.
    """

    def __init__(
        self,
        width: int,
        widths: Sequence[int],
        dropout: float = 0.0,
        activation: Activation = ACTIVATIONS["relu"],
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for entering, leaving in zip([width, *widths], widths, strict=False):
            parts.extend((nn.Linear(entering, leaving), activation(leaving)))
            if dropout:
                parts.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*parts)
        self.width = widths[-1] if widths else width

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., width)"""
        out: Tensor = self.layers(x)
        return out
