"""The doctor: a faked machine for each illness, and the command that mends it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest
import typer
from typer.testing import CliRunner

import segrec.doctor
from segrec.commands.doctor import add_to
from segrec.doctor import TRIOS, Probe, Problem, Report, examine, load_in_another_process

WELL = {"torch": "2.13.0+cpu", "torchrec": "1.8.0", "fbgemm-gpu": "1.8.0+cpu", "fbgemm-gpu-cpu": "1.8.0"}
WITH_CUDA = {"torch": "2.13.0", "torchrec": "1.8.0", "fbgemm-gpu": "1.8.0"}
PIP = f"{sys.executable} -m pip"


def examined(
    versions: Mapping[str, str | None],
    probe: Probe | None = None,
    requirements: Mapping[str, list[str]] | None = None,
) -> Report:
    given = requirements or {}
    return examine(
        version_of=versions.get,
        probe=lambda: probe or Probe(torch_loads=True, fbgemm_loads=True),
        which=lambda name: f"/usr/bin/{name}" if name == "g++" else None,
        requirements_of=lambda name: given.get(name, []),
    )


@pytest.mark.parametrize("trio", TRIOS, ids=str)
def test_each_trio_fits(trio: segrec.doctor.Trio) -> None:
    versions = {"torch": trio.torch, "torchrec": trio.torchrec, "fbgemm-gpu-cpu": trio.fbgemm}
    assert examined(versions).problems == []


def test_releases_of_one_minor_fit() -> None:
    assert examined({**WELL, "torch": "2.13.4+cpu", "torchrec": "1.8.2"}).problems == []


def test_the_cuda_build_is_well_where_cuda_is() -> None:
    assert examined(WITH_CUDA, Probe(True, True, cuda=True)).problems == []


NO_DEPS = f"{PIP} install --no-deps"
TO_CPU = f"{PIP} uninstall -y fbgemm-gpu fbgemm-gpu-cpu && {NO_DEPS} fbgemm-gpu-cpu==1.8.0"


@pytest.mark.parametrize(
    ("changes", "probe", "what", "fix"),
    [
        (
            {"torchrec": "1.7.0"}, None,
            "torchrec 1.7.0 does not fit torch 2.13.0+cpu (expected: 1.8.0)", f"{NO_DEPS} torchrec==1.8.0",
        ),
        (
            {"torchrec": None}, None,
            "torchrec is not installed (expected: 1.8.0)", f"{NO_DEPS} torchrec==1.8.0",
        ),
        (
            {"fbgemm-gpu-cpu": "1.6.0"}, None,
            "fbgemm-gpu-cpu 1.6.0 does not fit torch 2.13.0+cpu (expected: 1.8.0)", f"{NO_DEPS} fbgemm-gpu-cpu==1.8.0",
        ),
        (
            {"fbgemm-gpu-cpu": None}, None,
            "fbgemm-gpu-cpu is not installed (expected: 1.8.0)", f"{NO_DEPS} fbgemm-gpu-cpu==1.8.0",
        ),
        (
            {"torch": "2.5.1"}, None,
            "torch 2.5.1 is not supported (expected: 2.13.0 with torchrec 1.8.0, 2.12.0 with torchrec 1.7.0, "
            "2.11.0 with torchrec 1.6.1)",
            f"{PIP} install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 && "
            f"{NO_DEPS} torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0",
        ),
        (
            {"fbgemm-gpu": "1.8.0", "fbgemm-gpu-cpu": None}, Probe(True, False, reason="libcuda.so.1: not found"),
            "fbgemm-gpu 1.8.0 is the CUDA build, but torch 2.13.0+cpu finds no CUDA device here", TO_CPU,
        ),
        (
            {"fbgemm-gpu": "1.8.0"}, None,
            "two builds lie over each other: fbgemm-gpu 1.8.0 (CUDA) and fbgemm-gpu-cpu 1.8.0", TO_CPU,
        ),
        (
            {}, Probe(True, False, reason="OSError: undefined symbol: _ZN3c10"),
            "fbgemm's operators do not load: OSError: undefined symbol: _ZN3c10",
            f"{NO_DEPS} --force-reinstall fbgemm-gpu-cpu==1.8.0",
        ),
        (
            {}, Probe(False, False, reason="ImportError: libtorch.so"),
            "torch does not load: ImportError: libtorch.so", f"{PIP} install --force-reinstall torch==2.13.0",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_and_the_command_that_mends_it(
    changes: dict[str, str | None], probe: Probe | None, what: str, fix: str
) -> None:
    assert examined({**WELL, **changes}, probe).problems == [Problem(what, fix)]


def test_an_older_torch_keeps_its_own_companions() -> None:
    problems = examined({**WELL, "torch": "2.11.0"}).problems
    assert [problem.fix for problem in problems] == [
        f"{NO_DEPS} torchrec==1.6.1",
        f"{NO_DEPS} fbgemm-gpu-cpu==1.6.0",
    ]


def test_other_requirements_are_read_from_metadata() -> None:
    requirements = {
        "segrec": ["torch>=2.11", "polars>=1.20", "lightgbm>=4.5; extra == 'bench'", "numpy>=1.26"],
        "torchrec": ["fbgemm-gpu", "torchmetrics==1.0.3"],
    }
    versions = {**WELL, "segrec": "0.1.0", "torchmetrics": "1.4.0", "polars": "1.30.0"}
    problems = examined(versions, requirements=requirements).problems
    assert problems == [
        Problem("segrec needs numpy>=1.26 (found: not installed)", f"{PIP} install 'numpy>=1.26'"),
        Problem("torchrec needs torchmetrics==1.0.3 (found: 1.4.0)", f"{PIP} install 'torchmetrics==1.0.3'"),
    ]


def test_optional_tools_are_no_problem() -> None:
    lines = {component.name: component for component in examined(WELL).components}
    assert lines["g++"].version == "/usr/bin/g++"
    assert lines["chromium"].version is None
    assert "tests of the page skip" in lines["chromium"].note
    assert lines["lightgbm"].note == f"optional: {PIP} install 'lightgbm>=4.5'"


def test_what_embedding_needs_is_listed() -> None:
    lines = {component.name: component for component in examined({**WELL, "transformers": "5.23.0"}).components}
    assert (lines["transformers"].version, lines["transformers"].note) == ("5.23.0", "segrec embed: models")
    assert (lines["av"].version, lines["pillow"].version) == (None, None)


def test_this_environment_is_well_and_its_operators_load() -> None:
    probe = load_in_another_process()
    assert (probe.torch_loads, probe.fbgemm_loads) == (True, True), probe.reason
    assert examine(probe=lambda: probe).problems == []


def test_a_crash_while_loading_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segrec.doctor, "_PROGRAM", "import os\nprint('{\"cuda\": false}', flush=True)\nos.abort()")
    assert load_in_another_process() == Probe(True, False, False, "the process ended with code -6")
    monkeypatch.setattr(segrec.doctor, "_PROGRAM", "raise OSError('libtorch.so: no such file')")
    assert load_in_another_process() == Probe(False, False, False, "OSError: libtorch.so: no such file")


@pytest.mark.parametrize(
    ("problems", "code", "said"),
    [([], 0, "all is well"), ([Problem("torchrec is ill", "pip it")], 2, "wrong: torchrec is ill\n  fix: pip it")],
)
def test_the_command_says_it_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, problems: list[Problem], code: int, said: str
) -> None:
    report = Report(examined(WELL).components, problems)
    monkeypatch.setattr(segrec.doctor, "examine", lambda: report)
    app = typer.Typer()
    add_to(app)
    app.callback()(lambda: None)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == code
    assert said in result.output
    assert "torchrec     1.8.0" in result.output
