"""A ranker's run ready to predict: its settings, what it fitted on train, and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ranking.batching import RankingBatch
from ranking.rankers import find_ranker
from ranking.rankers.config import RankerConfig
from ranking.rows.row_inputs import dense_names
from ranking.rows.stream import RankingStream
from ranking.score_lookup import check_scores
from ranking.targets.labels import tasks_of
from ranking.training.model import RankerModel, build_ranker
from ranking.training.ranker_data import RankerData
from ranking.training.trained_ranker import WEIGHTS
from ranking.written_predictions import Predictor
from segrec.records import DataError, DatasetFolder, RunFolder, ScoreTable, Split, file_hash


@dataclass(frozen=True)
class OpenedRun:
    """A finished run on impressions."""

    run: RunFolder
    config: RankerConfig
    data: RankerData
    scores: ScoreTable | None
    "What the run was trained with, or the table given instead."

    @classmethod
    def of(cls, run: RunFolder | Path | str, scores: ScoreTable | None = None) -> OpenedRun:
        """Opens what `segrec rank` left.

        :param scores: another score table than the run's own: a placebo, or the scores of another dataset.
        :raises DataError: not a ranker's run on impressions, or a score table that is missing or has changed.
        """
        run = run if isinstance(run, RunFolder) else RunFolder.open(run, "ranker")
        if run.meta.rows == "segments":
            raise DataError(
                run.path, "was trained on segments, not on impressions",
                fix="measure it with `segrec evaluate highlight`",
            )  # fmt: skip
        config = find_ranker(run.meta.name).config.of(run.config)
        table = scores if scores is not None else _own_scores(run)
        return cls(run, config, RankerData.load(run.path, config, table), table)

    def stream(self, dataset: DatasetFolder, splits: Sequence[Split], *, labelled: bool = True) -> RankingStream:
        """Batches of the rows of `splits` that have the run's label; of all their rows where `labelled` is False.

        :raises DataError: features that the dataset lacks, scores of another dataset or fitted on these rows.
        """
        check_scores(self.scores, dataset, splits)
        return self.data.stream(dataset, splits, self.config, labelled=labelled)

    def predictor(self, dataset: DatasetFolder, splits: Sequence[Split], device: str | None = None) -> Predictor:
        """All rows of `splits`, labelled or not, and this run to answer them.

        :param device: None = the run's.
        :raises DataError: as `stream`.
        """
        source = self.stream(dataset, splits, labelled=False).source
        place = self.config.torch_device() if device is None else torch.device(device)
        module = self.model().module.to(place)

        def answers(batch: RankingBatch) -> npt.NDArray[np.float64]:
            with torch.inference_mode():
                logits: torch.Tensor = module(batch.to(place))
            return self.data.label.answers(logits.double().cpu().numpy())

        return Predictor(source, answers, self.outputs, self.config.scores.max_segments)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What each logit predicts."""
        return tuple(task.name for task in tasks_of(self.data.label))

    @property
    def dense_names(self) -> list[str]:
        """Columns of the dense matrix."""
        return dense_names(self.data.features, self.data.rates, self.data.scores)

    def model(self) -> RankerModel:
        """The trained ranker on the CPU, in eval mode.

        :raises DataError: the run's weights are missing or of another ranker.
        """
        model = build_ranker(
            self.run.meta.name, self.config, self.data.features, self.dense_names, label=self.data.label, device="cpu"
        )
        _load_weights(model.module, self.run.path / WEIGHTS)
        model.module.eval()
        return model


def _own_scores(run: RunFolder) -> ScoreTable | None:
    if run.meta.scores is None:
        return None
    table = ScoreTable.open(run.meta.scores)
    if file_hash(table.path) != run.meta.scores_hash:
        raise DataError(
            table.path, f"has changed since the run {run.path}", found=file_hash(table.path)[:12],
            expected=(run.meta.scores_hash or "")[:12], fix="train again, or pass --scores",
        )  # fmt: skip
    return table


def _load_weights(module: torch.nn.Module, file: Path) -> None:
    try:
        module.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            file, "does not hold this ranker's weights", found=" ".join(str(error).split())[:200], fix="train again"
        ) from None
