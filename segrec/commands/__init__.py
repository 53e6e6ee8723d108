"""The segrec half of the command line: one file a command, each adds itself to the app."""

from __future__ import annotations

import typer

from segrec.commands import checkpoint, doctor, embed, evaluate_highlight, evaluate_skip, fit, read, score, simulate


def add_to(app: typer.Typer, evaluate: typer.Typer) -> None:
    """Adds segrec's commands to `app` and its evaluations to the group `evaluate`."""
    checkpoint.add_to(app)
    doctor.add_to(app)
    embed.add_to(app)
    evaluate_highlight.add_to(evaluate)
    evaluate_skip.add_to(evaluate)
    fit.add_to(app)
    read.add_to(app)
    score.add_to(app)
    simulate.add_to(app)
