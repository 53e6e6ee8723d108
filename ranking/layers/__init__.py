"""Parts that rankers share."""

from ranking.layers.cross import CrossNetwork
from ranking.layers.feature_embedding import FeatureEmbedding, RankerInputs
from ranking.layers.mlp import Mlp

__all__ = ["CrossNetwork", "FeatureEmbedding", "Mlp", "RankerInputs"]
