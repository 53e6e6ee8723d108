"""`content_ctr`: the click-through rate of each segment of a live room from its content (ContentCTR, arXiv 2306.14392).

Variants: `default` (ours), `paper`; see `LiveConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from segrec.encoders.live_config import PAPER, AlignKind, LiveConfig
from segrec.encoders.live_rate import LiveRateEncoder


class ContentCtrConfig(LiveConfig):
    """The segment's own ctr."""

    paper: ClassVar[Mapping[str, Any]] = {**PAPER, "align": "dtw"}

    target: str = "ctr"
    label_shift: Literal[0, 1] = 0
    align: AlignKind = "none"


class ContentCtr(LiveRateEncoder):
    """A fitted ContentCTR."""

    Config: ClassVar[type[LiveConfig]] = ContentCtrConfig
