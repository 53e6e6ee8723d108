"""What docs/scale.md prints is what the planner still says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def runs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("planner_runs", ROOT / "benchmarks" / "planner_runs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planner_runs"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_what_the_script_prints(runs: ModuleType) -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    plan, refusal = runs.run(8, 10**9, runs.CASES[0]), runs.run(8, 10**10, runs.CASES[0])
    assert "user    8 x  93,750,000 rows on 8 GPUs    row_wise, fused" in plan
    assert "no plan places the tables: they need 2445.70 GiB" in refusal
    assert plan in page
    assert refusal in page
