"""A command under torchrun: the first process alone is heard, and one that fails ends all, with one message."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TextIO

from segrec.records.errors import SegrecError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_POLL_SECONDS, _GRACE_SECONDS = 1.0, 0.3


def under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def run_together(command: Callable[[], object]) -> None:
    """Runs `command` in each of torchrun's processes; only the first one writes to stdout and stderr.

    The first process that fails writes why (one line for a SegrecError, else the traceback), and all end with its exit
    code: those that wait for it in a collective too.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # peers that go away are told by us, in one line
    number, voice = int(os.environ["RANK"]), sys.stderr
    if number:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - to the end
    failures = Failures(number, voice)
    failures.watch()
    try:
        command()
    except SegrecError as error:
        failures.end(2, f"segrec: error: {error}\n")
    except SystemExit as left:
        if left.code not in (None, 0):  # a usage error, told by the first process
            failures.end(left.code if isinstance(left.code, int) else 1, "")
    except BaseException:  # noqa: BLE001 - whatever it is, it ends all processes
        failures.end(1, traceback.format_exc())


def end_process() -> NoReturn:
    """Ends this process, whose work is done, with exit code 0 and without the interpreter's own end.

    Threads of the process group, held by whoever refers to it, now and then abort a process that ends slowly.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class Failures:
    """Who failed first, told to all through torchrun's store."""

    def __init__(self, number: int, voice: TextIO) -> None:
        self._number, self._voice = number, voice
        self._key = f"segrec/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"

    def end(self, code: int, message: str) -> NoReturn:
        """Writes `message` where no other process has failed before, and ends this one at once."""
        told = f"{self._number} {code}"
        store = self._store()
        first = told if store is None else store.compare_set(self._key, "", told).decode()
        if first == told:
            self._voice.write(message)
            self._voice.flush()
        else:
            time.sleep(_GRACE_SECONDS)  # torchrun stops all when one is gone: let the first one speak
        sys.stdout.flush()
        os._exit(int(first.split()[1]))  # threads of a collective that never ends would hold up sys.exit

    def watch(self) -> None:
        """From now on this process ends soon after another one has failed, even if nothing wakes it."""
        threading.Thread(target=self._wait, name="other processes", daemon=True).start()

    def _wait(self) -> None:
        store = self._store()
        while store is not None:
            time.sleep(_POLL_SECONDS)
            try:
                failed = store.get(self._key).decode() if store.check([self._key]) else None
            except RuntimeError:  # torchrun is gone, and stops this process itself
                return
            if failed is not None and not failed.startswith(f"{self._number} "):
                time.sleep(_POLL_SECONDS)
                os._exit(int(failed.split()[1]))

    def _store(self) -> Store | None:
        """A connection to the store that torchrun's agent holds; None where it holds none."""
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            return None
        from torch._C._distributed_c10d import TCPStore

        return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
