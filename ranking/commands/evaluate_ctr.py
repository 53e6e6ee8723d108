"""`segrec evaluate ctr`: rankers' predictions measured on a split, beside other models, priors and placebos."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ranking.evaluated_models import NamedPath
    from ranking.evaluation import Prediction
    from ranking.labels import Label
    from ranking.outcomes import Outcomes
    from segrec.records import DatasetFolder, MetricRow, RunFolder

Flag = Literal["is_click", "long_view"]
"Labels whose probability a made world knows."
SHOWN = ("AUC", "gauc_impression", "LogLoss", "NE", "calibration_ratio")
"Metrics that are printed, for all rows; the file holds the others and the cohorts."
COHORTS_SHOWN = ("all", "warm", "cold", "first_of_user")
WIDTH = 150
"Of printed tables where there is no terminal."


def add_to(evaluate: typer.Typer) -> None:
    """Adds `ctr` to the group `evaluate`."""
    evaluate.command("ctr")(ctr)


def ctr(
    *,
    runs: Annotated[
        list[str], typer.Argument(metavar="RANKER_RUN...", help="ranker runs; seeds of one model are averaged")
    ],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.json", help="metric rows to write")],
    split: Annotated[str, typer.Option("--split", help="test or valid")] = "test",
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against", metavar="[NAME=]RUN|PREDICTIONS.parquet",
            help="a run, or predictions (user_id, item_id, time_ms, prediction), to take paired differences against",
        ),
    ] = None,
    placebo: Annotated[
        bool, typer.Option("--placebo", help="train the same ranker without scores and with placebo scores beside it")
    ] = False,
    placebo_runs: Annotated[
        Path | None, typer.Option("--placebo-runs", help="where those runs lie; default: beside --out")
    ] = None,
    replicates: Annotated[int, typer.Option(min=100, help="of the bootstrap over users")] = 1000,
) -> None:  # fmt: skip
    """Measure AUC, GAUC, LogLoss, NE, F1 and calibration with user-clustered 95% intervals, alone and paired."""
    from ranking.evaluated_models import NamedPath, check_distinct, common_label
    from ranking.evaluation import metric_rows
    from ranking.outcomes import Outcomes
    from segrec.records import SPLITS, ConfigError, DatasetFolder, RunFolder, write_metric_rows
    from segrec.tables import rank

    if split not in SPLITS:
        raise ConfigError(f"--split {split!r} is unknown (known: {', '.join(SPLITS)})")
    opened = DatasetFolder.open(dataset)
    given = [NamedPath.parse(text) for text in runs]
    folders = [RunFolder.open(path.path, "ranker") for path in given]
    label = common_label(folders)
    outcomes = Outcomes.of(opened, label, split)
    own = _own(folders, given, opened, outcomes)
    others = list(_others(against or [], opened, outcomes, label.name))
    controls = _controls(folders, own, opened, outcomes, placebo_runs or out.with_suffix("")) if placebo else []
    if rank() != 0:  # every process has predicted its share; the first one measures the whole
        return
    references, lift = _references(opened, label, outcomes)
    predictions = [*own, *controls, *others, *references]
    check_distinct(predictions)
    pairs = _pairs(own, [*controls, *others])
    rows = metric_rows(outcomes, predictions, pairs, lift=lift, replicates=replicates)
    write_metric_rows(out, rows)
    _show(rows, outcomes)
    typer.echo(f"{out}: {len(rows):,} rows")


def _own(
    folders: Sequence[RunFolder], given: Sequence[NamedPath], dataset: DatasetFolder, outcomes: Outcomes
) -> list[Prediction]:
    from ranking.evaluated_models import model_names, run_prediction

    names = model_names(folders, [path.name for path in given])
    return [run_prediction(run, name, dataset, outcomes) for run, name in zip(folders, names, strict=True)]


def _others(against: Sequence[str], dataset: DatasetFolder, outcomes: Outcomes, label: str) -> Iterator[Prediction]:
    from ranking.evaluated_models import NamedPath, file_predictions, model_names, run_prediction
    from segrec.records import ConfigError, RunFolder

    given = [NamedPath.parse(text) for text in against]
    yield from file_predictions([path for path in given if path.is_file], outcomes)
    named = [path for path in given if not path.is_file]
    folders = [RunFolder.open(path.path, "ranker") for path in named]
    for run, name in zip(folders, model_names(folders, [path.name for path in named]), strict=True):
        if run.meta.label != label:
            raise ConfigError(f"{run.path} was trained for {run.meta.label!r}, not for {label!r}")
        yield run_prediction(run, name, dataset, outcomes)


def _controls(
    folders: Sequence[RunFolder], own: Sequence[Prediction], dataset: DatasetFolder, outcomes: Outcomes, folder: Path
) -> list[Prediction]:
    """Each run with scores, again without them and with placebos."""
    from ranking.evaluated_models import run_prediction
    from ranking.placebo_runs import placebo_runs
    from segrec.records import ConfigError

    known = {(prediction.model, prediction.seed) for prediction in own}
    scored = [run for run in folders if run.meta.scores is not None]
    if not scored:
        raise ConfigError(f"{folders[0].path} was trained without scores: --placebo needs a run with --scores")
    return [
        run_prediction(control, name, dataset, outcomes)
        for run in scored
        for name, control in placebo_runs(run, dataset, folder / run.path.resolve().name)
        if (name, control.meta.seed) not in known
    ]


def _references(
    dataset: DatasetFolder, label: Label, outcomes: Outcomes
) -> tuple[list[Prediction], tuple[str, str] | None]:
    """The rate priors and, in a made world that knows this label's probability, the oracle."""
    from ranking.evaluation import Prediction
    from ranking.rate_priors import position_prior, prior_probabilities
    from segrec.worlds.oracle import FLAG_PROBABILITIES, Oracle

    priors = prior_probabilities(dataset, label, outcomes.rows)
    found = [Prediction(name, probabilities) for name, probabilities in priors.items()]
    if dataset.truth() is None or label.name not in FLAG_PROBABILITIES:
        return found, None
    oracle = Oracle.of(dataset)
    probabilities = oracle.flag_probability(outcomes.rows, cast("Flag", label.name))
    found.append(Prediction(oracle.name, probabilities))
    return found, (position_prior(dataset), oracle.name)


def _pairs(own: Sequence[Prediction], others: Sequence[Prediction]) -> list[tuple[str, str]]:
    """Each run's model against each other one; the first run's model also against the other runs'."""
    models = list(dict.fromkeys(prediction.model for prediction in own))
    against = [name for name in dict.fromkeys(prediction.model for prediction in others) if name not in models]
    return [(models[0], name) for name in models[1:]] + [(model, name) for model in models for name in against]


def _show(rows: Sequence[MetricRow], outcomes: Outcomes) -> None:
    from rich.console import Console
    from rich.table import Table

    from ranking.evaluation import ORACLE_SHARE
    from segrec.records.metric_rows import table

    console = Console() if Console().is_terminal else Console(width=WIDTH)
    over_seeds = [row for row in rows if row.seed is None]
    for cohort in COHORTS_SHOWN:
        own = [row for row in over_seeds if row.cohort == cohort]
        for title, metrics in (("", SHOWN), (", share of the oracle's lift", [ORACLE_SHARE + name for name in SHOWN])):
            asked = [row for row in own if row.metric in metrics and not math.isnan(row.value)]
            if not asked:
                continue
            present = [metric for metric in metrics if any(row.metric == metric for row in asked)]
            header, *lines = table(asked, present)
            told = f"{outcomes.label}, {outcomes.split}, {cohort}: {asked[0].n:,} rows{title}"
            shown = Table(title=told, title_justify="left")
            for name in header:
                shown.add_column(name.removeprefix(ORACLE_SHARE), no_wrap=name == "model", overflow="fold")
            for line in lines:
                shown.add_row(*line)
            console.print(shown)
