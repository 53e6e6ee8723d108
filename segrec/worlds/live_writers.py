"""A made live world on disk: one of the public live forms, the truth beside it, and the config it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segrec.worlds.klive_files import write_klive
from segrec.worlds.kuailive_files import write_kuailive
from segrec.worlds.kuailive_m3_files import write_kuailive_m3
from segrec.worlds.live import LiveWorld
from segrec.worlds.on_disk import check_known, write_world

LIVE_FORMATS: dict[str, Callable[[LiveWorld, Path], None]] = {
    "kuailive_m3": write_kuailive_m3,
    "klive": write_klive,
    "kuailive": write_kuailive,
}
"Writers by name: `segrec read` has a reader of the same name for each."


def check_live_format(name: str) -> None:
    """:raises ConfigError: no writer of that name (the known ones are listed)."""
    check_known(name, LIVE_FORMATS)


def needed_by(name: str) -> list[str]:
    """`--set` settings without which the format cannot hold a world: KLive's segments all last 30 s."""
    return ["rooms.varying_share=0"] if name == "klive" else []


def write_live(world: LiveWorld, out: Path, *, format: str = "kuailive_m3", overwrite: bool = False) -> None:
    """Writes the world into the new folder `out`: the format's files, the truth beside them, world.yaml.

    :raises ConfigError: an unknown format, or a world that the format cannot hold.
    :raises DataError: `out` exists, or it cannot be written.
    """
    write_world(world, out, LIVE_FORMATS, "live", format, overwrite=overwrite)
