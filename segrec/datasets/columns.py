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
            raise _missing(file, kind, found, [name], known=required)


def resolve_aliases(
    file: Path | str, kind: str, found: Sequence[str], aliases: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """{name in the file: our name} for `aliases` = {our name: accepted names in the file, best first}.

    :raises DataError: none, or more than one, of a column's accepted names is there.
    """
    renames = {}
    known = [name for accepted in aliases.values() for name in accepted]
    for ours, accepted in aliases.items():
        here = [name for name in accepted if name in found]
        if len(here) > 1:
            raise DataError(file, f"{kind}: columns {here[0]!r} and {here[1]!r} mean the same", fix="keep one of them")
        if not here:
            raise _missing(file, kind, found, accepted, known)
        renames[here[0]] = ours
    return renames


def _missing(
    file: Path | str, kind: str, found: Sequence[str], accepted: Sequence[str], known: Sequence[str]
) -> DataError:
    strange = [name for name in found if name not in known]
    named = " or ".join(repr(name) for name in accepted)
    fix = "add the column"
    for name in accepted:
        if near := difflib.get_close_matches(name, strange, 1, 0.6):
            fix = f"is {near[0]!r} meant? rename it to {name!r}"
    return DataError(file, f"{kind}: column {named} is missing", found=", ".join(found), fix=fix)
