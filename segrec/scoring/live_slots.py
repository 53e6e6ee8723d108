"""Which running room lies in which slot of the state buffers, its newest scores, and who has to go.

Legend: S slots, M rooms of a call, w remembered scores a room.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
RoomId = int | str

NO_SLOT = -1
NOTHING_MS = np.iinfo(np.int64).min
"Stands where there is no time yet."


class RoomSlots:
    """At most `capacity` rooms at once; the room whose newest push is longest ago goes first."""

    def __init__(self, capacity: int, remembered: int) -> None:
        self.capacity, self.remembered = capacity, remembered
        self.slot_of: OrderedDict[RoomId, int] = OrderedDict()
        "By the time of the newest push, oldest first."
        self.free = list(range(capacity - 1, -1, -1))
        self.newest_start = np.full(capacity, NOTHING_MS)
        "(S,) ms"
        self.newest_end = np.full(capacity, NOTHING_MS)
        "(S,) ms"
        self.pushed = np.zeros(capacity, np.int64)
        "(S,) segments of the room so far."
        self.starts = np.full((capacity, remembered), NOTHING_MS)
        "(S, w) ms: segment n of a room lies at place n % w."
        self.scores = np.zeros((capacity, remembered), np.float32)
        "(S, w)"

    def __len__(self) -> int:
        return len(self.slot_of)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.newest_start, self.newest_end, self.pushed, self.starts, self.scores)
        return sum(array.nbytes for array in arrays)

    def find(self, rooms: Sequence[RoomId]) -> IntArray:
        """(M,) slots, -1 where a room is not here."""
        return np.fromiter(map(self.slot_of.get, rooms, repeat(NO_SLOT)), np.int64, len(rooms))

    def touch(self, rooms: Sequence[RoomId]) -> None:
        """The rooms, all here, were pushed to just now."""
        for room in rooms:
            self.slot_of.move_to_end(room)

    def take(self, rooms: Sequence[RoomId]) -> tuple[IntArray, int]:
        """(M,) slots of rooms that were not here, and how many others had to go for them."""
        evicted = max(len(rooms) - len(self.free), 0)
        for _ in range(evicted):
            self._release(next(iter(self.slot_of)))
        slots = np.fromiter((self.free.pop() for _ in rooms), np.int64, len(rooms))
        self.slot_of.update(zip(rooms, slots.tolist(), strict=True))
        self.newest_start[slots] = self.newest_end[slots] = self.starts[slots] = NOTHING_MS
        self.pushed[slots] = 0
        return slots, evicted

    def drop(self, rooms: Sequence[RoomId]) -> None:
        """The rooms, all here, are forgotten."""
        for room in rooms:
            self._release(room)

    def idle(self, before_ms: int) -> list[RoomId]:
        """Rooms whose newest segment ended before `before_ms`."""
        gone = self.newest_end < before_ms
        return [room for room, slot in self.slot_of.items() if gone[slot]]

    def stored(self, slots: IntArray, start_ms: IntArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
        """(M,) whether the segment that starts then is among the newest w of its room, and (M,) its score."""
        same = self.starts[slots] == start_ms[:, None]
        return same.any(axis=1), np.take_along_axis(self.scores[slots], same.argmax(axis=1)[:, None], axis=1)[:, 0]

    def remember(self, slots: IntArray, start_ms: IntArray, end_ms: IntArray, scores: npt.NDArray[np.float32]) -> None:
        """The newest segments of the rooms in `slots`, all different."""
        place = self.pushed[slots] % self.remembered
        self.starts[slots, place] = start_ms
        self.scores[slots, place] = scores
        self.newest_start[slots] = start_ms
        self.newest_end[slots] = end_ms
        self.pushed[slots] += 1

    def _release(self, room: RoomId) -> None:
        slot = self.slot_of.pop(room)
        self.newest_end[slot] = NOTHING_MS
        self.free.append(slot)
