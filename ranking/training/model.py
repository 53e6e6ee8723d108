"""From a run's config and fitted features to the ranker's module and its tables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ranking.encoding.feature_encoding import FittedFeatures
from ranking.layers import RankerInputs, SequenceInput
from ranking.layers.feature_embedding import one_table_each, with_sequences
from ranking.rankers import RankerEntry, SegmentWeighting, find_ranker
from ranking.rankers.config import RankerConfig, ScoresConfig
from ranking.rankers.managed_ranker import ManagedRanker
from ranking.rankers.multi_task import TaskHead
from ranking.targets.labels import AnyLabel, tasks_of
from segrec.records import ConfigError
from segrec.tables import TableSpec


@dataclass(frozen=True)
class RankerModel:
    """An undistributed ranker and its tables' specs; forward: batch -> logits (B,), or (B, K) of K labels."""

    module: nn.Module
    tables: tuple[TableSpec, ...]


def weighted(scores: ScoresConfig) -> bool:
    """Whether the ranker is wrapped into `SegmentWeighting`."""
    return scores.use in ("weights", "both") and scores.weighting != "video"


def needs_scores(scores: ScoresConfig) -> bool:
    """Whether a score table must be given: only SegRec's softmax needs one."""
    return weighted(scores) and scores.weighting == "segrec"


def build_ranker(
    name: str,
    config: RankerConfig,
    fitted: FittedFeatures,
    dense_names: list[str],
    *,
    label: AnyLabel,
    device: torch.device | str = "meta",
) -> RankerModel:
    """Ranker `name`, its dense part started from config.seed, its last bias at each label's mean.

    :param device: of the tables; "meta" when `segrec.tables.distribute` comes next.
    :raises ConfigError: an unknown ranker, or one that does not fit its config.
    """
    entry: RankerEntry = find_ranker(name)
    if not isinstance(config, entry.config):
        raise ConfigError(f"ranker {name!r} wants a {entry.config.__name__} (found: {type(config).__name__})")
    names = [*(feature.name for feature in fitted.spec.ids), *(feature.name for feature in fitted.spec.bags)]
    wrap = weighted(config.scores)
    tables = one_table_each(names, [fitted.rows_of(feature) for feature in names], config.table_template())
    device_type = config.torch_device().type
    inputs = RankerInputs(
        tables=tuple(
            config.tables[name].applied_to(table, device_type) if name in config.tables else table
            for name, table in zip(names, tables, strict=True)
        ),
        features=tuple(names),
        dense_width=len(dense_names),
        extra_width=config.scores.position_width if wrap and config.scores.enter == "input" else 0,
    )
    past = [SequenceInput(sequence.name, sequence.id_feature) for sequence in fitted.spec.sequences]
    if entry.reads_histories and not past:
        raise ConfigError(f"ranker {name!r} reads histories, and the features have none; set features.history.length")
    inputs = with_sequences(inputs, past, in_order=entry.reads_histories) if past else inputs
    tasks = tasks_of(label)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        ranker = entry.build(config, inputs, device)
        if len(tasks) > 1:
            ranker.head = TaskHead(config.tasks, ranker.head, len(tasks))
        module: nn.Module = SegmentWeighting(config.scores, ranker) if wrap else ranker
    with torch.no_grad():
        ranker.head.bias.copy_(torch.logit(torch.tensor([task.start for task in tasks])))
    if any(table.managed is not None and not table.managed.sharded for table in ranker.specs):
        module = ManagedRanker(module, ranker.specs)
    return RankerModel(module, ranker.specs)
