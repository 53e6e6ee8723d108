"""`segrec simulate short`: a made world with known truth, written in a public format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Adds the group `simulate`."""
    simulate = typer.Typer(help="Make a world with known truth, in a public format.", no_args_is_help=True)
    simulate.command("short")(_short)
    app.add_typer(simulate, name="simulate")


def _short(
    *,
    out: Annotated[Path, typer.Option(help="New folder for the files.")],
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same world.")] = None,
    users: Annotated[int | None, typer.Option(help="Number of users.")] = None,
    items: Annotated[int | None, typer.Option(help="Number of videos.")] = None,
    impressions_per_user: Annotated[int | None, typer.Option(help="Mean number of impressions a user.")] = None,
    days: Annotated[int | None, typer.Option(help="Days of the log.")] = None,
    format: Annotated[str, typer.Option(help="kuairand, segmm or segmm_sample.")] = "kuairand",
    config: Annotated[Path | None, typer.Option(help="YAML of the world, e.g. another world's world.yaml.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. watching.taste_weight=2.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Short videos: tastes, topic paths, skip hazards, clicks by the publisher's rules, and truth.parquet."""
    from segrec.records import DataError
    from segrec.worlds.short_video import ShortVideoConfig, make_short_video
    from segrec.worlds.short_video_writers import check_format, write_short_video

    named = {
        "seed": seed,
        "viewers.users": users,
        "videos.items": items,
        "exposure.impressions_per_user": impressions_per_user,
        "exposure.days": days,
    }
    given = [f"{key}={value}" for key, value in named.items() if value is not None]
    made_of = ShortVideoConfig.of(config, [*(sets or []), *given])
    check_format(format)
    if out.exists() and not overwrite:
        raise DataError(out, "exists already", fix="choose another --out, or pass --overwrite")
    world = make_short_video(made_of)
    write_short_video(world, out, format=format, overwrite=overwrite)
    typer.echo(
        f"{out}: {world.impressions.height:,} impressions of {made_of.viewers.users:,} users, "
        f"{made_of.videos.items:,} videos, seed {made_of.seed}, as {format}"
    )
