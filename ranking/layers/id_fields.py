"""A row of embeddings as fields: one vector and one first-order weight an id."""

from __future__ import annotations

from torch import Tensor, nn

from ranking.layers.feature_embedding import RankerInputs
from segrec.records import ConfigError

WEIGHT_COLUMNS = 4
"Columns at the end of a table's row whose mean is the id's first-order weight (TorchRec wants a multiple of 4)."


def field_width(inputs: RankerInputs, above: int = 0) -> int:
    """Width of every table.

    :raises ConfigError: they differ, or are not wider than `above`.
    """
    widths = sorted(set(inputs.widths))
    if len(widths) != 1 or widths[0] <= above:
        raise ConfigError(
            f"the ranker's fields need tables of one width above {above} (found: {', '.join(map(str, widths))}); set "
            "embedding_dim, and no other tables.NAME.dim"
        )
    return widths[0]


class IdFields(nn.Module):
    """Splits x = [e_1, w_1, ..., e_F, w_F, dense] into first-order weights, vectors and the rest.

    Weight and vector of an id lie in one row of one table: a second set of tables would look every id up twice.
    A bag's weight and vector are the means over its ids; a missing id has a row of its own, which is learned.

    Input (..., D); output (..., F), (..., F, k), (..., rest).

    :raises ConfigError: tables of different widths, or too narrow to hold a weight.
    """

    def __init__(self, inputs: RankerInputs) -> None:
        super().__init__()
        self.count, self.row = len(inputs.widths), field_width(inputs, above=WEIGHT_COLUMNS)
        self.dim = self.row - WEIGHT_COLUMNS
        "k"
        self.rest = inputs.dense_width + inputs.extra_width
        "Number of dense columns and of those that a wrapper appends."

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., D) -> (..., F), (..., F, k), (..., rest)"""
        ids, rest = x[..., : self.count * self.row], x[..., self.count * self.row :]
        rows = ids.reshape(*ids.shape[:-1], self.count, self.row)
        return rows[..., self.dim :].mean(dim=-1), rows[..., : self.dim], rest
