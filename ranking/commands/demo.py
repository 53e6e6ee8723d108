"""`segrec demo`: the whole way on a made world, ending with the result table and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segrec.records.errors import ConfigError

if TYPE_CHECKING:
    from ranking.demo import DemoResult
    from segrec.records import MetricRow

WORLDS = ("short",)
SKIP_MODELS = ("segment_interest", "length_position", "item_shrunk", "oracle")
CTR_MODELS = ("dcn_v2", "length", "oracle")
"Printed, with their variants and placebos; the page has all."


def add_to(app: typer.Typer) -> None:
    """Adds `demo` to `app`."""
    app.command("demo")(demo)


def demo(
    world: Annotated[str, typer.Option(help="which made world: short (videos)")] = "short",
    out: Annotated[Path, typer.Option(help="folder for everything the demo makes")] = Path("runs/demo"),
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="users, items, encoder_epochs, folds ...")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what an earlier demo left there")] = False,
) -> None:
    """Simulate, read, fit, score, rank without and with scores, evaluate and report: under three minutes."""
    if world not in WORLDS:
        raise ConfigError(f"--world {world!r} is unknown (known: {', '.join(WORLDS)})")
    from ranking.demo import DemoConfig, run_demo

    config = DemoConfig.of(sets=sets or ())
    typer.echo(f"demo: a made {world}-video world, everything into {out}")
    _show(run_demo(out, config, typer.echo, overwrite=overwrite))


def _show(result: DemoResult) -> None:
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 130, highlight=False)
    skip = list(_lines(result.skip, SKIP_MODELS, {"NLL": "exit", "NDCG@5": "masked_skip"}, "NLL"))
    console.print(_table("Where views end (test views, all)", ["NLL", "NDCG@5"], "NLL", skip))
    protocol = result.ctr[0].protocol
    ctr = list(_lines(result.ctr, CTR_MODELS, {"AUC": protocol, "gauc_impression": protocol}, "AUC"))
    console.print(_table(f"{protocol} (test rows, all)", ["AUC", "gauc_impression"], "AUC", ctr))
    for line in _gain(result.ctr):
        console.print(line)
    console.print(f"{result.seconds:.0f} s in all; the page: {result.page}", soft_wrap=True)


def _lines(
    rows: Sequence[MetricRow], models: Sequence[str], metrics: dict[str, str], share: str
) -> Iterator[list[str]]:
    """A line a model: its metrics with intervals, and what part of the oracle's lift over the prior it reaches."""
    whole = [row for row in rows if row.cohort == "all" and row.versus is None]
    for model in dict.fromkeys(row.model for row in whole):
        if not model.startswith(tuple(models)):
            continue
        found = {(row.protocol, row.metric): row for row in whole if row.model == model}
        cells = [_cell(found.get((protocol, metric))) for metric, protocol in metrics.items()]
        reached = found.get((metrics[share], f"oracle_share_{share}"))
        yield [model, *cells, "" if reached is None else f"{reached.value:.0%}"]


def _cell(row: MetricRow | None) -> str:
    if row is None:
        return "-"
    return f"{row.value:.4f}" + ("" if row.low is None or row.high is None else f" [{row.low:.4f}, {row.high:.4f}]")


def _table(title: str, metrics: Sequence[str], share: str, lines: Sequence[Sequence[str]]) -> object:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("model", *metrics, f"{share}: of the oracle's lift"):
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def _gain(rows: Sequence[MetricRow]) -> Iterator[str]:
    for row in rows:
        if row.versus is not None and row.cohort == "all" and row.metric == "AUC":
            interval = "" if row.low is None or row.high is None else f" [{row.low:+.4f}, {row.high:+.4f}]"
            yield f"AUC, {row.model} - {row.versus}: {row.value:+.4f}{interval} (paired)"
