"""What is done in a made live world, and who does it: activities, streamers, their repertoires and talents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from segrec.records import Config
from segrec.worlds.jagged import Floats, Ints


@dataclass(frozen=True)
class Activity:
    """What may go on in a room for a while; also a category of streamers: those who mostly do it."""

    name: str
    click_logit: float
    "Added to the logit of a click on the room while it goes on."
    stay_logit: float
    "Added to the logit of a long view of those who enter meanwhile."
    mean_segments: float
    "Mean number of segments until something is chosen anew."
    comments_per_minute: float
    "Of one viewer."
    phrases: tuple[str, ...]
    "What viewers write."


ACTIVITIES = (
    Activity(
        "chat", -0.5, -0.5, 8.0, 0.10,
        ("主播好", "今天聊点什么", "吃饭了吗", "晚上好呀!!!", "哪里人, 几点下播", "在吗在吗在吗"),
    ),
    Activity(
        "sing", 0.3, 0.6, 5.0, 0.12,
        ("好听好听", "再来一首", "这首歌叫什么", "唱得太好了[玫瑰][玫瑰]", "点歌: 后来", "原唱, 绝了"),
    ),
    Activity(
        "dance", 0.9, 0.1, 4.0, 0.14,
        ("跳得好", "这舞太帅了", "换首快的", "哇哇哇哇哇", "转圈圈[鼓掌]", "腰真软"),
    ),
    Activity(
        "game", -0.1, 0.9, 10.0, 0.08,
        ("上啊", "这把能赢", "守家!!!", "什么段位", '对面"开挂"吧', "666666"),
    ),
    Activity(
        "shop", -0.8, -0.9, 6.0, 0.06,
        ("多少钱", "有没有L码", "包邮吗", "已拍", "怎么买, 链接呢", "价格再低点"),
    ),
    Activity(
        "battle", 0.7, 0.5, 5.0, 0.20,
        ("冲冲冲", "上票上票", "别输了", "最后一分钟!!", "守住[加油][加油]", "赢了赢了"),
    ),
)  # fmt: skip
"A = 6 of them. Phrases are short comments as people write them: repeated signs, stickers in brackets, quotes, commas."


_NEW_FROM = 0.8


class StreamersConfig(Config):
    """Who is live."""

    streamers: PositiveInt | None = None
    "Number of streamers; None = one for six rooms."
    own_activity_share: float = Field(default=0.5, ge=0, lt=1)
    "Share of a streamer's repertoire that is the own category's activity, on average."
    repertoire_focus: float = Field(default=6.0, gt=0)
    "Dirichlet concentration of repertoires around their category's: large = alike."
    level_spread: NonNegativeFloat = 0.12
    "Standard deviation of a streamer's general talent, in logits of a click and of a long view."
    talent_spread: NonNegativeFloat = 0.12
    "Standard deviation of the talent for one activity, in logits."
    new_share: float = Field(default=0.05, ge=0, le=1)
    "Share of streamers who are live in the last fifth of the days only: nothing older is known of them."
    popularity_spread: NonNegativeFloat = 0.4
    "Standard deviation of the logarithm of a streamer's exposure."


@dataclass(frozen=True)
class Streamers:
    """Latents of S streamers over A activities; public ids are a permutation."""

    author_id: Ints
    "(S,)"
    category: Ints
    "(S,) the activity that the streamer is known for."
    repertoire: Floats
    "(S, A) what is chosen when something new begins, rows sum to 1."
    click_talent: Floats
    "(S, A) logits of a click, general talent included."
    stay_talent: Floats
    "(S, A) logits of a long view, general talent included."
    exposure: Floats
    "(S,) relative exposure, mean about 1."
    joins: Floats
    "(S,) share of the world's days that are over when the streamer comes: 0, or 0.8 for new ones."

    def transition(self) -> Floats:
        """(S, A, A) P(activity of the next segment | this one's): 1 / mean_segments of the time chosen anew from the
        repertoire (which may be the same again)."""
        renewed = 1 / np.array([activity.mean_segments for activity in ACTIVITIES])
        kept = np.eye(len(ACTIVITIES)) * (1 - renewed)[:, None]
        chosen: Floats = kept + renewed[:, None] * self.repertoire[:, None, :]
        return chosen


def draw_streamers(config: StreamersConfig, *, rooms: int, rng: np.random.Generator) -> Streamers:
    """Streamers drawn from the config; general talent for clicks and for long views correlate (0.5)."""
    n, activities = config.streamers or max(1, rooms // 6), len(ACTIVITIES)
    category = rng.permutation(np.arange(n) % activities)
    typical = np.full((activities, activities), (1 - config.own_activity_share) / activities)
    typical += np.eye(activities) * config.own_activity_share
    repertoire = rng.gamma(config.repertoire_focus * typical[category]) + 1e-6
    level = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], n) * config.level_spread
    talents = rng.normal(0, config.talent_spread, (2, n, activities))
    new = rng.permutation(n) < round(config.new_share * n)
    return Streamers(
        author_id=rng.permutation(n).astype(np.int64),
        category=category,
        repertoire=repertoire / repertoire.sum(axis=1, keepdims=True),
        click_talent=level[:, :1] + talents[0],
        stay_talent=level[:, 1:] + talents[1],
        exposure=np.exp(rng.normal(0, config.popularity_spread, n) - config.popularity_spread**2 / 2),
        joins=np.where(new, _NEW_FROM, 0.0),
    )
