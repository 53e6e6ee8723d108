"""`segrec fit`: an encoder learns from a dataset, and is frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Adds `fit` to `app`."""
    app.command("fit")(fit)


def fit(  # noqa: PLR0917 - typer makes them options
    encoder: Annotated[
        str,
        typer.Argument(
            metavar="ENCODER",
            help="of videos: segment_interest; of live rooms: content_ctr, kuaihl, ant_pivot, highlight_mlp, "
            "highlight_gru, highlight_causal, highlight_hierarchical; or an installed one",
        ),
    ],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder")],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="run folder to write")],
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE.yaml", help="settings")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="one setting, e.g. variant=paper")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run folder")] = False,
) -> None:
    """Fit an encoder on the train rows, stop early by the valid rows, and freeze it. A stopped fit goes on."""
    from segrec.encoders import find_encoder
    from segrec.encoders.encoder_runs import fit_encoder
    from segrec.freezing import FrozenEncoder
    from segrec.records import DatasetFolder

    settings = find_encoder(encoder).Config.of(config, sets or ())
    run, result = fit_encoder(encoder, settings, DatasetFolder.open(dataset), out, overwrite=overwrite)
    best = ", ".join(f"{name} {value:.4f}" for name, value in result.best.items())
    stopped = "stopped early" if result.stopped_early else "all epochs done"
    typer.echo(f"{run.meta.model}: {result.steps} steps, {stopped}; best after epoch {result.best_epoch + 1}")
    typer.echo(f"valid: {best}")
    frozen = FrozenEncoder.open(run.frozen)
    for note in find_encoder(encoder).notes(settings, DatasetFolder.open(dataset)):
        typer.echo(f"note: {note}")
    if frozen.meta.extra.get("left_out"):
        typer.echo(f"columns left out (constant, or too many categories): {', '.join(frozen.meta.extra['left_out'])}")
    typer.echo(f"frozen: {run.frozen} ({frozen.hash[:12]})")
