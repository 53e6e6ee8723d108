"""The ranker with scores, and those it is measured against: without scores, and with placebos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ranking.demos.stages import DemoConfig, ResultTable
from ranking.evaluation import Prediction
from ranking.evaluation import metric_rows as ctr_rows
from ranking.measures.evaluated_models import common_labels, run_prediction
from ranking.measures.outcomes import Outcomes
from ranking.measures.placebo_runs import placebo_runs
from ranking.rankers import find_ranker
from ranking.targets.rate_priors import position_prior, prior_probabilities
from ranking.training.ranker_run import train_ranker
from segrec.records import DatasetFolder, MetricRow, RunFolder, ScoreTable
from segrec.worlds.oracle import Oracle

RANKER = "dcn_v2"
LABEL: Literal["is_click"] = "is_click"


@dataclass(frozen=True)
class ScoredRankers:
    """Runs of one ranker on one label."""

    with_scores: RunFolder
    others: dict[str, RunFolder]
    "By name: without scores, then with each placebo."

    @classmethod
    def train(
        cls, dataset: DatasetFolder, scores: ScoreTable, out: Path, config: DemoConfig, *, overwrite: bool
    ) -> ScoredRankers:
        """Five runs: one in `out`/ranker_with_scores, the others in `out`/controls."""
        settings = find_ranker(RANKER).config.checked(
            {
                "epochs": config.ranker_epochs,
                "batch_size": config.ranker_batch_size,
                "cross_rank": config.ranker_cross_rank,
                "seed": config.seed,
            }
        )
        folder = out / "ranker_with_scores"
        run, _ = train_ranker(RANKER, dataset, folder, label=LABEL, config=settings, scores=scores, overwrite=overwrite)
        return cls(run, dict(placebo_runs(run, dataset, out / "controls")))

    @property
    def names(self) -> str:
        """All models, the one with scores last."""
        return ", ".join([*self.others, self.with_scores.meta.model])

    def measure(self, dataset: DatasetFolder, replicates: int) -> list[MetricRow]:
        """CTR metrics on the test rows, beside rate priors and the oracle."""
        (label,) = common_labels([self.with_scores])
        outcomes = Outcomes.of(dataset, label, "test")
        ours = self.with_scores.meta.model
        runs = {ours: self.with_scores, **self.others}
        predictions = [run_prediction(run, name, dataset, outcomes) for name, run in runs.items()]
        priors = prior_probabilities(dataset, label, outcomes.rows)
        predictions += [Prediction(name, probabilities) for name, probabilities in priors.items()]
        oracle = Oracle.of(dataset)
        predictions.append(Prediction(oracle.name, oracle.flag_probability(outcomes.rows, LABEL)))
        pairs = [(ours, name) for name in self.others]
        lift = position_prior(dataset), oracle.name
        return ctr_rows(outcomes, predictions, pairs, lift=lift, replicates=replicates)


def ctr_table(rows: list[MetricRow], prior: str) -> ResultTable:
    """What a demo prints of the rankers."""
    metrics = {"AUC": LABEL, "gauc_impression": LABEL}
    return ResultTable(f"{LABEL} (test rows, all)", rows, (RANKER, prior, "oracle"), metrics, "AUC")
