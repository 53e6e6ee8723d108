"""Work done ahead: in order, bounded, errors where their result would be, nothing left behind when one stops."""

import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from ranking.rows.reading_ahead import done_ahead, made_ahead


class Counted:
    """Jobs that count how many have begun."""

    def __init__(self, pause=0.0):
        self.begun = 0
        self.pause = pause

    def job(self, number):
        def work():
            self.begun += 1
            time.sleep(self.pause * (number % 3))
            return number

        return work


def data_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("segrec-data")]


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_come_in_order(threads):
    counted = Counted(pause=0.001)
    found = list(done_ahead((counted.job(number) for number in range(30)), threads, depth=5))
    assert found == list(range(30))
    assert not data_threads()


@pytest.mark.parametrize(("threads", "most"), [(0, 3), (1, 6), (2, 6)])
def test_never_more_than_depth_ahead(threads, most):
    counted = Counted()
    results = done_ahead((counted.job(number) for number in range(100)), threads, depth=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.02)
    assert counted.begun <= most
    results.close()
    assert not data_threads()


def failing(at):
    def work(number):
        if number == at:
            raise ValueError(f"piece {number} is broken")
        return number

    return work


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_an_error_comes_where_its_result_would(threads):
    work, seen = failing(4), []
    with pytest.raises(ValueError, match="piece 4 is broken"):  # noqa: PT012
        for result in done_ahead((partial(work, number) for number in range(9)), threads, depth=8):
            seen.append(result)  # noqa: PERF402
    assert seen == [0, 1, 2, 3]
    assert not data_threads()


def counting(closed, until=50, broken=None):
    try:
        for number in range(until):
            if number == broken:
                raise ValueError("batch 3 is broken")
            yield number
    finally:
        closed.append(True)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_items_are_made_ahead_in_order(depth):
    closed = []
    assert list(made_ahead(counting(closed), depth)) == list(range(50))
    assert closed
    assert not data_threads()


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_items_before_an_error_come(depth):
    seen = []
    with pytest.raises(ValueError, match="batch 3"):  # noqa: PT012
        for item in made_ahead(counting([], broken=3), depth):
            seen.append(item)  # noqa: PERF402
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("depth", [0, 2])
def test_leaving_early_closes_what_makes(depth):
    closed = []
    items = made_ahead(counting(closed), depth)
    assert next(items) == 0
    items.close()
    assert closed
    assert not data_threads()


PROGRAM = """
import itertools, time
from functools import partial
from ranking.rows.reading_ahead import done_ahead, made_ahead

jobs = (partial(time.sleep, 0.01) for _ in itertools.count())
for number, _ in enumerate(made_ahead(done_ahead(jobs, 2, depth=4), 3)):
    if number == 3:
        print("going", flush=True)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_stopped_process_ends_at_once(number, code):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"going\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=10)
    assert process.returncode in (code, -number)
    assert not told or told.rstrip().endswith(b"KeyboardInterrupt")
