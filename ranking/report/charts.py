"""Altair charts as inline SVG: drawn here, no script in the page; colours follow the page's light or dark scheme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import vl_convert
from markupsafe import Markup

FIRST = "#1f6f8b"
"Drawn as --first: the model."
SECOND = "#c8553d"
"Drawn as --second: what happened."
THIRD = "#7a5ea8"
"Drawn as --third: the truth of a made world, or a second model."
FOURTH = "#a07a1d"
"Drawn as --fourth: a ranker beside the encoder, or a third run."
QUIET = "#9aa3ab"
"Drawn as --quiet: reference lines and observed bars."

_INK, _MUTED, _RULE = "#1c1f23", "#5c636b", "#e0e1dc"

_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "padding": {"left": 16, "right": 16, "top": 5, "bottom": 5},
    "font": "Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": _MUTED, "titleColor": _MUTED, "gridColor": _RULE, "domainColor": _RULE, "tickColor": _RULE,
        "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "titlePadding": 8, "tickSize": 4,
        "labelOverlap": "greedy", "labelSeparation": 10,
    },
    "legend": {"labelColor": _MUTED, "title": None, "labelFontSize": 11, "orient": "top", "offset": 4,
               "columnPadding": 24},
    "line": {"strokeWidth": 2, "color": FIRST},
    "point": {"size": 40, "filled": True, "color": FIRST},
    "text": {"color": _INK, "fontSize": 11},
}  # fmt: skip


@dataclass(frozen=True)
class Absent:
    """What a section would show, and the command that makes it."""

    reason: str
    command: str | None = None


@dataclass(frozen=True)
class Picture:
    """One chart, ready for the page."""

    title: str
    svg: Markup
    told: str
    "What it shows in words, for readers who do not see it."
    caption: str = ""
    "What is to be seen, and where the numbers come from; below the picture."


def picture(chart: Any, title: str, told: str, caption: str = "") -> Picture:
    """Draws an Altair chart; its numbers stay in the SVG, nothing is fetched."""
    spec: dict[str, Any] = chart.to_dict()
    spec["config"] = _CONFIG
    return Picture(title, Markup(vl_convert.vegalite_to_svg(spec)), told, caption)
