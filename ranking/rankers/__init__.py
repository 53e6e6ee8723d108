"""Rankers by name: one file a model, `segment_weighting` wraps any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from ranking.rankers.adagin import AdaGin, AdaGinConfig
from ranking.rankers.can import CanConfig, can
from ranking.rankers.config import RankerConfig, ScoresConfig
from ranking.rankers.dcn_mix import DcnMix, DcnMixConfig
from ranking.rankers.dcn_v2 import DcnV2, DcnV2Config
from ranking.rankers.deep_fm import DeepFm, DeepFmConfig
from ranking.rankers.dien import Dien, DienConfig
from ranking.rankers.difm import Difm, DifmConfig
from ranking.rankers.din import Din, DinConfig
from ranking.rankers.final_mlp import FinalMlp, FinalMlpConfig
from ranking.rankers.logistic_regression import LogisticRegression, LogisticRegressionConfig
from ranking.rankers.ranker import Ranker
from ranking.rankers.segment_weighting import SegmentWeighting
from ranking.rankers.wide_deep import WideDeep, WideDeepConfig
from segrec.records import ConfigError

__all__ = ["RANKERS", "Ranker", "RankerConfig", "RankerEntry", "ScoresConfig", "SegmentWeighting", "find_ranker"]

ENTRY_POINTS = "ranking.rankers"


@dataclass(frozen=True)
class RankerEntry:
    """A ranker: its config and what builds it from (config, inputs, device)."""

    config: type[RankerConfig]
    build: Callable[..., Ranker]
    reads_histories: bool = False
    "Whether it reads sequences in order (DIN ...); the others take them as bags."


RANKERS: dict[str, RankerEntry] = {
    "adagin": RankerEntry(AdaGinConfig, AdaGin),
    "can": RankerEntry(CanConfig, can, reads_histories=True),
    "dcn_mix": RankerEntry(DcnMixConfig, DcnMix),
    "dcn_v2": RankerEntry(DcnV2Config, DcnV2),
    "deep_fm": RankerEntry(DeepFmConfig, DeepFm),
    "dien": RankerEntry(DienConfig, Dien, reads_histories=True),
    "difm": RankerEntry(DifmConfig, Difm),
    "din": RankerEntry(DinConfig, Din, reads_histories=True),
    "final_mlp": RankerEntry(FinalMlpConfig, FinalMlp),
    "logistic_regression": RankerEntry(LogisticRegressionConfig, LogisticRegression),
    "wide_deep": RankerEntry(WideDeepConfig, WideDeep),
}


def find_ranker(name: str) -> RankerEntry:
    """The ranker `name`, ours or a third party's (entry point group "ranking.rankers", a RankerEntry).

    :raises ConfigError: unknown; the known ones are named.
    """
    if name in RANKERS:
        return RANKERS[name]
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in others:
        raise ConfigError(f"unknown ranker {name!r} (known: {', '.join(sorted({*RANKERS, *others}))})")
    found: Any = others[name].load()
    if not isinstance(found, RankerEntry):
        raise ConfigError(f"ranker {name!r}: its entry point holds a {type(found).__name__}, expected a RankerEntry")
    return found
