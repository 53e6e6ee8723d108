"""`segrec simulate short | live`: a made world with known truth, written in a public format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Adds the group `simulate`."""
    simulate = typer.Typer(help="Make a world with known truth, in a public format.", no_args_is_help=True)
    simulate.command("short")(_short)
    simulate.command("live")(_live)
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
    from segrec.worlds.short_video import ShortVideoConfig, make_short_video
    from segrec.worlds.short_video_writers import check_format, write_short_video

    named = {
        "seed": seed,
        "viewers.users": users,
        "videos.items": items,
        "exposure.impressions_per_user": impressions_per_user,
        "exposure.days": days,
    }
    made_of = ShortVideoConfig.of(config, [*(sets or []), *_given(named)])
    check_format(format)
    _check_free(out, overwrite)
    world = make_short_video(made_of)
    write_short_video(world, out, format=format, overwrite=overwrite)
    typer.echo(
        f"{out}: {world.impressions.height:,} impressions of {made_of.viewers.users:,} users, "
        f"{made_of.videos.items:,} videos, seed {made_of.seed}, as {format}"
    )


def _live(
    *,
    out: Annotated[Path, typer.Option(help="New folder for the files.")],
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same world.")] = None,
    users: Annotated[int | None, typer.Option(help="Number of users.")] = None,
    rooms: Annotated[int | None, typer.Option(help="Number of live rooms.")] = None,
    format: Annotated[str, typer.Option(help="kuailive_m3, klive or kuailive.")] = "kuailive_m3",
    config: Annotated[Path | None, typer.Option(help="YAML of the world, e.g. another world's world.yaml.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. content.largest_lag=4.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Live rooms: activities, frames and speech that drift apart, clicks and long views from known rates, truth."""
    from segrec.worlds.live import LiveConfig, make_live
    from segrec.worlds.live_writers import check_live_format, needed_by, write_live

    named = {"seed": seed, "audience.users": users, "rooms.rooms": rooms}
    check_live_format(format)
    made_of = LiveConfig.of(config, [*needed_by(format), *(sets or []), *_given(named)])
    _check_free(out, overwrite)
    world = make_live(made_of)
    write_live(world, out, format=format, overwrite=overwrite)
    typer.echo(
        f"{out}: {made_of.rooms.rooms:,} rooms of {world.segments.height:,} segments, {world.impressions.height:,} "
        f"impressions of {made_of.audience.users:,} users, seed {made_of.seed}, as {format}"
    )


def _given(named: dict[str, int | None]) -> list[str]:
    """The options that were given, as `--set` would have them."""
    return [f"{key}={value}" for key, value in named.items() if value is not None]


def _check_free(out: Path, overwrite: bool) -> None:
    """Before the work, not after it."""
    from segrec.records import DataError

    if out.exists() and not overwrite:
        raise DataError(out, "exists already", fix="choose another --out, or pass --overwrite")
