"""TorchRec tables: specs, vocabularies, collections, plans, optimizers in the backward pass, whole weights."""

from segrec.tables.collections import bags, sequences
from segrec.tables.distribution import distribute
from segrec.tables.id_codes import HashedIds, IdCodes, IdSettings, RawKeys, id_codes
from segrec.tables.plans import plan_text, write_plan
from segrec.tables.processes import ensure_process_group, join_processes, rank, world_size
from segrec.tables.sharding import ShardingConfig
from segrec.tables.specs import ManagedRows, TableSpec
from segrec.tables.state import fused_state, live_state, whole_state
from segrec.tables.vocabulary import MISSING, UNSEEN, IdCounts, Vocabulary

__all__ = [
    "MISSING", "UNSEEN", "HashedIds", "IdCodes", "IdCounts", "IdSettings", "ManagedRows", "RawKeys", "ShardingConfig",
    "TableSpec", "Vocabulary", "bags", "distribute", "ensure_process_group", "fused_state", "id_codes",
    "join_processes", "live_state", "plan_text", "rank", "sequences", "whole_state", "world_size", "write_plan",
]  # fmt: skip
