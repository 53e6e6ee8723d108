"""What rankers are made of."""

from ranking.layers.activations import ACTIVATIONS, Activation, ActivationName, Dice, PRelu
from ranking.layers.co_action import CoAction
from ranking.layers.cross import CrossNetwork
from ranking.layers.cross_mixture import CrossMixture
from ranking.layers.factorization_machine import pairwise_interactions
from ranking.layers.feature_embedding import (
    Embedded,
    FeatureEmbedding,
    Histories,
    RankerInputs,
    SequenceInput,
    one_table_each,
    with_sequences,
)
from ranking.layers.feature_gate import FeatureGate
from ranking.layers.field_attention import FieldAttention
from ranking.layers.field_graph import FieldGraph
from ranking.layers.id_fields import WEIGHT_COLUMNS, IdFields, field_width
from ranking.layers.interest_evolution import AttentionalGru, Evolved, InterestEvolution
from ranking.layers.mlp import Mlp
from ranking.layers.next_event_loss import next_event_loss
from ranking.layers.target_attention import TargetAttention, masked_softmax

__all__ = [
    "ACTIVATIONS", "WEIGHT_COLUMNS", "Activation", "ActivationName", "AttentionalGru", "CoAction", "CrossMixture",
    "CrossNetwork", "Dice", "Embedded", "Evolved", "FeatureEmbedding", "FeatureGate", "FieldAttention", "FieldGraph",
    "Histories", "IdFields", "InterestEvolution", "Mlp", "PRelu", "RankerInputs", "SequenceInput", "TargetAttention",
    "field_width", "masked_softmax", "next_event_loss", "one_table_each", "pairwise_interactions", "with_sequences",
]  # fmt: skip
