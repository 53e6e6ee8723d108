"""A made short-video world on disk: one of the public formats, the truth beside it, and the config it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segrec.worlds.kuairand_files import write_kuairand
from segrec.worlds.on_disk import check_known, write_world
from segrec.worlds.segmm_files import write_segmm, write_segmm_sample
from segrec.worlds.short_video import ShortVideoWorld

FORMATS: dict[str, Callable[[ShortVideoWorld, Path], None]] = {
    "kuairand": write_kuairand,
    "segmm": write_segmm,
    "segmm_sample": write_segmm_sample,
}
"Writers by name: `segrec read kuairand` and `segrec read segmm` read what they write."


def check_format(name: str) -> None:
    """:raises ConfigError: no writer of that name (the known ones are listed)."""
    check_known(name, FORMATS)


def write_short_video(world: ShortVideoWorld, out: Path, *, format: str = "kuairand", overwrite: bool = False) -> None:
    """Writes the world into the new folder `out`: the format's files, truth.parquet beside them, world.yaml.

    :raises ConfigError: an unknown format.
    :raises DataError: `out` exists, or it cannot be written.
    """
    write_world(world, out, FORMATS, "short", format, overwrite=overwrite)
