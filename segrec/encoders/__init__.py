"""Encoders: one file a paper; priors and boosted trees that stand beside them in every table."""

from __future__ import annotations

from importlib.metadata import entry_points

from segrec.encoders.ant_pivot import AntPivotEncoder
from segrec.encoders.content_ctr import ContentCtr
from segrec.encoders.encoder import Encoder
from segrec.encoders.kuaihl import KuaiHL
from segrec.encoders.one_step_highlight import HighlightCausal, HighlightGru, HighlightHierarchical, HighlightMlp
from segrec.encoders.segment_interest import SegmentInterest
from segrec.records import ConfigError

ENCODERS: dict[str, type[Encoder]] = {
    "ant_pivot": AntPivotEncoder,
    "content_ctr": ContentCtr,
    "highlight_causal": HighlightCausal,
    "highlight_gru": HighlightGru,
    "highlight_hierarchical": HighlightHierarchical,
    "highlight_mlp": HighlightMlp,
    "kuaihl": KuaiHL,
    "segment_interest": SegmentInterest,
}
"""Encoders by name. A third party adds its own by an entry point of the group `segrec.encoders`."""


def find_encoder(name: str) -> type[Encoder]:
    """The encoder of that name, built in or installed.

    :raises ConfigError: there is none; the known names are listed.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    installed = {entry.name: entry for entry in entry_points(group="segrec.encoders")}
    if name in installed:
        found: type[Encoder] = installed[name].load()
        return found
    known = ", ".join(sorted({*ENCODERS, *installed}))
    raise ConfigError(f"unknown encoder {name!r} (known: {known})")
