"""The whole table of protocol `live`: simple predictors, what the user names, the oracle, on each cohort."""

from __future__ import annotations

from collections.abc import Sequence

from segrec.highlight_evaluation.answers import oracle_answers, simple_answers
from segrec.highlight_evaluation.live_protocol import live_measures
from segrec.highlight_evaluation.runs import Asked, agreed_target
from segrec.highlight_evaluation.tables import Entry, highlight_rows
from segrec.highlight_evaluation.task import HighlightTask, highlight_cohorts, known_split
from segrec.records import DatasetFolder, MetricRow


def live_table(
    dataset: DatasetFolder,
    runs: Sequence[str],
    *,
    split: str = "test",
    target: str | None = None,
    shift: int | None = None,
    min_viewers: int = 0,
    window: int = 20,
    cohorts: Sequence[str] | None = None,
    seed: int = 0,
) -> list[MetricRow]:
    """Metric rows of runs (RUN or NAME=FILE.parquet) on one split's rooms; `seed` fixes the bootstrap's draws.

    :raises ConfigError: an unknown split, cohort or shift; runs that predict different targets, or none that tells.
    :raises DataError: a run or file that does not fit the dataset; nothing to measure.
    """
    asked = known_split(split)
    opened = [Asked.open(run, dataset, asked) for run in runs]
    rate, by = agreed_target(opened, target, shift)
    task = HighlightTask.of(dataset, asked, rate, by, window=window, min_viewers=min_viewers)
    parts = highlight_cohorts(task, cohorts)
    answers = [*simple_answers(task), *(one.answer(task) for one in opened), *oracle_answers(task)]
    rows = []
    for cohort in parts:
        entries = [
            Entry(one.model, one.seed, one.challenger, live_measures(one.scores, task, cohort, is_rate=one.is_rate))
            for one in answers
        ]
        rows += highlight_rows(entries, cohort.rooms, split=asked, cohort=cohort.name, seed=seed)
    return rows
