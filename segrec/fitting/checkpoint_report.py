"""What a checkpoint holds, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from segrec.fitting.checkpoint_folder import checkpoint_path, checkpoint_steps, damage, read_progress
from segrec.fitting.cursor import cursor_lines
from segrec.fitting.stored_checkpoint import (
    DENSE_OPTIMIZER,
    MODULE,
    TABLES,
    StoredCheckpoint,
    checkpoints_of,
    table_of,
)

_MIB = 2**20


def report(path: Path) -> Iterator[str]:
    """Lines about the run or checkpoint at `path`: which are there and intact, then what the best or named one holds.

    :raises DataError: no checkpoint there, or none that is intact.
    """
    if not path.name.startswith("step_"):
        yield from _overview(checkpoints_of(path))
    stored = StoredCheckpoint.open(path)
    yield from _about(stored)
    yield from _tables(stored)
    yield from _rest(stored)


def _overview(folder: Path) -> Iterator[str]:
    lines = [("checkpoint", "epoch", "batch", "best", "MiB", "state")]
    for step in checkpoint_steps(folder):
        path = checkpoint_path(folder, step)
        problem = damage(path)
        size = f"{sum(file.stat().st_size for file in path.iterdir()) / _MIB:.1f}"
        if problem is not None:
            lines.append((path.name, "", "", "", size, f"damaged: {problem}"))
            continue
        stood = read_progress(path)
        best = "" if stood.best is None else f"{stood.best:.5f} at step {stood.best_step}"
        lines.append((path.name, str(stood.epoch), str(stood.batch), best, size, "intact"))
    yield from _columns(lines)
    yield ""


def _about(stored: StoredCheckpoint) -> Iterator[str]:
    stood = stored.progress
    yield f"{stored.path}: step {stood.step}, next: batch {stood.batch} of epoch {stood.epoch} (from 0)"
    yield from cursor_lines(stored.path)
    if stood.best is not None:
        yield f"best so far: {stood.best:.6f} at step {stood.best_step} (epoch {stood.best_epoch})"
    for entry in stood.history:
        told = ", ".join(f"{name} {value:.6f}" for name, value in entry.metrics.items())
        yield f"validation at step {entry.step}: loss {entry.loss:.6f}, {told}"


def _tables(stored: StoredCheckpoint) -> Iterator[str]:
    lines = [("table", "rows", "dim", "dtype", "MiB", "shards", "optimizer states")]
    for table, name in stored.tables().items():
        meta = stored.tensors[name]
        states = [
            f"{key.rsplit('.', 1)[-1].rsplit('/', 1)[-1]} {_shape(key, stored)}" for key in stored.states_of(name)
        ]
        rows, dim = meta.size
        lines.append(
            (table, str(rows), str(dim), _dtype(meta), f"{_bytes(meta) / _MIB:.2f}", str(len(meta.chunks)),
             ", ".join(states) or "none")
        )  # fmt: skip
    if len(lines) > 1:
        yield from _columns(lines)


def _rest(stored: StoredCheckpoint) -> Iterator[str]:
    dense = [name for name in stored.weights() if table_of(name) is None]
    for kind, names in (
        ("dense weights and buffers", dense),
        ("tables", list(stored.tables().values())),
        ("their optimizers", [name for name in stored.tensors if name.startswith(TABLES)]),
        ("dense optimizer", [name for name in stored.tensors if name.startswith(DENSE_OPTIMIZER)]),
    ):
        metas = [stored.tensors[name] for name in names]
        values = sum(meta.size.numel() for meta in metas)
        yield f"{kind}: {len(names)} tensors, {values} values, {sum(map(_bytes, metas)) / _MIB:.2f} MiB"
    for name in dense:
        yield f"  {name.removeprefix(MODULE)} {_shape(name, stored)} {_dtype(stored.tensors[name])}"


def _shape(name: str, stored: StoredCheckpoint) -> str:
    return "x".join(map(str, stored.tensors[name].size)) or "scalar"


def _dtype(meta: TensorStorageMetadata) -> str:
    return str(meta.properties.dtype).removeprefix("torch.")


def _bytes(meta: TensorStorageMetadata) -> int:
    return meta.size.numel() * meta.properties.dtype.itemsize


def _columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
