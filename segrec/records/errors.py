"""What is wrong with a file, a config or a call, said in one line."""

from __future__ import annotations

from pathlib import Path


class SegrecError(Exception):
    """Wrong use or bad input: the command line prints the one line and exits with code 2."""


class DataError(SegrecError):
    """Bad data at the door: which file, what was found, what was expected, what to do.

    >>> str(DataError("log.csv", "column 'play_time_ms' is missing", found="user_id, video_id", fix="name it"))
    "log.csv: column 'play_time_ms' is missing (found: user_id, video_id); name it"
    """

    def __init__(
        self,
        where: str | Path,
        problem: str,
        *,
        found: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.where, self.problem, self.found, self.expected, self.fix = where, problem, found, expected, fix
        told = [f"{word}: {value}" for word, value in (("found", found), ("expected", expected)) if value is not None]
        line = f"{where}: {problem}" + (f" ({'; '.join(told)})" if told else "") + (f"; {fix}" if fix else "")
        super().__init__(" ".join(line.split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Errors come back from worker processes as they were raised."""
        return _data_error, (self.where, self.problem, self.found, self.expected, self.fix)


class ConfigError(SegrecError, ValueError):
    """A bad argument or setting: names the field, what was found and what is allowed."""


def _data_error(where: str | Path, problem: str, found: object, expected: object, fix: str | None) -> DataError:
    return DataError(where, problem, found=found, expected=expected, fix=fix)
