"""A start from an older run: rows of its tables matched by raw id, their optimizers' state, the dense part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ranking.encoding.feature_encoding import FittedFeatures
from ranking.training.trained_ranker import WEIGHTS
from ranking.warm_start_config import WarmStartConfig
from segrec.fitting.column_shards import whole_sums
from segrec.fitting.stored_checkpoint import RANKER, StoredCheckpoint, feature_of, table_of
from segrec.fitting.warm_rows import NEW, RowReader, fill_rows, rows_by_id
from segrec.records import ConfigError, DataError, DatasetFolder, RunFolder
from segrec.tables import HashedIds, TableSpec, Vocabulary, fused_state, live_state, rank
from segrec.tables.starting import table_weights

REPORT = "warm_start.json"
_LEAVE_OUT = "name the tables to take without it: warm_start.tables=[...]"


@dataclass(frozen=True)
class TakenTable:
    """What one table took from the older run."""

    table: str
    taken: int = 0
    "Ids with their older row."
    new: int = 0
    "Ids that the older run did not know: their rows keep their start."
    gone: int = 0
    "Ids of the older run that the new one does not know."
    left_out: str | None = None
    "Why no row was taken."

    def __str__(self) -> str:
        if self.left_out is not None:
            return f"{self.table}: left out ({self.left_out})"
        return f"{self.table}: {self.taken} rows taken, {self.new} new, {self.gone} gone"


def warm_start(
    module: nn.Module, specs: Sequence[TableSpec], features: FittedFeatures, config: WarmStartConfig, folder: Path
) -> None:
    """Fills the tables of a distributed `module` with older rows, each process its shards; counts go to `folder`.

    :raises ConfigError: a named table that this run lacks, or a dense part of other features or shapes.
    :raises DataError: not a ranker's run, a named table that it lacks, another width, or no checkpoint for `optimizer`.
    """
    assert config.run is not None
    source = _OlderRun(config.run)
    _check_named(config, specs)
    weights, states = table_weights(live_state(module)), fused_state(module)
    taken = []
    for spec in specs:
        named = config.tables is not None and feature_of(spec.name) in config.tables
        if config.tables is not None and not named:
            continue
        found = _taken(source, spec, features)
        if found.left_out is None:
            origin = source.origin(_id_of(spec, features), features)
            assert not isinstance(origin, str)
            fill_rows(weights[spec.name], source.rows(spec), origin)
            if config.optimizer:
                for name, state in _states_of(states, spec):
                    shards = state.size()[0] // spec.rows  # sums of column shards lie one below the other
                    fill_rows(state, source.state(spec, name, state), np.tile(origin, shards))
        elif named:
            raise DataError(source.run.path, f"table {found.table!r} cannot be taken: {found.left_out}", fix=_LEAVE_OUT)
        taken.append(found)
    if config.dense:
        _take_dense(module, source, features)
    if rank() == 0:
        (folder / REPORT).write_text(json.dumps([asdict(found) for found in taken], indent=1) + "\n", encoding="utf-8")


def trained_until(
    newest_ms: int, config: WarmStartConfig, dataset: DatasetFolder, first_kept_back: Callable[[], int | None]
) -> int:
    """time_ms of the newest row that the weights know of: of this run's train rows, or of the run it starts from.

    :param first_kept_back: tells when the first valid or test row is.
    :raises DataError: the older run, of another dataset, knows rows as new as those that this one is chosen by or
        tested on.
    """
    if config.run is None:
        return newest_ms
    older = RunFolder.open(config.run, "ranker")
    until = older.meta.trained_until_ms
    if older.meta.dataset_fingerprint != dataset.meta.fingerprint:
        first = first_kept_back()
        if first is not None and (until is None or until >= first):
            raise DataError(
                older.path, "was trained on rows as new as the valid or test rows",
                found=f"trained until {until}, first of them at {first}", fix="start from an older run",
            )  # fmt: skip
    return newest_ms if until is None else max(newest_ms, until)


def warm_start_lines(run: Path) -> Iterator[str]:
    """A line a table of a run that began with an older one's rows."""
    if (run / REPORT).is_file():
        for found in json.loads((run / REPORT).read_text(encoding="utf-8")):
            yield f"warm start, {TakenTable(**found)}"


class _OlderRun:
    """The run that rows come from."""

    def __init__(self, path: str) -> None:
        self.run = RunFolder.open(path, "ranker")
        self.features = FittedFeatures.load(self.run.path / "features")
        try:
            self.weights = cast("Any", safe_open(self.run.path / WEIGHTS, framework="pt"))
        except (OSError, SafetensorError) as error:
            raise DataError(self.run.path / WEIGHTS, "cannot be read", found=str(error), fix="rank again") from None
        names: list[str] = list(self.weights.keys())
        self.tables = {feature_of(table): key for key in names if (table := table_of(key)) is not None}
        self.dense = set(names) - set(self.tables.values())
        self._checkpoint: StoredCheckpoint | None = None

    def origin(self, feature: str, features: FittedFeatures) -> npt.NDArray[np.int64] | str:
        """For each new row of `feature` its older row; or why there is none."""
        if feature in features.edges:
            same = self.features.edges.get(feature) == features.edges[feature]
            return np.arange(features.rows_of(feature)) if same else "its buckets have other edges"
        old, new = self.features.vocabularies.get(feature), features.vocabularies[feature]
        if isinstance(old, Vocabulary) and isinstance(new, Vocabulary):
            return rows_by_id(old, new)
        if isinstance(old, HashedIds) and old == new:
            return np.arange(new.size)
        return (
            "its ids become rows in another way" if isinstance(new, Vocabulary | HashedIds) else "its ids are managed"
        )

    def rows(self, spec: TableSpec) -> RowReader:
        """Reads rows of the older table.

        :raises DataError: they have another width.
        """
        part = self.weights.get_slice(self.tables[feature_of(spec.name)])
        width = part.get_shape()[1]
        if width != spec.dim:
            raise DataError(
                self.run.path, f"table {feature_of(spec.name)!r} has another width", found=width, expected=spec.dim,
                fix=f"use the older width, or {_LEAVE_OUT}",
            )  # fmt: skip

        def read(start: int, end: int) -> Tensor:
            block: Tensor = part[start:end]
            return block

        return read

    def state(self, spec: TableSpec, name: str, now: Any) -> RowReader:
        """Reads rows of the state `name` of the older table's optimizer.

        :raises DataError: no checkpoint, no such state, or of another shape.
        """
        if self._checkpoint is None:
            self._checkpoint = StoredCheckpoint.open(self.run.path)
        tensor = self._checkpoint.table(feature_of(spec.name))
        stored = {key.rsplit(".", 1)[-1]: key for key in self._checkpoint.states_of(tensor)}
        rows = self._checkpoint.tensors[tensor].size[0]
        shape = tuple(now.size())[1:]
        found = None if name not in stored else tuple(self._checkpoint.tensors[stored[name]].size)
        by_row = not shape and found is not None and len(found) == 1 and found[0] % rows == 0
        if found != (rows, *shape) and not by_row:
            raise DataError(
                self.run.path, f"table {feature_of(spec.name)!r} has another optimizer: state {name!r}", found=found,
                expected=(rows, *shape), fix="set warm_start.optimizer=false",
            )  # fmt: skip
        whole = self._checkpoint.read(stored[name])
        whole = whole_sums(whole, rows) if by_row else whole
        return lambda start, end: whole[start:end]


def _taken(source: _OlderRun, spec: TableSpec, features: FittedFeatures) -> TakenTable:
    name = feature_of(spec.name)
    if name not in source.tables:
        return TakenTable(name, left_out="the older run has no such table")
    origin = source.origin(_id_of(spec, features), features)
    if isinstance(origin, str):
        return TakenTable(name, left_out=origin)
    known, before = origin[2:], source.features.rows_of(_id_of(spec, features)) - 2
    taken = int((known != NEW).sum())
    return TakenTable(name, taken=taken, new=len(known) - taken, gone=before - taken)


def _id_of(spec: TableSpec, features: FittedFeatures) -> str:
    """The feature whose codes the rows of a table stand for; of a table of past events alone (CAN's), their id."""
    shown = {sequence.name: sequence.id_feature for sequence in features.spec.sequences}
    return shown.get(spec.features[0], spec.features[0])


def _check_named(config: WarmStartConfig, specs: Sequence[TableSpec]) -> None:
    known = [feature_of(spec.name) for spec in specs]
    for name in config.tables or ():
        if name not in known:
            raise ConfigError(f"warm_start.tables: {name!r} is no table of this run (tables: {', '.join(known)})")


def _states_of(states: dict[str, Any], spec: TableSpec) -> Iterator[tuple[str, Any]]:
    """Name and live tensor of each state that has a value a row."""
    for key, value in states.items():
        if f".{spec.name}.weight/" in key and len(value.size()):
            yield key.rsplit(".", 1)[-1], value


@torch.no_grad()
def _take_dense(module: nn.Module, source: _OlderRun, features: FittedFeatures) -> None:
    before, now = _inputs(source.features), _inputs(features)
    if before != now:
        changed = next((name for name in [*now, *before] if (name in now) != (name in before)), "their order")
        raise ConfigError(f"warm_start.dense=true: {source.run.path} has other features ({changed}); leave it false")
    wanted = {
        key.removeprefix(RANKER): value
        for key, value in live_state(module).items()
        if key.startswith(RANKER) and table_of(key) is None and value.is_floating_point()
    }
    for key, value in wanted.items():
        found = list(source.weights.get_slice(key).get_shape()) if key in source.dense else None
        if found != list(value.shape):
            raise ConfigError(
                f"warm_start.dense=true: {key!r} of {source.run.path} is {found} (here: {list(value.shape)}); use the "
                "older run's ranker and settings, or leave it false"
            )
    for key, value in wanted.items():
        value.copy_(source.weights.get_tensor(key))


def _inputs(features: FittedFeatures) -> list[str]:
    """Names in the order in which they reach the dense part."""
    spec = features.spec
    sequences = [sequence.name for sequence in spec.sequences]
    return [*(feature.name for feature in spec.coded), *sequences, *features.dense_names]
