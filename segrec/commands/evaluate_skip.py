"""`segrec evaluate skip`: fitted encoders beside the priors, the boosted trees and, in made worlds, the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segrec.records.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from segrec.records import MetricRow
    from segrec.skip_evaluation import Answer, SkipSplits

TABLES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("all", (("exit", "NLL"), ("exit", "AUC"), ("exit", "concordance"), ("exit", "ECE"))),
    ("all", (("masked_skip", "HR@1"), ("masked_skip", "HR@5"), ("masked_skip", "NDCG@5"))),
    ("all", (("slots40", "HR@1"), ("slots40", "HR@5"), ("slots40", "NDCG@5"))),
    ("all", (("exit", "oracle_share_NLL"), ("masked_skip", "oracle_share_NDCG@5"))),
    ("warm", (("exit", "NLL"), ("masked_skip", "NDCG@5"))),
    ("cold", (("exit", "NLL"), ("masked_skip", "NDCG@5"))),
)
"What is printed: cohort, then (protocol, metric) by column. The file holds all."
PUBLISHED = (":published", ":bernoulli", ":static")
"Endings of the priors as published: printed under slots40 only."
WIDTH = 164
"Of printed tables where there is no terminal."


def add_to(evaluate: typer.Typer) -> None:
    """Adds `skip` to the group `evaluate`."""
    evaluate.command("skip")(skip)


def skip(
    *,
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="encoder runs; seeds of one model are averaged")
    ] = None,
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder")],
    out: Annotated[Path, typer.Option("--out", help="metric rows to write (JSON)")],
    prior: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="judge this prior as if it were a run")
    ] = None,
    split: Annotated[str, typer.Option(help="which views to measure: train, valid or test")] = "test",
    cohort: Annotated[
        list[str] | None, typer.Option(help="all, warm (item seen in training), cold; default: each")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the bootstrap's draws")] = 0,
    trees: Annotated[bool, typer.Option("--trees/--no-trees", help="fit LightGBM beside, to compare with")] = True,
    threads: Annotated[int, typer.Option(help="cores for LightGBM; 0 = all")] = 0,
) -> None:
    """Measure skip prediction under masked_skip, slots40 and exit, with paired differences and the counting rule."""
    from segrec.records import DatasetFolder, write_metric_rows
    from segrec.skip_evaluation import Entry, SkipSplits, known_priors, measure, skip_cohorts, skip_rows

    judged = known_priors(prior or [])
    splits = SkipSplits.of(DatasetFolder.open(dataset), split)
    cohorts = skip_cohorts(splits.tested, splits.train, cohort)
    entries = []
    for answer in _answers(runs or [], splits, trees, threads):
        found = measure(answer.ranking, answer.distribution, splits.outcomes, cohorts, splits.width)
        entries.append(Entry(answer.model, answer.seed, answer.challenger or answer.model in judged, found))
    rows = skip_rows(entries, cohorts, split, seed)
    write_metric_rows(out, rows)
    _show(rows)
    typer.echo(f"{out}: {len(rows):,} rows")


def _answers(runs: Sequence[Path], splits: SkipSplits, trees: bool, threads: int) -> Iterator[Answer]:
    from segrec.encoders.boosted_hazard import BoostedHazardConfig
    from segrec.skip_evaluation import (
        deterministic_answers,
        oracle_answer,
        published_answers,
        run_answer,
        trees_answer,
    )

    yield from published_answers(splits)
    yield from deterministic_answers(splits)
    if trees:
        try:
            yield trees_answer(splits, BoostedHazardConfig(threads=threads))
        except ConfigError as error:
            typer.echo(f"without lightgbm_hazard: {error}")
    for run in runs:
        yield run_answer(run, splits)
    oracle = oracle_answer(splits)
    if oracle is not None:
        yield oracle


def _show(rows: Sequence[MetricRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    from segrec.records.metric_rows import table
    from segrec.skip_evaluation import verdicts

    console = Console() if Console().is_terminal else Console(width=WIDTH)
    over_seeds = [row for row in rows if row.seed is None]
    for cohort, columns in TABLES:
        own = [row for row in over_seeds if row.cohort == cohort and (row.protocol, row.metric) in columns]
        if columns[0][0] != "slots40":
            own = [row for row in own if not row.model.endswith(PUBLISHED)]
        if not own:
            continue
        views = {protocol: max(row.n for row in own if row.protocol == protocol) for protocol in dict(columns)}
        title = ", ".join(f"{protocol}: {count:,} views" for protocol, count in views.items())
        header, *lines = table(own, [metric for _, metric in columns])
        shown = Table(title=f"{cohort} items, {title}" if cohort != "all" else title, title_justify="left")
        for name in header:
            shown.add_column(name, no_wrap=True)
        for line in lines:
            shown.add_row(*line)
        console.print(shown)
    for verdict in verdicts(rows):
        console.print(str(verdict), markup=False, highlight=False)
