"""The `segrec` command: both halves joined; exit code 0 done, 2 wrong use or bad input, 1 our fault."""

from __future__ import annotations

import logging
import sys

import typer

import ranking.commands
import segrec.commands
from segrec.records.errors import SegrecError
from segrec.torchrun import end_process, run_together, under_torchrun


def build_app() -> typer.Typer:
    """The command tree."""
    app = typer.Typer(
        name="segrec",
        help="Per-segment scores from logs and content, and rankers that use them.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    evaluate = typer.Typer(help="Measure runs: skips of videos, highlights of live rooms, CTR.", no_args_is_help=True)
    app.add_typer(evaluate, name="evaluate")
    segrec.commands.add_to(app, evaluate)
    ranking.commands.add_to(app, evaluate)
    return app


def main() -> None:
    """Runs the command line; bad input becomes one line on stderr and exit code 2. Under torchrun all processes do."""
    # A notice of torch to its own callers, printed whenever TorchRec traces a module; users can do nothing about it.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    if under_torchrun():
        run_together(build_app())
        return
    logging.basicConfig(format="segrec: %(message)s")
    try:
        build_app()()
    except SegrecError as error:
        sys.stderr.write(f"segrec: error: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
    if under_torchrun():
        end_process()
