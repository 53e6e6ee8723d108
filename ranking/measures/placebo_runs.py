"""The runs that a gain from scores is measured against: the same ranker without scores, and with placebo scores."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ranking.measures.placebos import PLACEBOS, Placebo, placebo_name, write_placebo
from ranking.rankers import find_ranker
from ranking.rankers.config import RankerConfig
from ranking.training.ranker_run import train_ranker
from segrec.fitting.shared_run import made_once
from segrec.records import DatasetFolder, RunFolder, ScoreTable, file_hash
from segrec.tables.processes import everywhere


def placebo_runs(run: RunFolder, dataset: DatasetFolder, folder: Path) -> Iterator[tuple[str, RunFolder]]:
    """Name and run without scores, then with each placebo: same ranker, settings, label and seed as `run`.

    They are trained in `folder` and found there again by the next call, as long as settings and scores are the same.

    :raises ValueError: the run has no scores.
    """
    if run.meta.scores is None:
        raise ValueError(f"{run.path} was trained without scores")
    config = find_ranker(run.meta.name).config.of(run.config)
    real = ScoreTable.open(run.meta.scores)
    bare = config.model_copy(update={"scores": config.scores.model_copy(update={"use": "none"})})
    without = _trained(run, dataset, bare, None, folder / f"without.{run.meta.seed}")
    yield without.meta.model, without
    for placebo in PLACEBOS:
        file = folder / f"scores_{placebo}.{file_hash(real.path)[:12]}.parquet"
        table = _placebo_table(file, real, dataset, placebo)
        name = placebo_name(run.meta.model, placebo)
        yield name, _trained(run, dataset, config, table, folder / f"placebo_{placebo}.{run.meta.seed}")


def _placebo_table(file: Path, real: ScoreTable, dataset: DatasetFolder, placebo: Placebo) -> ScoreTable:
    """The table at `file`, written by the first process where it is missing."""
    found = partial(ScoreTable.open, file)
    there = everywhere(file.is_file())
    return found() if there else made_once(partial(write_placebo, real, dataset, placebo, file), found)


def _trained(
    run: RunFolder, dataset: DatasetFolder, config: RankerConfig, scores: ScoreTable | None, out: Path
) -> RunFolder:
    """The run at `out` where it is this one, else trained anew."""
    if (out / "run.json").is_file():
        found = RunFolder.open(out, "ranker")
        same_scores = found.meta.scores_hash == (None if scores is None else file_hash(scores.path))
        same_data = found.meta.dataset_fingerprint == dataset.meta.fingerprint
        same_task = (found.meta.name, found.meta.label) == (run.meta.name, run.meta.label)
        if same_scores and same_data and same_task and found.config.read_text(encoding="utf-8") == config.to_yaml():
            return found
    made, _ = train_ranker(
        run.meta.name, dataset, out, label=run.meta.label or "", config=config, scores=scores, overwrite=out.exists()
    )
    return made
