"""Which columns a source has: required ones, accepted other names, and a hint where a name is nearly right."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from segrec.records import DataError


def check_columns(file: Path | str, kind: str, found: Sequence[str], required: Sequence[str]) -> None:
    """:raises DataError: a required column is missing; names those found and the nearest one."""
    for name in required:
        if name not in found:
            near = difflib.get_close_matches(name, [other for other in found if other not in required], 1, 0.6)
            hint = f"is {near[0]!r} meant? rename it" if near else "add the column"
            raise DataError(
                file, f"{kind}: column {name!r} is missing", found=", ".join(found), fix=f"{hint} to {name!r}"
                if near else hint,
            )  # fmt: skip


def resolve_aliases(
    file: Path | str, kind: str, found: Sequence[str], aliases: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """{name in the file: our name} for `aliases` = {our name: accepted names in the file, best first}.

    :raises DataError: none, or more than one, of a column's accepted names is there.
    """
    renames = {}
    for ours, accepted in aliases.items():
        here = [name for name in accepted if name in found]
        if len(here) > 1:
            raise DataError(file, f"{kind}: columns {here[0]!r} and {here[1]!r} mean the same", fix="keep one of them")
        if not here:
            check_columns(file, kind, found, [accepted[0]])
        renames[here[0]] = ours
    return renames
