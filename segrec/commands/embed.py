"""`segrec embed`: frames or texts through a frozen transformers model, one vector a segment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    """Adds `embed` to `app`."""
    app.command("embed")(embed)


def embed(  # noqa: PLR0917 - typer makes them options
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder; it gets segments/NAME/")],
    model: Annotated[str, typer.Option(metavar="PATH", help="checkpoint folder, or a hub name in the local cache")],
    visual: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="frames: a folder of images, or a video, an item")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="speech and comments; `dataset` = its own texts")
    ] = None,
    name: Annotated[str | None, typer.Option(help="name of the vectors; default visual or text")] = None,
    pool: Annotated[
        str | None, typer.Option(help="frames: patches (default) or pooled; texts: cls (default) or mean")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="evenly spaced frames a segment")] = 3,
    max_tokens: Annotated[int, typer.Option(help="a segment's text is cut there")] = 200,
    batch_size: Annotated[int, typer.Option(min=1, help="frames or texts that the model takes at once")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (bfloat16 on CUDA), float32 or bfloat16")] = "auto",
    vectors_type: Annotated[str, typer.Option(help="float32 or float16: how the vectors are stored")] = "float32",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="count frames that do not decode instead of stopping")
    ] = False,
    download: Annotated[bool, typer.Option("--download", help="fetch the model by its hub name first")] = False,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit of a hub model")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="also write them as `segrec read` takes them")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace vectors of that name")] = False,
) -> None:
    """Turn frames or texts into one vector a segment; an interrupted run goes on where it stopped."""
    from segrec.content.embed_request import EmbedRequest
    from segrec.records import DatasetFolder

    request = EmbedRequest.checked(
        {
            "visual": visual, "texts": texts, "model": model, "name": name, "pool": pool, "frames": frames,
            "max_tokens": max_tokens, "batch_size": batch_size, "device": device, "precision": precision,
            "vectors_type": vectors_type, "skip_unreadable": skip_unreadable, "download": download,
            "revision": revision, "export": export, "overwrite": overwrite,
        }
    )  # fmt: skip
    with _bar() as bar:
        done = request.run(DatasetFolder.open(dataset), bar)
    _tell(dataset / "segments" / request.vectors_name, done)


@contextmanager
def _bar() -> Iterator[Any]:
    """A bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(desc="embed", unit=" vectors", disable=None, leave=False) as bar:

        def told(contents: int, encoded: int) -> None:
            bar.set_postfix(contents=f"{contents:,}", refresh=False)
            bar.update(encoded - bar.n)

        yield told


def _tell(out: Path, done: Any) -> None:
    meta = done.meta
    typer.echo(f"{out}: {meta.rows:,} vectors of {meta.dim} x {meta.dtype}, {meta.model}")
    typer.echo(f"contents: {done.contents:,}, distinct {done.distinct:,}, encoded now {done.encoded:,}")
    if done.discarded:
        typer.echo("note: an interrupted run of another model or setting lay there; it was thrown away")
    if done.resumed:
        typer.echo(f"note: went on with {done.resumed:,} vectors of an interrupted run")
    for note in done.notes:
        typer.echo(f"note: {note}")
    if done.segments > meta.rows:
        typer.echo(f"segments without content, so without a vector: {done.segments - meta.rows:,} of {done.segments:,}")
    if done.left_out:
        typer.echo("left out: " + ", ".join(f"{reason}: {count:,}" for reason, count in done.left_out.items()))
