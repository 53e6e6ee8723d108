"""`kuaihl`: the long-view rate of the next segment of a live room, its highlights to come (KuaiHL, arXiv 2407.12002).

Variants: `default` (ours), `paper`; see `LiveConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from segrec.encoders.live_config import PAPER, AlignKind, LiveConfig
from segrec.encoders.live_rate import LiveRateEncoder


class KuaiHLConfig(LiveConfig):
    """The next segment's lvtr."""

    paper: ClassVar[Mapping[str, Any]] = {**PAPER, "align": "mtam"}

    target: str = "lvtr"
    label_shift: Literal[0, 1] = 1
    align: AlignKind = "none"


class KuaiHL(LiveRateEncoder):
    """A fitted KuaiHL."""

    Config: ClassVar[type[LiveConfig]] = KuaiHLConfig
