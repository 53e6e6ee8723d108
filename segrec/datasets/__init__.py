"""Readers of public and private logs: one file a format, all of them make the dataset folder."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from segrec.datasets.folder_writer import write_dataset
from segrec.datasets.klive import read_klive
from segrec.datasets.kuailive import read_kuailive
from segrec.datasets.kuailive_m3 import read_kuailive_m3
from segrec.datasets.kuairand import read_kuairand
from segrec.datasets.log_source import LogSource, ReadOptions, VectorSource
from segrec.datasets.segmm import read_segmm
from segrec.datasets.table import read_table
from segrec.records import ConfigError, DatasetFolder

Reader = Callable[[Path, ReadOptions], LogSource]

DATASETS: dict[str, Reader] = {
    "klive": read_klive,
    "kuailive": read_kuailive,
    "kuailive_m3": read_kuailive_m3,
    "kuairand": read_kuairand,
    "segmm": read_segmm,
    "table": read_table,
}
"Reader by format name; packages add theirs under the entry point group `segrec.datasets`."

__all__ = [
    "DATASETS", "LogSource", "ReadOptions", "Reader", "VectorSource", "find_reader", "read_dataset", "write_dataset",
]  # fmt: skip


def read_dataset(
    name: str, source: Path, out: Path, options: ReadOptions | None = None, *, overwrite: bool = False
) -> DatasetFolder:
    """Reads `source` of format `name` into the dataset folder `out`; the same as `segrec read`.

    :raises ConfigError: an unknown format or an option that it does not know.
    :raises DataError: bad input, or `out` exists and `overwrite` is False.
    """
    options = options or ReadOptions()
    return write_dataset(find_reader(name)(source, options), out, options, overwrite=overwrite)


def find_reader(name: str) -> Reader:
    """The reader of format `name`, ours or another package's.

    :raises ConfigError: no such format; names the known ones.
    """
    if name in DATASETS:
        return DATASETS[name]
    others = {entry.name: entry for entry in entry_points(group="segrec.datasets")}
    if name in others:
        reader: Reader = others[name].load()
        return reader
    known = sorted({*DATASETS, *others})
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; is {near[0]!r} meant?" if near else ""
    raise ConfigError(f"unknown format {name!r} (known: {', '.join(known)}){hint}")
