"""`segrec report`: a run, or a folder of runs, as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Adds `report` to `app`."""
    app.command("report")(report)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or a folder that holds several")],
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="default: report.html inside RUN")] = None,
) -> None:
    """Write one HTML page about RUN: what was run, results, curves, heat strips, calibration. No network needed."""
    from ranking.report import write_page

    typer.echo(write_page(run, out))
