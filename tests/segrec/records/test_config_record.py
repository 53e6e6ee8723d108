"""Configs: YAML, --set, fixed values; every refusal is one line that lists what is known."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import PositiveInt, model_validator

from segrec.records import Config, ConfigError


class Inner(Config):
    width: PositiveInt = 4
    kind: Literal["a", "b"] = "a"

    @model_validator(mode="after")
    def _check(self) -> Inner:
        if self.width == 13:
            raise ValueError("width 13 brings bad luck")
        return self


class Outer(Config):
    epochs: PositiveInt = 3
    inner: Inner = Inner()
    other: Inner | None = None
    many: dict[str, Inner] = {}


def test_file_then_sets_then_fixed(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("epochs: 5\ninner: {width: 8}\n")
    config = Outer.of(file, ["inner.kind=b", "epochs=7"], epochs=9)
    assert config == Outer(epochs=9, inner=Inner(width=8, kind="b"))
    assert Outer.of() == Outer()


def test_yaml_round_trip(tmp_path):
    config = Outer(other=Inner(width=2), many={"x": Inner()})
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    assert Outer.of(tmp_path / "c.yaml") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "Outer: unknown field 'epoch' .known: epochs, inner, other, many."),
        ({"inner": {"widht": 3}}, "Outer: unknown field 'inner.widht' .known: width, kind."),
        ({"other": {"widht": 3}}, "Outer: unknown field 'other.widht' .known: width, kind."),
        ({"many": {"x": {"widht": 3}}}, "Outer: unknown field 'many.x.widht' .known: width, kind."),
        ({"epochs": 0}, "Outer: field 'epochs': Input should be greater than 0 .found: 0."),
        ({"inner": {"width": 13}}, "^Outer: field 'inner': width 13 brings bad luck$"),
        ({"inner": {"kind": "c"}}, "Outer: field 'inner.kind': Input should be 'a' or 'b' .found: 'c'."),
    ],
)
def test_refusals(values, message):
    with pytest.raises(ConfigError, match=message):
        Outer.checked(values)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("epochs", "--set 'epochs' is not of the form key=value"),
        ("=3", "--set '=3' is not of the form key=value"),
        ("epochs.x=3", "unknown field|field 'epochs'"),
        ("epochs=[", "the value is not YAML"),
    ],
)
def test_bad_sets(pair, message):
    with pytest.raises(ConfigError, match=message):
        Outer.of(None, [pair])


def test_a_set_below_a_value():
    with pytest.raises(ConfigError, match="'epochs' holds a value, not a group of fields"):
        Outer.of(None, ["epochs=3", "epochs.x=3"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not YAML"), ("- 1", "holds a list .expected: a mapping"), ("\x00", "is not YAML")],
)
def test_bad_files(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as told:
        Outer.of(tmp_path / "c.yaml")
    assert "\n" not in str(told.value)
    with pytest.raises(ConfigError, match=r"cannot be read .No such file"):
        Outer.of(tmp_path / "none.yaml")


def test_a_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Outer().epochs = 4  # type: ignore[misc]
