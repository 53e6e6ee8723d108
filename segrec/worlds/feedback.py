"""Rare feedback beside the watching: likes, follows, comments and the time spent on them."""

from __future__ import annotations

import numpy as np

from segrec.worlds.jagged import Floats, Ints

FEEDBACK: dict[str, tuple[float, float, float]] = {
    "is_like": (-6.0, 2.5, 0.6),
    "is_follow": (-8.5, 2.5, 0.8),
    "is_comment": (-7.5, 2.0, 0.5),
    "is_forward": (-8.5, 2.0, 0.6),
    "is_hate": (-8.0, -2.0, -0.8),
    "is_profile_enter": (-5.5, 2.0, 0.5),
}
"Flag: logit at no watching, weight of the watched share (at most 1), weight of the mean interest."

_COMMENT_READING = (-4.5, 2.0, 0.3)


def draw_feedback(watch_ms: Ints, duration_ms: Ints, interest: Floats, rng: np.random.Generator) -> dict[str, Ints]:
    """The flags of FEEDBACK, profile_stay_time and comment_stay_time (ms); all 0 where nothing was watched."""
    share = np.minimum(watch_ms / duration_ms, 1.0)

    def happens(base: float, watched: float, liked: float) -> Ints:
        probability = 1 / (1 + np.exp(-(base + watched * share + liked * interest)))
        return ((rng.random(len(share)) < probability) & (watch_ms > 0)).astype(np.int64)

    out = {name: happens(*logits) for name, logits in FEEDBACK.items()}
    out["profile_stay_time"] = out["is_profile_enter"] * _stay_ms(len(share), rng)
    out["comment_stay_time"] = happens(*_COMMENT_READING) * _stay_ms(len(share), rng)
    return out


def _stay_ms(n: int, rng: np.random.Generator) -> Ints:
    return np.exp(rng.normal(9, 1, n)).astype(np.int64)
