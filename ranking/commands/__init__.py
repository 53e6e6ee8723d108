"""The ranking half of the command line: one file a command, each adds itself to the app."""

from __future__ import annotations

import typer

from ranking.commands import demo, evaluate_ctr, export, predict, rank, report


def add_to(app: typer.Typer, evaluate: typer.Typer) -> None:
    """Adds ranking's commands to `app` and its evaluations to the group `evaluate`."""
    demo.add_to(app)
    evaluate_ctr.add_to(evaluate)
    export.add_to(app)
    predict.add_to(app)
    rank.add_to(app)
    report.add_to(app)
