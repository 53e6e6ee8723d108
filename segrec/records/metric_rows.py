"""Metric rows: the one form of every measured number, on disk as a JSON list."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from segrec.records.errors import DataError
from segrec.records.outputs import new_file


class MetricRow(BaseModel):
    """One number with its interval and everything needed to know what it is.

    `versus` is None, or the model against which the paired difference `value` = model - versus is taken.
    `low`, `high` = 95% interval by clustered bootstrap; `seed` = None over seeds; `n` = rows measured on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)

    task: Literal["skip", "highlight", "ctr"]
    split: str
    cohort: str = "all"
    protocol: str
    model: str
    versus: str | None = None
    seed: int | None = None
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int


def write_metric_rows(out: Path, rows: Iterable[MetricRow]) -> None:
    """Writes rows as a JSON list; NaN and infinite become null."""
    with new_file(out) as building:
        building.write_text(json.dumps([_plain(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def read_metric_rows(file: Path) -> list[MetricRow]:
    """The rows of a `metrics.json` or `evaluate --out` file.

    :raises DataError: not JSON, or a row of another form.
    """
    try:
        listed = json.loads(Path(file).read_text(encoding="utf-8"))
        if not isinstance(listed, list):
            raise TypeError(f"a {type(listed).__name__}")
        return [MetricRow.model_validate({**row, "value": _nan(row.get("value"))}) for row in listed]
    except (OSError, ValueError, ValidationError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            file, "is not a list of metric rows", found=reason, fix="pass what `segrec evaluate` wrote"
        ) from None


def table(rows: Sequence[MetricRow], metrics: Sequence[str], digits: int = 4) -> list[list[str]]:
    """Rows of text, a model a line: 'value [low, high]' for each metric; for printing."""
    models = list(dict.fromkeys((row.model, row.versus) for row in rows))
    lines = [["model", *metrics]]
    for model, versus in models:
        found = {row.metric: row for row in rows if (row.model, row.versus) == (model, versus)}
        name = model if versus is None else f"{model} - {versus}"
        lines.append([name, *(_cell(found.get(metric), digits) for metric in metrics)])
    return lines


def _cell(row: MetricRow | None, digits: int) -> str:
    if row is None or math.isnan(row.value):
        return "-"
    if row.low is None or row.high is None:
        return f"{row.value:.{digits}f}"
    return f"{row.value:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _plain(row: MetricRow) -> dict[str, object]:
    values = row.model_dump()
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
