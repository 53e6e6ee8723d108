"""`segrec predict`: a dataset's rows with the predictions of a ranker's run or export, streamed to Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ranking.written_predictions import Predictor
    from segrec.records import DatasetFolder, ScoreTable, Split


def add_to(app: typer.Typer) -> None:
    """Adds `predict` to `app`."""
    app.command("predict")(predict)


def predict(
    *,
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_EXPORT", help="what `segrec rank` or `segrec export` wrote")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="file to write")],
    split: Annotated[
        Literal["train", "valid", "test", "all"], typer.Option("--split", help="which rows, labelled or not")
    ] = "test",
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", metavar="NAME[,NAME]", help="columns of the dataset's rows to keep beside the keys"),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="SCORES.parquet", help="instead of those that the run names")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"] | None, typer.Option("--device", help="default: the run's; of an export cpu")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing file")] = False,
) -> None:
    """Write user_id, item_id, time_ms, kept columns and the prediction of every row, in the dataset's order.

    `segrec evaluate ctr ... --against NAME=FILE.parquet` reads the file.
    """
    from ranking.written_predictions import check_columns, write_predictions
    from segrec.records import SPLITS, ConfigError, DataError, DatasetFolder, ScoreTable, check_suffix
    from segrec.torchrun import under_torchrun

    if under_torchrun():
        raise ConfigError("segrec predict is the work of one process; run it without torchrun")
    check_suffix(out, ".parquet")
    if out.exists() and not overwrite:
        raise DataError(out, "exists already", fix="choose another --out, or pass --overwrite")
    opened = DatasetFolder.open(dataset)
    keep = [name for given in columns or () for name in given.split(",") if name]
    check_columns(opened, keep)
    splits = list(SPLITS) if split == "all" else [split]
    table = None if scores is None else ScoreTable.open(scores)
    predictor = _predictor(model, opened, splits, table, device)
    rows = write_predictions(predictor, out, keep)
    typer.echo(f"{out}: {rows:,} rows, {', '.join(predictor.columns)}")


def _predictor(
    model: Path, dataset: DatasetFolder, splits: Sequence[Split], scores: ScoreTable | None, device: str | None
) -> Predictor:
    from ranking.export.exported import ExportedRanker
    from ranking.export.manifest import MANIFEST, PROGRAM
    from ranking.opened_run import OpenedRun

    if (model / MANIFEST).is_file() or (model / PROGRAM).is_file():
        return ExportedRanker.open(model, device or "cpu").predictor(dataset, splits, scores)
    return OpenedRun.of(model, scores).predictor(dataset, splits, device)
