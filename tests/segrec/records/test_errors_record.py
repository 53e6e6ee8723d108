"""One line an error, the same after a journey between processes."""

import pickle
from pathlib import Path

from segrec.records import DataError


def test_one_line_with_all_parts() -> None:
    error = DataError(Path("log.csv"), "column 'a'\n is missing", found="b", expected="a", fix="name it")
    assert str(error) == "log.csv: column 'a' is missing (found: b; expected: a); name it"


def test_comes_back_from_another_process_as_it_was() -> None:
    error = DataError("log.csv", "is empty", found=0, fix="read it again")
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.where, back.found, back.fix) == (str(error), "log.csv", 0, "read it again")
