"""Tables of an exported ranker: as they were trained, or as int8 rows with a scale and a bias each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Literal

import torch
from torch import Tensor
from torchrec.modules.embedding_configs import DataType
from torchrec.modules.embedding_modules import EmbeddingBagCollection as FloatBags
from torchrec.modules.embedding_modules import EmbeddingCollection as FloatSequences
from torchrec.quant.embedding_modules import EmbeddingBagCollection, EmbeddingCollection

from ranking.layers import FeatureEmbedding, RankerInputs

Quantise = Literal["none", "int8"]

SCALE_BIAS = "scale_bias"
_ROW_ALIGNMENT = 4
"Bytes; TorchRec's own choice of 16 pads int8 rows of 16 values to twice their size."
_DATA_TYPES = {torch.float32: DataType.FP32, torch.float16: DataType.FP16, torch.uint8: DataType.INT8}


def stored_table(weight: Tensor, quantise: Quantise) -> dict[str, Tensor]:
    """What a table (rows, dim) becomes on disk: `weight`, and of int8 rows `scale_bias` (rows, 2) in fp16.

    An int8 value q of a row stands for q * scale + bias, q in 0 .. 255 (FBGEMM's fused row-wise format, taken apart).
    """
    if quantise == "none":
        kept = weight if weight.dtype in _DATA_TYPES else weight.float()
        return {"weight": kept.contiguous()}
    fused = torch.ops.fbgemm.FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf(weight.float(), 8)
    return {
        "weight": fused[:, :-4].contiguous(),
        SCALE_BIAS: fused[:, -4:].contiguous().view(torch.float16),
    }


def filled(inputs: RankerInputs, tables: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> FeatureEmbedding:
    """The embedding of `inputs` over stored tables: one kernel of TorchRec's inference tables for all of them.

    :param tables: by table name, what `stored_table` gave.
    :raises KeyError: a table is not there.
    """
    embedding = FeatureEmbedding(inputs, "meta")
    for name, part in list(embedding.named_children()):
        if isinstance(part, FloatBags):
            configs = _typed(part.embedding_bag_configs(), tables)
            stored = _as_bytes(tables, configs, device)
            bags = EmbeddingBagCollection(
                configs, False, device, table_name_to_quantized_weights=stored, row_alignment=_ROW_ALIGNMENT
            )
            embedding.set_submodule(name, bags)
        elif isinstance(part, FloatSequences):
            configs = _typed(part.embedding_configs(), tables)
            stored = _as_bytes(tables, configs, device)
            rows = EmbeddingCollection(
                configs, device, table_name_to_quantized_weights=stored, row_alignment=_ROW_ALIGNMENT
            )
            embedding.set_submodule(name, rows)
    return embedding.eval()


def _typed(configs: Sequence[Any], tables: Mapping[str, Mapping[str, Tensor]]) -> list[Any]:
    """Configs with the data types that the tables have on disk."""
    found = []
    for config in configs:
        typed = copy(config)
        typed.data_type = _DATA_TYPES[tables[config.name]["weight"].dtype]
        found.append(typed)
    return found


def _as_bytes(
    tables: Mapping[str, Mapping[str, Tensor]], configs: Sequence[Any], device: torch.device
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """(rows as bytes, scale and bias as bytes) of each table, as FBGEMM takes them."""
    found: dict[str, tuple[Tensor, Tensor | None]] = {}
    for config in configs:
        stored = tables[config.name]
        scale_bias = stored.get(SCALE_BIAS)
        found[config.name] = (
            stored["weight"].view(torch.uint8).to(device),
            None if scale_bias is None else scale_bias.view(torch.uint8).to(device),
        )
    return found
