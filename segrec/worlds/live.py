"""A made live world: streamers, rooms, what they show and say, who was shown them, what users did, and the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import NonNegativeInt

from segrec.records import Config
from segrec.worlds.jagged import Bools, Floats, Ints, positions_of, starts_of
from segrec.worlds.live_audience import Audience, AudienceConfig, draw_audience, draw_exposures
from segrec.worlds.live_content import ContentConfig, LiveContent, draw_content
from segrec.worlds.live_forms import KliveForm, KuailiveForm, KuailiveM3Form
from segrec.worlds.live_rates import MeanRates, RateModel, RatesConfig, SegmentRates, segment_rates
from segrec.worlds.live_rooms import LiveRooms, RoomsConfig, draw_rooms
from segrec.worlds.live_sessions import (
    LONG_VIEW_MS,
    Events,
    Impressions,
    SessionsConfig,
    comment_rates,
    draw_events,
    draw_impressions,
    excited_rates,
)
from segrec.worlds.live_streamers import ACTIVITIES, Streamers, StreamersConfig, draw_streamers

_GIFT_PRICES = (1, 2, 10, 66, 520)
_GIFT_CHANCES = (0.6, 0.2, 0.15, 0.04, 0.01)


class LiveConfig(Config):
    """A world is its config: the same config gives the same world."""

    seed: NonNegativeInt = 0
    streamers: StreamersConfig = StreamersConfig()
    rooms: RoomsConfig = RoomsConfig()
    content: ContentConfig = ContentConfig()
    audience: AudienceConfig = AudienceConfig()
    rates: RatesConfig = RatesConfig()
    sessions: SessionsConfig = SessionsConfig()
    klive: KliveForm = KliveForm()
    kuailive_m3: KuailiveM3Form = KuailiveM3Form()
    kuailive: KuailiveForm = KuailiveForm()


@dataclass(frozen=True)
class LiveWorld:
    """A made live world of T segments, N impressions. Rows of `segments`, `truth_segments` and `content` belong
    together, and so do those of `impressions` and `truth`."""

    config: LiveConfig
    streamers: Streamers
    rooms: LiveRooms
    content: LiveContent
    audience: Audience
    rates: SegmentRates
    segments: pl.DataFrame
    """(T rows, rooms by start) item_id, author_id, segment, start_ms, end_ms (epoch), viewers, exposures, clicks,
    entries (those whose long view counts), long_views, comments, likes, shares, gifts."""
    truth_segments: pl.DataFrame
    "(T rows) item_id, end_ms, ctr, lvtr, ctr_next, lvtr_next, highlight: see `_segment_truth`."
    impressions: pl.DataFrame
    """(N rows, by time) user_id, item_id, author_id, time_ms, watch_ms (0 = not entered), is_click, long_view (null
    where the room ended too early to tell), is_follow, and comment_cnt, like_cnt, share_cnt, gift_cnt, gift_price."""
    truth: pl.DataFrame
    """(N rows) user_id, item_id, time_ms, click_probability, long_view_probability (of a click and a long view, were
    the room to go on)."""
    events: dict[str, pl.DataFrame]
    """comments, likes, shares, gifts: user_id, item_id, author_id, time_ms, row (of impressions), segment (row of
    segments), and the comment's content, the gift's price."""


def make_live(config: LiveConfig) -> LiveWorld:
    """Draws the world. Each part has its own stream of random numbers, so that parts change independently."""
    streams = [np.random.default_rng(part) for part in np.random.SeedSequence(config.seed).spawn(7)]
    streamers = draw_streamers(config.streamers, rooms=config.rooms.rooms, rng=streams[0])
    rooms = draw_rooms(config.rooms, streamers, streams[1])
    content = draw_content(config.content, rooms, streams[2])
    audience = draw_audience(config.audience, streams[3])
    model = RateModel(config.rates, streamers, MeanRates.of(audience))
    rates = segment_rates(model, config.rooms, rooms, announced_next(content))
    exposures = draw_exposures(config.audience, audience, rooms, streamers, streams[4])
    impressions = draw_impressions(config.sessions, exposures, rates, rooms, audience, rng=streams[5])
    keys = pl.DataFrame(
        {
            "user_id": audience.user_id[impressions.user],
            "item_id": rooms.item_id[rooms.room[impressions.segment]],
            "author_id": streamers.author_id[rooms.streamer[rooms.room[impressions.segment]]],
            "time_ms": impressions.at_ms,
        }
    )
    events = _events(config.sessions, rooms, content, impressions, keys=keys, rng=streams[6])
    return LiveWorld(
        config=config,
        streamers=streamers,
        rooms=rooms,
        content=content,
        audience=audience,
        rates=rates,
        segments=_segments(rooms, streamers, impressions, events),
        truth_segments=_segment_truth(config.rates, rooms, rates, impressions),
        impressions=_impressions(config.sessions, impressions, keys, events, streams[6]),
        truth=keys.drop("author_id").with_columns(
            click_probability=pl.Series(impressions.click_probability, dtype=pl.Float32),
            long_view_probability=pl.Series(
                impressions.click_probability * impressions.stay_probability, dtype=pl.Float32
            ),
        ),
        events=events,
    )


def announced_next(content: LiveContent) -> Bools:
    """(T,) True where the text of this segment or of an earlier one spoke of the next segment."""
    announced = np.zeros(len(content.text_offset), dtype=np.bool_)
    announced[content.spoken_of[(content.text_offset > 0) & ~content.silent] - 1] = True
    return announced


def _segment_truth(
    config: RatesConfig, rooms: LiveRooms, rates: SegmentRates, impressions: Impressions
) -> pl.DataFrame:
    """ctr, lvtr: expectation of the observed rate given who was shown the room, and who entered it (the mean of their
    probabilities; where nobody is counted, the rate expected of the state); ctr_next, lvtr_next: as `segment_rates`;
    highlight: 1 for the segments of the room with the highest lvtr."""
    ctr = _means(impressions.click_probability, impressions.segment, rates.ctr)
    trial = impressions.trial
    lvtr = _means(impressions.stay_probability[trial], impressions.segment[trial], rates.lvtr)
    order = np.lexsort((-lvtr, rooms.room))
    place = np.empty(len(order), np.int64)
    place[order] = positions_of(rooms.lengths)
    marked = np.maximum(1, np.rint(config.highlight_share * rooms.lengths))
    return pl.DataFrame(
        {
            "item_id": rooms.item_id[rooms.room],
            "end_ms": rooms.end_ms,
            "ctr": ctr,
            "lvtr": lvtr,
            "ctr_next": rates.ctr_next,
            "lvtr_next": rates.lvtr_next,
            "highlight": (place < marked[rooms.room]).astype(np.int8),
        }
    )


def _means(values: Floats, segment: Ints, otherwise: Floats) -> Floats:
    """(T,) mean of the values of each segment; `otherwise` where it has none."""
    counts = np.bincount(segment, minlength=len(otherwise))
    sums = np.bincount(segment, values, minlength=len(otherwise))
    return np.where(counts > 0, sums / np.maximum(counts, 1), otherwise)


def _segments(
    rooms: LiveRooms, streamers: Streamers, impressions: Impressions, events: dict[str, pl.DataFrame]
) -> pl.DataFrame:
    def count(segment: Ints) -> Ints:
        return np.bincount(segment, minlength=len(rooms.start_ms)).astype(np.int64)

    clicked, trial = impressions.clicked, impressions.trial
    entered = impressions.segment[clicked]
    left = rooms.segment_at(rooms.room[entered], (impressions.at_ms + impressions.watch_ms)[clicked] - 1)
    gone = np.bincount(left + 1, minlength=len(rooms.start_ms) + 1)[:-1]
    long_view = trial & (impressions.watch_ms > LONG_VIEW_MS)
    return pl.DataFrame(
        {
            "item_id": rooms.item_id[rooms.room],
            "author_id": streamers.author_id[rooms.streamer[rooms.room]],
            "segment": positions_of(rooms.lengths).astype(np.int32),
            "start_ms": rooms.start_ms,
            "end_ms": rooms.end_ms,
            "viewers": np.cumsum(count(entered) - gone),
            "exposures": count(impressions.segment),
            "clicks": count(entered),
            "entries": count(impressions.segment[trial]),
            "long_views": count(impressions.segment[long_view]),
            **{name: count(rows["segment"].to_numpy()) for name, rows in events.items()},
        }
    )


def _events(
    config: SessionsConfig, rooms: LiveRooms, content: LiveContent, impressions: Impressions, *, keys: pl.DataFrame,
    rng: np.random.Generator,
) -> dict[str, pl.DataFrame]:  # fmt: skip
    rates = {
        "comments": comment_rates(config, rooms, content),
        "likes": excited_rates(config, config.likes_per_minute, rooms),
        "shares": excited_rates(config, config.shares_per_minute, rooms),
        "gifts": excited_rates(config, config.gifts_per_minute, rooms),
    }
    drawn = {name: draw_events(rate, impressions, rooms, rng) for name, rate in rates.items()}
    frames = {name: _event_frame(events, keys) for name, events in drawn.items()}
    activity = rooms.activity[content.spoken_of[drawn["comments"].segment]]
    written = _comment_texts(activity, rng)
    prices = rng.choice(_GIFT_PRICES, len(drawn["gifts"].at_ms), p=_GIFT_CHANCES).astype(np.int64)
    return frames | {
        "comments": frames["comments"].with_columns(content=written),
        "gifts": frames["gifts"].with_columns(price=pl.Series(prices)),
    }


def _event_frame(events: Events, keys: pl.DataFrame) -> pl.DataFrame:
    return keys.drop("time_ms")[events.impression].with_columns(
        time_ms=pl.Series(events.at_ms), row=pl.Series(events.impression), segment=pl.Series(events.segment)
    )


def _comment_texts(activity: Ints, rng: np.random.Generator) -> pl.Series:
    """One of the activity's phrases each."""
    sizes = np.array([len(each.phrases) for each in ACTIVITIES])
    phrases = pl.Series([phrase for each in ACTIVITIES for phrase in each.phrases], dtype=pl.String)
    chosen = starts_of(sizes)[activity] + (rng.random(len(activity)) * sizes[activity]).astype(np.int64)
    return phrases.gather(chosen)


def _impressions(
    config: SessionsConfig, impressions: Impressions, keys: pl.DataFrame, events: dict[str, pl.DataFrame],
    rng: np.random.Generator,
) -> pl.DataFrame:  # fmt: skip
    n, clicked = keys.height, impressions.clicked
    known = ~clicked | ~impressions.censored
    counts = {
        f"{name.removesuffix('s')}_cnt": np.bincount(rows["row"].to_numpy(), minlength=n).astype(np.int64)
        for name, rows in events.items()
    }
    gifts = events["gifts"]
    prices = np.bincount(gifts["row"].to_numpy(), gifts["price"].to_numpy(), minlength=n).astype(np.int64)
    long_view = pl.Series((impressions.watch_ms > LONG_VIEW_MS).astype(np.int8)).set(pl.Series(~known), None)
    return keys.with_columns(
        watch_ms=pl.Series(impressions.watch_ms),
        is_click=pl.Series(clicked.astype(np.int8)),
        long_view=long_view,
        is_follow=pl.Series((clicked & (rng.random(n) < config.follow_share)).astype(np.int8)),
        **{name: pl.Series(values) for name, values in counts.items()},
        gift_price=pl.Series(prices),
    )
