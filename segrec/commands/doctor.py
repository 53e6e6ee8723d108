"""`segrec doctor`: versions that fit together, optional tools, what is wrong, the fix."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Adds the command `doctor`."""
    app.command("doctor")(doctor)


def doctor() -> None:
    """Versions, whether they fit together, what is wrong and the command that mends it (exit code 2 then)."""
    from segrec.doctor import examine

    report = examine()
    for component in report.components:
        typer.echo(f"{component.name:<12} {component.version or '-':<16} {component.note}".rstrip())
    for problem in report.problems:
        typer.echo(f"\nwrong: {problem.what}\n  fix: {problem.fix}")
    if report.problems:
        raise typer.Exit(2)
    typer.echo("\nall is well")
