"""A ranker's training on fitted data, and its answers for the rows of a stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torchrec.optim.optimizers import in_backward_optimizer_filter

from ranking.batching import RankingBatch
from ranking.rankers.config import RankerConfig
from ranking.rankers.managed_ranker import ManagedRanker
from ranking.stream import RankingStream
from ranking.training.dense_speed import apply_speed_settings
from ranking.training.label_loss import LabelLoss
from ranking.training.model import build_ranker
from ranking.training.ranker_data import RankerData
from ranking.training.shared_prediction import predicted
from ranking.training.trained_ranker import RANKER, TrainedRanker
from ranking.training.valid_metrics import monitored, valid_metrics
from ranking.training.warm_start import warm_start
from segrec.fitting import FitResult, Fittable, fit
from segrec.fitting.stepping import PipelinedStep
from segrec.records import DatasetFolder
from segrec.tables import Vocabulary, distribute, rank, whole_state

WEIGHTS = "model.safetensors"


def fit_ranker(
    name: str, dataset: DatasetFolder, data: RankerData, config: RankerConfig, folder: Path
) -> tuple[nn.Module, FitResult]:
    """Trains ranker `name` on the train rows and leaves its best weights in the module and in `folder`."""
    device = config.torch_device()
    train, valid = data.stream(dataset, ["train"], config), data.stream(dataset, ["valid"], config)
    model = build_ranker(name, config, data.features, train.source.dense_names, label=data.label)
    label_loss = LabelLoss(data.label, config.tasks)
    trained = TrainedRanker(model.module, label_loss, bf16_on=device.type if config.precision == "bf16" else None)
    apply_speed_settings(trained, config, device)
    module = distribute(trained, model.tables, config.seed, device, config.sharding)
    if config.warm_start.run is not None:
        warm_start(module, model.tables, data.features, config.warm_start, folder)
    dense = [weight for _, weight in in_backward_optimizer_filter(module.named_parameters()) if weight.requires_grad]
    optimizer = torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.weight_decay)

    def validate() -> dict[str, float]:
        found = predicted(answers_of(module), valid, device, sharded=True)
        return valid_metrics(found, data.label) if rank() == 0 else {}

    monitor, minimize = monitored(config, data.label)
    fittable: Fittable[RankingBatch] = Fittable(
        module=module,
        loss=None,
        optimizer=optimizer,
        validate=validate,
        monitor=monitor,
        minimize=minimize,
        step=PipelinedStep(
            module,
            optimizer,
            device,
            parts=lambda: label_loss.parts,
            share_ids_ahead=device.type == "cuda" and not isinstance(model.module, ManagedRanker),
        ),
    )
    result = fit(fittable, train, config, folder)
    state = whole_state(module)
    if rank() == 0:
        plain = {key.removeprefix(RANKER): value.contiguous() for key, value in state.items() if key.startswith(RANKER)}
        save_file(plain, folder / WEIGHTS)
        names = [feature.name for feature in data.features.spec.coded]
        _write_id_counts(folder / "id_counts.json", names, {"train": train, "valid": valid})
    return module, result


def answers_of(module: nn.Module) -> Callable[[RankingBatch], torch.Tensor]:
    """Logits of a batch by a (distributed) TrainedRanker, for `predicted`."""

    def logits(batch: RankingBatch) -> torch.Tensor:
        answered: torch.Tensor = module(batch)[1]
        return answered

    return logits


def _write_id_counts(file: Path, names: list[str], streams: dict[str, RankingStream]) -> None:
    """How many rows held a known, an unseen, a missing id, by split; `names` = ids, then bags."""
    counts = {}
    for split, stream in streams.items():
        totals = np.zeros((len(names), 3), dtype=np.int64)
        for rows in stream.encoded():
            for place, codes in enumerate([*rows.ids, *(rows.bags[name][0] for name in rows.bags)]):
                found = Vocabulary.counts_of(codes.astype(np.int64))
                totals[place] += (found.known, found.unseen, found.missing)
        counts[split] = {
            name: dict(zip(("known", "unseen", "missing"), map(int, row), strict=True))
            for name, row in zip(names, totals, strict=True)
        }
    file.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
