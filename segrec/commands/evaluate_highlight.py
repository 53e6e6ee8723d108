"""`segrec evaluate highlight`: encoders and rankers of live segments beside the simple predictors and the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segrec.records.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segrec.records import MetricRow

PROTOCOLS = ("live", "kuailive_m3")
TABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("all", ("tau_global", "tau_room", "tau_window")),
    ("all", ("tau_room@0.2", "tau_room@0.4", "tau_room@0.6")),
    ("all", ("tau_global@0.2", "tau_global@0.4", "tau_global@0.6")),
    ("all", ("spearman", "calibration_ratio", "calibration_ratio_trials")),
    ("all", ("oracle_share_tau_global", "oracle_share_tau_room")),
    ("all", ("mAP", "F1@50%", "spearman", "tau_room")),
    ("all", ("kendall_pairs@0.2", "kendall_pairs@0.4")),
    ("warm", ("tau_global", "tau_room")),
    ("cold", ("tau_global", "tau_room")),
)
"What is printed: cohort, then metrics by column. The file holds all."
WIDTH = 164
"Of printed tables where there is no terminal."


def add_to(evaluate: typer.Typer) -> None:
    """Adds `highlight` to the group `evaluate`."""
    evaluate.command("highlight")(highlight)


def highlight(
    *,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|NAME=RUN|NAME=FILE.parquet]...",
            help="encoder runs, ranker runs on segments, files of item_id, segment, score; seeds are averaged",
        ),
    ] = None,
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder of live rooms")],
    out: Annotated[Path, typer.Option("--out", help="metric rows to write (JSON)")],
    split: Annotated[str, typer.Option(help="which rooms to measure: train, valid or test")] = "test",
    protocol: Annotated[str, typer.Option(help="live (tau of a rate) or kuailive_m3 (that benchmark's)")] = "live",
    target: Annotated[str | None, typer.Option(help="lvtr or ctr; default: what the runs predict")] = None,
    shift: Annotated[int | None, typer.Option(help="0 the segment itself, 1 the next; default: the runs'")] = None,
    min_viewers: Annotated[int, typer.Option(help="leave out segments with fewer viewers")] = 0,
    window: Annotated[int, typer.Option(help="segments of a window (tau_global, tau_window)")] = 20,
    cohort: Annotated[
        list[str] | None, typer.Option(help="all, warm (streamer seen in training), cold; default: each")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the bootstrap's draws")] = 0,
) -> None:
    """Measure how well scores order the segments of live rooms: Kendall's tau by name, beside simple predictors."""
    from segrec.highlight_evaluation import live_table, m3_table
    from segrec.records import DatasetFolder, write_metric_rows

    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r} (known: {', '.join(PROTOCOLS)})")
    folder = DatasetFolder.open(dataset)
    if protocol == "live":
        rows = live_table(
            folder, runs or [], split=split, target=target, shift=shift, min_viewers=min_viewers, window=window,
            cohorts=cohort, seed=seed,
        )  # fmt: skip
    elif target is not None or shift is not None or min_viewers or cohort:
        raise ConfigError(
            "protocol kuailive_m3 has its own target: leave --target, --shift, --min-viewers, --cohort out"
        )
    else:
        rows = m3_table(folder, runs or [], split=split, seed=seed)
    write_metric_rows(out, rows)
    _show(rows)
    typer.echo(f"{out}: {len(rows):,} rows")


def _show(rows: Sequence[MetricRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    from segrec.records.metric_rows import table

    console = Console() if Console().is_terminal else Console(width=WIDTH)
    over_seeds = [row for row in rows if row.seed is None]
    for cohort, metrics in TABLES:
        own = [row for row in over_seeds if row.cohort == cohort and row.metric in metrics]
        if {row.metric for row in own} != set(metrics):
            continue
        counts = {row.metric: row.n for row in own if row.versus is None}
        told = ", ".join(f"{metric} {count:,}" for metric, count in counts.items())
        shown = Table(title=f"{cohort} rooms; segments: {told}", title_justify="left")
        header, *lines = table(own, metrics)
        for name in header:
            shown.add_column(name, no_wrap=True)
        for line in lines:
            shown.add_row(*line)
        console.print(shown)
