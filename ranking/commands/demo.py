"""`segrec demo`: the whole way on a made world, ending with the result tables and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segrec.records.errors import ConfigError

if TYPE_CHECKING:
    from ranking.demos.stages import DemoResult, ResultTable
    from segrec.records import MetricRow

WORLDS = {"short": "a made world of short videos", "live": "a made world of live rooms"}


def add_to(app: typer.Typer) -> None:
    """Adds `demo` to `app`."""
    app.command("demo")(demo)


def demo(
    world: Annotated[str, typer.Option(help="which made world: short (videos), live (rooms)")] = "short",
    out: Annotated[Path, typer.Option(help="folder for everything the demo makes")] = Path("runs/demo"),
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="users, items (live: rooms, exposures), encoder_epochs ..."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what an earlier demo left there")] = False,
) -> None:
    """Simulate, read, fit, score, rank without and with scores, evaluate and report: under three minutes."""
    if world not in WORLDS:
        raise ConfigError(f"--world {world!r} is unknown (known: {', '.join(WORLDS)})")
    _show(_run(world, out, sets or (), overwrite))


def _run(world: str, out: Path, sets: Sequence[str], overwrite: bool) -> DemoResult:
    def begin() -> None:
        typer.echo(f"demo: {WORLDS[world]}, everything into {out}")

    if world == "live":
        from ranking.demos.live import LiveDemoConfig, run_live_demo

        live = LiveDemoConfig.of(sets=sets)
        begin()
        return run_live_demo(out, live, typer.echo, overwrite=overwrite)
    from ranking.demos.short import ShortDemoConfig, run_short_demo

    short = ShortDemoConfig.of(sets=sets)
    begin()
    return run_short_demo(out, short, typer.echo, overwrite=overwrite)


def _show(result: DemoResult) -> None:
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 130, highlight=False)
    for table in result.tables:
        console.print(_drawn(table))
    for line in _gain(result.ctr):
        console.print(line)
    console.print(f"{result.seconds:.0f} s in all; the page: {result.page}", soft_wrap=True)


def _drawn(shown: ResultTable) -> object:
    from rich.table import Table

    table = Table(title=shown.title, title_justify="left", title_style="bold")
    for name in ("model", *shown.metrics, f"{shown.share}: of the oracle's lift"):
        table.add_column(name, overflow="fold")
    for line in _lines(shown):
        table.add_row(*line)
    return table


def _lines(shown: ResultTable) -> Iterator[list[str]]:
    """A line a model: its metrics with intervals, and what part of the oracle's lift over the prior it reaches."""
    whole = [row for row in shown.rows if row.cohort == "all" and row.versus is None]
    for model in dict.fromkeys(row.model for row in whole):
        if not model.startswith(shown.models):
            continue
        found = {(row.protocol, row.metric): row for row in whole if row.model == model}
        cells = [_cell(found.get((protocol, metric))) for metric, protocol in shown.metrics.items()]
        reached = found.get((shown.metrics[shown.share], f"oracle_share_{shown.share}"))
        yield [model, *cells, "" if reached is None else f"{reached.value:.0%}"]


def _cell(row: MetricRow | None) -> str:
    if row is None:
        return "-"
    return f"{row.value:.4f}" + ("" if row.low is None or row.high is None else f" [{row.low:.4f}, {row.high:.4f}]")


def _gain(rows: Sequence[MetricRow]) -> Iterator[str]:
    for row in rows:
        if row.versus is not None and row.cohort == "all" and row.metric == "AUC":
            interval = "" if row.low is None or row.high is None else f" [{row.low:+.4f}, {row.high:+.4f}]"
            yield f"AUC, {row.model} - {row.versus}: {row.value:+.4f}{interval} (paired)"
