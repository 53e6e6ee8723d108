"""What is left of speech and comments, written out."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segrec.content.cleaning import clean, joined


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("  hello \t\n now ", "hello now"),
        ("soooo good!!!", "so good!"),
        ("aab", "aab"),
        ("哈哈哈哈 好看好看好看", "哈 好看"),
        ("buy now buy now buy now ", "buy now"),
        ("666 1000000 19.9999", "666 1000000 19.9999"),
        ("12 12 12 12", "12 12 12 12"),
        ("v v v v v", "v v"),
        ("nice 😀👍🏽 one", "nice one"),
        ("🇨🇳👨‍👩‍👧 ❤️", ""),
        ("hi [smile][笑哭]【爱心】", "hi"),
        ("[this is a note] hi", "[this is a note] hi"),
        ("ok :-) ;) =D ^_^ T_T <3 >_<", "ok"),
        ("at 3:40, http://a.b/c:D a:b", "at 3:40, http://a.b/c:D a:b"),
        ("zero\u200bwidth\ufeff", "zero width"),
        ("[CLS] x [SEP]", "x"),
        ("", ""),
    ],
)
def test_clean(text: str, left: str) -> None:
    assert clean(text) == left


def test_joined_is_speech_then_each_comment_once() -> None:
    assert joined(["hello", "[smile]", "hello"], ["nice", "nice!!!!", "nice [smile]", "now"]) == (
        "hello hello nice nice! now"
    )
    assert joined([], ["😀"]) == ""


@given(st.text(max_size=60))
def test_clean_text_is_trimmed_and_has_single_spaces(text: str) -> None:
    left = clean(text)
    assert left == left.strip()
    assert "  " not in left


def test_a_long_text_takes_no_time() -> None:
    start = time.process_time()
    clean("ab c" * 50_000 + "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(100_000)))
    assert time.process_time() - start < 2
