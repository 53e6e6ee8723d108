"""A ranker's training on fitted data, and its answers for the rows of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torchrec.optim.optimizers import in_backward_optimizer_filter

from ranking.batching import RankingBatch
from ranking.id_report import IdReport
from ranking.rankers.config import RankerConfig
from ranking.rankers.managed_ranker import ManagedRanker
from ranking.rows.encoded_rows import EncodedRows
from ranking.training.dense_speed import apply_speed_settings
from ranking.training.label_loss import LabelLoss
from ranking.training.model import build_ranker
from ranking.training.ranker_data import RankerData
from ranking.training.shared_prediction import predicted
from ranking.training.trained_ranker import WEIGHTS, TrainedRanker
from ranking.training.valid_metrics import monitored, valid_metrics
from ranking.training.warm_start import warm_start
from segrec.fitting import FitResult, Fittable, fit
from segrec.fitting.stepping import PipelinedStep
from segrec.fitting.stored_checkpoint import RANKER
from segrec.records import DatasetFolder, Split
from segrec.tables import distribute, rank, whole_state


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
        encoded: dict[Split, Iterator[EncodedRows]] = {"train": train.encoded(), "valid": valid.encoded()}
        managed = model.module.ids if isinstance(model.module, ManagedRanker) else None
        IdReport.measure(dataset, data.features, encoded, managed, wanted=data.label.known()).write(folder)
    return module, result


def answers_of(module: nn.Module) -> Callable[[RankingBatch], torch.Tensor]:
    """Logits of a batch by a (distributed) TrainedRanker, for `predicted`."""

    def logits(batch: RankingBatch) -> torch.Tensor:
        answered: torch.Tensor = module(batch)[1]
        return answered

    return logits
