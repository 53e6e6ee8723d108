"""One run folder for all processes: the first makes it and puts it in place, the others wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from segrec.records import RunMeta, new_run
from segrec.tables.processes import barrier, everywhere, rank

T = TypeVar("T")


@contextmanager
def shared_run(out: Path, meta: RunMeta, config: str, *, overwrite: bool) -> Iterator[Path]:
    """`new_run` for all processes together: the same folder on each, which becomes `out` when all are done with it.

    The folder must lie where all processes see it.

    :raises DataError: as `new_run`, on the first process.
    """
    if rank() == 0:
        with new_run(out, meta, config, overwrite=overwrite) as folder:
            everywhere(str(folder))
            yield folder
            barrier()
    else:
        yield Path(everywhere(""))
        barrier()
    barrier()


def made_once(make: Callable[[], T], found: Callable[[], T]) -> T:
    """What the first process makes (and stores); the others wait, then find it."""
    made = make() if rank() == 0 else None
    barrier()
    return found() if made is None else made
