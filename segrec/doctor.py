"""Which versions are installed, whether they fit together, what is wrong and which command mends it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version


class Trio(NamedTuple):
    """Releases of one day. torch and fbgemm share a C++ interface: move all three or none."""

    torch: str
    torchrec: str
    fbgemm: str


TRIOS = (Trio("2.13.0", "1.8.0", "1.8.0"), Trio("2.12.0", "1.7.0", "1.7.0"), Trio("2.11.0", "1.6.1", "1.6.0"))
"""Newest first. From fbgemm's table of releases; torchrec's releases carry fbgemm's numbers."""

_PROGRAM = """
import json, torch
print(json.dumps({"cuda_build": torch.version.cuda, "cuda": torch.cuda.is_available()}), flush=True)
import fbgemm_gpu
torch.ops.fbgemm.asynchronous_complete_cumsum(torch.ones(2, dtype=torch.int64))
print("loaded", flush=True)
"""
_EMBEDDING = {"transformers": "segrec embed: models", "av": "segrec embed: videos", "pillow": "segrec embed: images"}
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Probe:
    """What another process found when it loaded torch, then fbgemm's operators."""

    torch_loads: bool
    fbgemm_loads: bool
    cuda: bool = False
    "A CUDA device is there and torch can use it."
    reason: str = ""
    "Last line of the failure."


@dataclass(frozen=True)
class Component:
    """One line of the report."""

    name: str
    version: str | None
    note: str = ""


@dataclass(frozen=True)
class Problem:
    """What is wrong and the exact command that mends it."""

    what: str
    fix: str


@dataclass(frozen=True)
class Report:
    """What `segrec doctor` prints."""

    components: list[Component]
    problems: list[Problem]


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, None when it is not there."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def load_in_another_process() -> Probe:
    """Loads torch and fbgemm where a crash does no harm."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if not lines:
        return Probe(False, False, reason=_last_line(done.stderr, done.returncode))
    cuda = bool(json.loads(lines[0])["cuda"])
    if "loaded" not in lines:
        return Probe(True, False, cuda, _last_line(done.stderr, done.returncode))
    return Probe(True, True, cuda)


def examine(
    version_of: Callable[[str], str | None] = installed_version,
    probe: Callable[[], Probe] = load_in_another_process,
    which: Callable[[str], str | None] = shutil.which,
    requirements_of: Callable[[str], list[str]] = lambda name: importlib.metadata.requires(name) or [],
) -> Report:
    """Looks at everything; the arguments stand in for the machine in tests."""
    cpu_fbgemm, named_fbgemm = version_of("fbgemm-gpu-cpu"), version_of("fbgemm-gpu")
    shim = named_fbgemm is not None and named_fbgemm.endswith("+cpu")
    cuda_fbgemm = None if shim else named_fbgemm
    loaded = probe()
    problems = _trio_problems(version_of("torch"), version_of("torchrec"), cpu_fbgemm, cuda_fbgemm)
    problems += _build_problems(version_of("torch"), cpu_fbgemm, cuda_fbgemm, loaded)
    if not problems:
        problems += _loading_problems(version_of("torch"), loaded)
    problems += _requirement_problems(version_of, requirements_of)
    build = "CUDA build" if cuda_fbgemm is not None else "CPU build"
    components = [
        Component("python", ".".join(map(str, sys.version_info[:3])), sys.executable),
        Component("torch", version_of("torch"), "CUDA device found" if loaded.cuda else "no CUDA device: fits on CPU"),
        Component("torchrec", version_of("torchrec")),
        Component(
            "fbgemm", cuda_fbgemm or cpu_fbgemm, f"{build}, operators {'load' if loaded.fbgemm_loads else 'fail'}"
        ),
        *(Component(name, version_of(name), use) for name, use in _EMBEDDING.items()),
        *_optional(version_of, which),
    ]
    return Report(components, problems)


def _optional(version_of: Callable[[str], str | None], which: Callable[[str], str | None]) -> list[Component]:
    compiler = which("g++")
    chromium = next((path for name in _CHROMIUM if (path := which(name)) is not None), None)
    lightgbm = version_of("lightgbm")
    return [
        Component("g++", compiler, "optional" if compiler else "optional: without it exports are not compiled"),
        Component("chromium", chromium, "optional" if chromium else "optional: without it tests of the page skip"),
        Component("lightgbm", lightgbm, "optional" if lightgbm else "optional: " + _pip("'lightgbm>=4.5'")),
    ]


def _trio_problems(
    torch: str | None, torchrec: str | None, cpu_fbgemm: str | None, cuda_fbgemm: str | None
) -> list[Problem]:
    trio = next((trio for trio in TRIOS if torch is not None and _same_minor(torch, trio.torch)), None)
    if trio is None:
        wanted = ", ".join(f"{trio.torch} with torchrec {trio.torchrec}" for trio in TRIOS)
        trio = TRIOS[0]
        name = "fbgemm-gpu" if cuda_fbgemm is not None else "fbgemm-gpu-cpu"
        index = "" if cuda_fbgemm is not None else "--index-url https://download.pytorch.org/whl/cpu "
        rest = _pip(f"--no-deps torchrec=={trio.torchrec} {name}=={trio.fbgemm}")
        found = "is not installed" if torch is None else f"{torch} is not supported"
        return [Problem(f"torch {found} (expected: {wanted})", f"{_pip(f'{index}torch=={trio.torch}')} && {rest}")]
    problems = []
    if torchrec is None or not _same_minor(torchrec, trio.torchrec):
        found = "is not installed" if torchrec is None else f"{torchrec} does not fit torch {torch}"
        what = f"torchrec {found} (expected: {trio.torchrec})"
        problems.append(Problem(what, _pip(f"--no-deps torchrec=={trio.torchrec}")))
    fbgemm = cuda_fbgemm or cpu_fbgemm
    if fbgemm is None or not _same_minor(fbgemm, trio.fbgemm):
        name = "fbgemm-gpu" if cuda_fbgemm is not None else "fbgemm-gpu-cpu"
        found = "is not installed" if fbgemm is None else f"{fbgemm} does not fit torch {torch}"
        what = f"{name} {found} (expected: {trio.fbgemm})"
        problems.append(Problem(what, _pip(f"--no-deps {name}=={trio.fbgemm}")))
    return problems


def _build_problems(torch: str | None, cpu_fbgemm: str | None, cuda_fbgemm: str | None, loaded: Probe) -> list[Problem]:
    version = _trio_of(torch).fbgemm
    on_cpu = _pip("uninstall -y fbgemm-gpu fbgemm-gpu-cpu", verb="") + " && "
    on_cpu += _pip(f"--no-deps fbgemm-gpu-cpu=={version}")
    if cuda_fbgemm is not None and cpu_fbgemm is not None:
        what = f"two builds lie over each other: fbgemm-gpu {cuda_fbgemm} (CUDA) and fbgemm-gpu-cpu {cpu_fbgemm}"
        on_cuda = _pip("uninstall -y fbgemm-gpu fbgemm-gpu-cpu", verb="") + " && "
        on_cuda += _pip(f"--no-deps fbgemm-gpu=={version}")
        return [Problem(what, on_cuda if loaded.cuda else on_cpu)]
    if cuda_fbgemm is not None and not loaded.cuda:
        what = f"fbgemm-gpu {cuda_fbgemm} is the CUDA build, but torch {torch} finds no CUDA device here"
        return [Problem(what, on_cpu)]
    return []


def _loading_problems(torch: str | None, loaded: Probe) -> list[Problem]:
    trio = _trio_of(torch)
    if not loaded.torch_loads:
        return [Problem(f"torch does not load: {loaded.reason}", _pip(f"--force-reinstall torch=={trio.torch}"))]
    if not loaded.fbgemm_loads:
        name = "fbgemm-gpu" if loaded.cuda else "fbgemm-gpu-cpu"
        again = _pip(f"--no-deps --force-reinstall {name}=={trio.fbgemm}")
        return [Problem(f"fbgemm's operators do not load: {loaded.reason}", again)]
    return []


def _requirement_problems(
    version_of: Callable[[str], str | None], requirements_of: Callable[[str], list[str]]
) -> list[Problem]:
    """What segrec and torchrec ask for in their own metadata (the trio apart) and do not find."""
    problems = []
    for owner in ("segrec", "torchrec"):
        if version_of(owner) is None:
            continue
        for requirement in map(Requirement, requirements_of(owner)):
            marked_out = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
            if marked_out or requirement.name in ("torch", "torchrec", "fbgemm-gpu"):
                continue
            found = version_of(requirement.name)
            if found is None or not requirement.specifier.contains(found, prereleases=True):
                what = f"{owner} needs {requirement.name}{requirement.specifier} (found: {found or 'not installed'})"
                problems.append(Problem(what, _pip(f"'{requirement.name}{requirement.specifier}'")))
    return problems


def _trio_of(torch: str | None) -> Trio:
    return next((trio for trio in TRIOS if torch is not None and _same_minor(torch, trio.torch)), TRIOS[0])


def _same_minor(found: str, expected: str) -> bool:
    try:
        return Version(found).release[:2] == Version(expected).release[:2]
    except InvalidVersion:
        return False


def _pip(arguments: str, verb: str = "install ") -> str:
    return f"{sys.executable} -m pip {verb}{arguments}"


def _last_line(text: str, code: int) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not re.match(r"\s", line)]
    return lines[-1].strip()[:300] if lines else f"the process ended with code {code}"
