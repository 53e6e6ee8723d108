"""Parts that rankers share."""

from ranking.layers.cross import CrossNetwork
from ranking.layers.factorization_machine import pairwise_interactions
from ranking.layers.feature_embedding import (
    Embedded,
    FeatureEmbedding,
    Histories,
    RankerInputs,
    SequenceInput,
)
from ranking.layers.field_attention import FieldAttention
from ranking.layers.field_graph import FieldGraph
from ranking.layers.id_fields import WEIGHT_COLUMNS, IdFields, field_width
from ranking.layers.mlp import Mlp

__all__ = [
    "WEIGHT_COLUMNS",
    "CrossNetwork",
    "Embedded",
    "FeatureEmbedding",
    "FieldAttention",
    "FieldGraph",
    "Histories",
    "IdFields",
    "Mlp",
    "RankerInputs",
    "SequenceInput",
    "field_width",
    "pairwise_interactions",
]
