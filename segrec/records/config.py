"""Configs: frozen, typed, unknown fields refused; read from YAML and from `--set key=value`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from segrec.records.errors import ConfigError


class Config(BaseModel):
    """The parent of every config. A config stands beside the thing it builds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def of(cls, file: Path | None = None, sets: Sequence[str] = (), **fixed: Any) -> Self:
        """A config from a YAML `file`, then `key=value` `sets` (dots reach into parts), then `fixed`.

        :raises ConfigError: unreadable YAML, an unknown field or a value out of range (one line).
        """
        values = _read_yaml(file) if file is not None else {}
        for pair in sets:
            _assign(values, pair)
        return cls.checked({**values, **fixed})

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """A config from `values`.

        :raises ConfigError: with the first offending field in one line, and the known fields.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_one_line(cls, error)) from None

    def to_yaml(self) -> str:
        """The complete config, defaults included, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); pass an existing YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not YAML ({' '.join(str(error).split())})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: holds a {type(values).__name__} (expected: a mapping of field: value)")
    return values


def _assign(values: dict[str, Any], pair: str) -> None:
    key, equals, text = pair.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {pair!r} is not of the form key=value (e.g. --set epochs=3)")
    *path, last = key.split(".")
    for part in path:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {pair!r}: {part!r} holds a value, not a group of fields")
        values = inner
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {pair!r}: the value is not YAML (quote it?)") from None


def _one_line(cls: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("extra_forbidden", "missing"):
        owner = _owner(cls, [str(part) for part in first["loc"][:-1]])
        problem = "unknown field" if first["type"] == "extra_forbidden" else "missing field"
        return f"{cls.__name__}: {problem} {field!r} (known: {', '.join(owner.model_fields)})"
    if first["type"] == "value_error":
        where = f"field {field!r}: " if field else ""
        return f"{cls.__name__}: {where}{first['ctx']['error']}"
    return f"{cls.__name__}: field {field!r}: {first['msg']} (found: {first['input']!r})"


def _owner(cls: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """The model that holds the field at the end of `path`; keys of mappings are passed over."""
    for part in path:
        if part in cls.model_fields:
            cls = _model_in(cls.model_fields[part].annotation) or cls
    return cls


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `Model | None`, `dict[str, Model]` ..."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner)) is not None), None)
