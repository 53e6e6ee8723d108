"""`segrec export`: a ranker's run as one folder for service, checked against the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ranking.export.manifest import ExportManifest
    from ranking.export.parity import Parity
    from ranking.opened_run import OpenedRun
    from segrec.records import DatasetFolder


def add_to(app: typer.Typer) -> None:
    """Adds `export` to `app`."""
    app.command("export")(export)


def export(
    *,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="what `segrec rank` wrote")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder to write")],
    quantise: Annotated[
        Literal["int8", "none"], typer.Option("--quantise", help="int8: tables of one byte a value, for CPU and CUDA")
    ] = "none",
    aot: Annotated[
        bool, typer.Option("--aot", help="compile the dense part with AOTInductor (needs g++; a minute or two)")
    ] = False,
    device: Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="what --aot compiles for")] = "cpu",
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="DATASET",
            help="compare run and export on its rows; default: the run's own dataset, or made rows where it is gone",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", min=0,
            help="of that comparison: largest difference of a prediction (1e-5), with int8 the loss of AUC (1e-3)",
        ),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="SCORES.parquet", help="instead of those that the run names")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing folder")] = False,
) -> None:  # fmt: skip
    """Write a ranker as torch.export program, tables and feature spec: plain files that need no training code.

    The export is compared with the run before it appears; one that answers otherwise is not written.
    """
    from ranking.export.compilation import COMPILER, compiler_there
    from ranking.export.exporting import ExportConfig, export_run
    from ranking.opened_run import OpenedRun
    from segrec.records import ScoreTable

    opened = OpenedRun.of(run, None if scores is None else ScoreTable.open(scores))
    if aot and not compiler_there():
        typer.echo(f"note: {COMPILER} is not installed: nothing is compiled, the torch.export program serves", err=True)
        aot = False
    settings = ExportConfig(quantise=quantise, compile_for=device if aot else None, tolerance=tolerance)
    manifest, parity = export_run(opened, out, settings, dataset=_checked_on(opened, check), overwrite=overwrite)
    _tell(manifest, parity, out)


def _checked_on(opened: OpenedRun, check: Path | None) -> DatasetFolder | None:
    """The dataset given, else the run's own where it still lies there unchanged."""
    from segrec.records import DatasetFolder

    if check is not None:
        return DatasetFolder.open(check)
    own = Path(opened.run.meta.dataset)
    if not (own / "dataset.json").is_file():
        return None
    found = DatasetFolder.open(own)
    return found if found.meta.fingerprint == opened.run.meta.dataset_fingerprint else None


def _tell(manifest: ExportManifest, parity: Parity, out: Path) -> None:
    mib = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 2**20
    compiled = "" if manifest.compiled is None else f", compiled for {manifest.compiled.processor}"
    tables = "as trained" if manifest.quantise == "none" else manifest.quantise
    typer.echo(f"{manifest.ranker}: {mib:.1f} MiB, tables {tables}{compiled}")
    lost = ", ".join(f"AUC of {name} {0.0 - value:+.6f}" for name, value in parity.auc_loss.items())
    typer.echo(
        f"checked on {parity.rows:,} rows ({parity.checked_on}): largest difference of a prediction "
        f"{parity.largest_difference:.2g}" + (f"; {lost}" if lost else "")
    )
    typer.echo(f"export: {out}")
