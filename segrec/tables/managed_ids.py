"""Rows for ids that never stop coming: TorchRec's managed collisions as a remapper in front of the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.modules.mc_modules import (
    LFU_EvictionPolicy,
    LRU_EvictionPolicy,
    MCHEvictionPolicy,
    MCHManagedCollisionModule,
)
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor

from segrec.records import ConfigError
from segrec.tables.id_codes import MISSING_KEY
from segrec.tables.processes import world_size
from segrec.tables.specs import ManagedRows, TableSpec
from segrec.tables.vocabulary import FIRST_KNOWN, MISSING, UNSEEN

_PENDING = 65_536
"Ids that may wait for their round; more than that begin one early."
POLICIES: dict[str, Callable[[], MCHEvictionPolicy]] = {"lfu": LFU_EvictionPolicy, "lru": LRU_EvictionPolicy}

Reset = Callable[[tuple[str, ...], Tensor, int], None]
"Called with table names, the rows that changed hands, and a number that differs at every call."


@dataclass(frozen=True)
class ManagedCounts:
    """What happened to the rows of one id space so far."""

    rows: int
    "Rows that ids can have."
    used: int
    admitted: int
    evicted: int


class ManagedIds(nn.Module):
    """Keys of managed features -> rows of their tables; other features pass as they are.

    In training each id that comes is noted, and every `every` steps the ids noted since compete with those that have
    rows: those seen least often (lfu) or least recently (lru) lose theirs. An id without a row has row 1 (unseen), a
    missing one row 0. In evaluation nothing changes. The state is in the module's buffers, waiting ids included.

    Several processes: each notes the ids of all (one gather a step), so that all hold the same rows.

    :raises ConfigError: tables that share a managed feature but differ in rows or eviction.
    """

    def __init__(self, specs: Sequence[TableSpec]) -> None:
        super().__init__()
        self.spaces = nn.ModuleDict({group[1][0]: _IdSpace(*group) for group in _groups(specs)})
        "By the name of their first table."

    def connect(self, reset: Reset) -> None:
        """From now on `reset` is called for rows that change hands, before they are looked up."""
        for space in self._spaces():
            space.reset = reset

    def counts(self) -> dict[str, ManagedCounts]:
        """By feature."""
        return {feature: space.counts() for space in self._spaces() for feature in space.features}

    def rows_of(self, feature: str, keys: Tensor) -> Tensor:
        """Rows that `keys` (n,) of `feature` have now, as in evaluation.

        :raises KeyError: `feature` is not managed.
        """
        space = {name: space for space in self._spaces() for name in space.features}[feature]
        return space.rows_of(keys.to(space.state.device))

    def forward(self, features: KeyedJaggedTensor) -> KeyedJaggedTensor:
        """KJT of codes and keys -> KJT of rows."""
        keys = features.keys()
        ends = features.offset_per_key()
        values = features.values().clone()
        for space in self._spaces():
            places = [keys.index(name) for name in space.features if name in keys]
            if self.training:
                space.note(torch.cat([values[ends[place] : ends[place + 1]] for place in places]))
            for place in places:
                values[ends[place] : ends[place + 1]] = space.rows_of(values[ends[place] : ends[place + 1]])
        return KeyedJaggedTensor(
            keys=keys, values=values, lengths=features.lengths(), weights=features.weights_or_none(),
            stride=features.stride(),
        )  # fmt: skip

    def _spaces(self) -> list[_IdSpace]:
        return [space for space in self.spaces.values() if isinstance(space, _IdSpace)]


class _IdSpace(nn.Module):
    """The rows of one set of features. TorchRec's last slot is "unseen": slot s is row s + 2, the last one row 1."""

    waiting: Tensor
    state: Tensor

    def __init__(self, features: tuple[str, ...], tables: tuple[str, ...], rows: int, settings: ManagedRows) -> None:
        super().__init__()
        self.features, self.tables, self.every = features, tables, settings.every
        self.reset: Reset | None = None
        self.slots = MCHManagedCollisionModule(
            zch_size=rows - 1,
            device=torch.device("cpu"),
            eviction_policy=POLICIES[settings.eviction](),
            eviction_interval=1,
        )
        self.slots._init_history_buffers({"id": _jagged(torch.empty(_PENDING, dtype=torch.int64))})
        self.register_buffer("waiting", torch.zeros(_PENDING, dtype=torch.int64))
        self.register_buffer("state", torch.zeros(4, dtype=torch.int64))
        "Number of waiting ids, steps since the last round, ids admitted, ids evicted."

    def note(self, keys: Tensor) -> None:
        """One step of training: `keys` (n,) of this process wait for the next round, which may be now."""
        present = _everyones(keys[keys != MISSING_KEY])
        present = torch.sort(present).values  # rounds that begin early must not depend on the processes' order
        while len(present) > _PENDING - int(self.state[0]):
            present = self._wait(present)
            self._round()
        self._wait(present)
        self.state[1] += 1
        if int(self.state[1]) >= self.every:
            self._round()

    def rows_of(self, keys: Tensor) -> Tensor:
        """(n,) rows: 0 missing, 1 without a row, 2 .. rows - 1."""
        slots = self.slots.remap({"id": _jagged(keys)})["id"].values()
        rows = torch.where(slots == self.slots.output_size() - 1, UNSEEN, slots + FIRST_KNOWN)
        return torch.where(keys == MISSING_KEY, MISSING, rows)

    def counts(self) -> ManagedCounts:
        """So far."""
        rows = self.slots.output_size() - 1
        return ManagedCounts(rows, rows - int(self.slots.open_slots()), int(self.state[2]), int(self.state[3]))

    def _wait(self, keys: Tensor) -> Tensor:
        """Takes as many keys as there is room for; the others come back."""
        count = int(self.state[0])
        taken = keys[: _PENDING - count]
        self.waiting[count : count + len(taken)] = taken
        self.state[0] += len(taken)
        return keys[len(taken) :]

    @torch.no_grad()
    def _round(self) -> None:
        """Gives rows to the ids that waited and starts those rows anew."""
        waiting = self.waiting[: int(self.state[0])]
        if len(waiting):
            before = int(self.slots.open_slots())
            self.slots._current_iter = -1  # count on from the buffer: a checkpoint may have been loaded into it
            self.slots.profile({"id": _jagged(waiting)})
            changed = self.slots.evict()
            filled = before - int(self.slots.open_slots())
            if changed is not None and len(changed):
                self.state[2] += len(changed)
                self.state[3] += len(changed) - filled
                if self.reset is not None:
                    self.reset(self.tables, changed + FIRST_KNOWN, int(self.state[2]))
        self.state[:2] = 0


def _groups(specs: Sequence[TableSpec]) -> list[tuple[tuple[str, ...], tuple[str, ...], int, ManagedRows]]:
    """(features, tables, rows, settings) of each id space: tables that share a feature share the rows of its ids."""
    groups: list[list[TableSpec]] = []
    for spec in specs:
        if spec.managed is None or spec.managed.sharded:
            continue
        met = [group for group in groups if any(set(spec.features) & set(other.features) for other in group)]
        joined = [*(other for group in met for other in group), spec]
        groups = [*(group for group in groups if group not in met), joined]
        first = joined[0]
        for other in joined:
            if (other.rows, other.managed) != (first.rows, first.managed):
                raise ConfigError(
                    f"tables {first.name!r} and {other.name!r} share managed ids but not their rows and eviction; set "
                    "them alike"
                )
    spaces = []
    for group in groups:
        features = tuple(dict.fromkeys(name for spec in group for name in spec.features))
        assert group[0].managed is not None
        spaces.append((features, tuple(spec.name for spec in group), group[0].rows, group[0].managed))
    return spaces


def _everyones(keys: Tensor) -> Tensor:
    """The keys of all processes, one after another."""
    world = world_size()
    if world == 1:
        return keys
    sizes = [torch.zeros(1, dtype=torch.int64, device=keys.device) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(keys)], device=keys.device))
    counts = [int(size) for size in sizes]
    padded = torch.zeros(max(*counts, 1), dtype=torch.int64, device=keys.device)
    padded[: len(keys)] = keys
    gathered = [torch.zeros_like(padded) for _ in range(world)]
    dist.all_gather(gathered, padded)
    return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])


def _jagged(values: Tensor) -> JaggedTensor:
    return JaggedTensor(values=values, lengths=torch.tensor([len(values)]))
