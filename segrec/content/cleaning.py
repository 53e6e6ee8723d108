"""What of speech and comments reaches the text model (KuaiHL, supplement: emoticons out, duplicates collapsed)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_EMOJI = re.compile(
    "["
    "\U0001f000-\U0001faff"  # pictographs, emoticons, flags, skin tones, playing cards
    "\u2600-\u27bf"  # weather, hands, dingbats
    "\u2300-\u23ff\u2b00-\u2bff\u2190-\u21ff"  # clocks, stars, arrows
    "\u200b-\u200f\u2060\ufe0e\ufe0f\u20e3\ufeff\U000e0020-\U000e007f"  # joiners and marks without a shape of their own
    "]+"
)
_CODE = re.compile(r"\[[^\[\]\s]{1,8}\]|【[^【】\s]{1,8}】")
"The platforms' own: [smile]."
_TYPED = re.compile(r"(?<![\w/])(?:[:;=][-o*']?[)\](\[dDpP|@<>]+|\^[_.\-oO]?\^|[TQ]_+[TQ]|>_+<|<3)(?!\w)")
_REPEATED = re.compile(r"(.{1,10}?)\1{2,}", re.DOTALL)
_SPACE = re.compile(r"\s+")


def clean(text: str) -> str:
    """`text` without emoticons, with one space between words and each repetition told once; may come out empty.

    Emoticons: emoji, the platforms' bracket codes ([smile]) and typed ones (:-) ^_^). A repetition is the same 1 to 10
    characters three or more times in a row, numbers apart: "soooo" -> "so", "666" and "1000000" stay.
    """
    for pattern in (_EMOJI, _CODE, _TYPED):
        text = pattern.sub(" ", text)
    text = _SPACE.sub(" ", text)
    return _REPEATED.sub(_once, text).strip()


def joined(speech: Iterable[str], comments: Iterable[str]) -> str:
    """One text a segment: what was said, then what was written, each cleaned, the same comment only once."""
    said = [told for text in speech if (told := clean(text))]
    written = dict.fromkeys(told for text in comments if (told := clean(text)))
    return " ".join([*said, *written])


def _once(match: re.Match[str]) -> str:
    unit = match[1]
    return match[0] if unit.strip().isdigit() else unit
