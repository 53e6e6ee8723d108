"""Rows that managed ids had when training ended: a sorted list of keys, frozen; other keys are unseen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from segrec.tables import MISSING, UNSEEN
from segrec.tables.id_codes import MISSING_KEY
from segrec.tables.managed_ids import ManagedIds

_FREE = torch.iinfo(torch.int64).max
"Where TorchRec's slots have no id."


@dataclass(frozen=True)
class FrozenRows:
    """By feature: its keys (n,), ascending, and the row of each (n,)."""

    spaces: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """The rows that ids have in a trained ranker; none where no id is managed."""
        spaces: dict[str, tuple[Tensor, Tensor]] = {}
        for ids in module.modules():
            if isinstance(ids, ManagedIds):
                space: Any
                for space in ids.spaces.values():
                    slots: Tensor = space.slots._mch_sorted_raw_ids
                    keys = torch.sort(slots[slots != _FREE]).values
                    spaces |= {feature: (keys, ids.rows_of(feature, keys)) for feature in space.features}
        return cls(spaces)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What `tensors` gave."""
        names = sorted({name.rsplit(".", 1)[0] for name in tensors})
        return cls({name: (tensors[f"{name}.keys"], tensors[f"{name}.rows"]) for name in names})

    def tensors(self) -> dict[str, Tensor]:
        """Copies as FEATURE.keys and FEATURE.rows, to be stored: features may share theirs."""
        return {
            f"{feature}.{part}": tensor.clone()
            for feature, pair in self.spaces.items()
            for part, tensor in zip(("keys", "rows"), pair, strict=True)
        }

    def to(self, device: torch.device) -> Self:
        """On `device`."""
        return type(self)({name: (keys.to(device), rows.to(device)) for name, (keys, rows) in self.spaces.items()})

    def __call__(self, features: KeyedJaggedTensor) -> KeyedJaggedTensor:
        """Keys of managed features -> rows: 0 missing, 1 unseen; other features pass as they are."""
        if not self.spaces:
            return features
        ends, values = features.offset_per_key(), features.values().clone()
        for place, name in enumerate(features.keys()):
            if name in self.spaces:
                values[ends[place] : ends[place + 1]] = self._rows(name, values[ends[place] : ends[place + 1]])
        return KeyedJaggedTensor(
            keys=features.keys(), values=values, lengths=features.lengths(), stride=features.stride()
        )

    def _rows(self, name: str, asked: Tensor) -> Tensor:
        keys, rows = self.spaces[name]
        if not len(keys):
            return torch.where(asked == MISSING_KEY, MISSING, UNSEEN)
        place = torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)
        found = torch.where(keys[place] == asked, rows[place], UNSEEN)
        return torch.where(asked == MISSING_KEY, MISSING, found)
