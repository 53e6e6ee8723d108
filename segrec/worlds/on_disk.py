"""A made world on disk: one of the public formats, the truth beside it, and the config it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from segrec.records import Config, ConfigError, new_folder


class World(Protocol):
    """What every made world has."""

    @property
    def config(self) -> Config:
        """Complete, so that the same world can be made again."""
        ...


W = TypeVar("W", bound=World)
Writers = Mapping[str, Callable[[W, Path], None]]


def check_known(format: str, known: Mapping[str, object]) -> None:
    """:raises ConfigError: no writer of that name (the known ones are listed)."""
    if format not in known:
        raise ConfigError(f"--format {format!r} is unknown (known: {', '.join(known)})")


def write_world(world: W, out: Path, writers: Writers[W], kind: str, format: str, *, overwrite: bool) -> None:
    """Writes the world into the new folder `out`: the format's files with the truth, and world.yaml.

    :param kind: what `segrec simulate` calls it.
    :raises ConfigError: an unknown format, or a world that the format cannot hold.
    :raises DataError: `out` exists, or it cannot be written.
    """
    check_known(format, writers)
    with new_folder(out, overwrite=overwrite) as folder:
        writers[format](world, folder)
        told = f"# A made world, no real data: segrec simulate {kind} --format {format} --config world.yaml\n"
        (folder / "world.yaml").write_text(told + world.config.to_yaml(), encoding="utf-8")
