"""The ranking half of the command line: one file a command, each adds itself to the app."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer, evaluate: typer.Typer) -> None:
    """Adds ranking's commands to `app` and its evaluations to the group `evaluate`."""
