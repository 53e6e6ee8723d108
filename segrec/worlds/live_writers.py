"""A made live world on disk: one of the public live forms, the truth beside it, and the config it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segrec.records import ConfigError, new_folder
from segrec.worlds.klive_files import write_klive
from segrec.worlds.kuailive_files import write_kuailive
from segrec.worlds.kuailive_m3_files import write_kuailive_m3
from segrec.worlds.live import LiveWorld

LIVE_FORMATS: dict[str, Callable[[LiveWorld, Path], None]] = {
    "kuailive_m3": write_kuailive_m3,
    "klive": write_klive,
    "kuailive": write_kuailive,
}
"Writers by name: `segrec read` has a reader of the same name for each."


def check_live_format(name: str) -> None:
    """:raises ConfigError: no writer of that name (the known ones are listed)."""
    if name not in LIVE_FORMATS:
        raise ConfigError(f"--format {name!r} is unknown (known: {', '.join(LIVE_FORMATS)})")


def needed_by(name: str) -> list[str]:
    """`--set` settings without which the format cannot hold a world: KLive's segments all last 30 s."""
    return ["rooms.varying_share=0"] if name == "klive" else []


def write_live(world: LiveWorld, out: Path, *, format: str = "kuailive_m3", overwrite: bool = False) -> None:
    """Writes the world into the new folder `out`: the format's files, the truth beside them, world.yaml.

    :raises ConfigError: an unknown format, or a world that the format cannot hold.
    :raises DataError: `out` exists, or it cannot be written.
    """
    check_live_format(format)
    with new_folder(out, overwrite=overwrite) as folder:
        LIVE_FORMATS[format](world, folder)
        told = f"# A made world, no real data: segrec simulate live --format {format} --config world.yaml\n"
        (folder / "world.yaml").write_text(told + world.config.to_yaml(), encoding="utf-8")
