"""The click program as a module for the tests of this room."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def click_program() -> ModuleType:
    path = Path(__file__).with_name("click_program.py")
    spec = importlib.util.spec_from_file_location("click_program", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["click_program"] = module
    spec.loader.exec_module(module)
    return module
