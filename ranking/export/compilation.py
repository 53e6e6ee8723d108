"""The dense program compiled ahead of time by AOTInductor: C++ (or CUDA) in one package, without Python inside."""

from __future__ import annotations

import platform
import warnings
from importlib.metadata import version
from pathlib import Path
from shutil import which
from typing import Literal

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from ranking.export.manifest import Compiled
from segrec.records import ConfigError

COMPILER = "g++"


def compiler_there() -> bool:
    """Whether the C++ compiler that AOTInductor calls is installed."""
    return which(COMPILER) is not None


def compile_program(program: ExportedProgram, folder: Path, device: Literal["cpu", "cuda"]) -> Compiled:
    """Writes the package for `device` into `folder`.

    :raises ConfigError: no compiler, no such device, or the compiler refuses.
    """
    if not compiler_there():
        raise ConfigError(f"compiling needs {COMPILER}; install it, or export without --aot")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compiling for cuda needs a CUDA device, and there is none; use --aot cpu")
    moved = program if device == "cpu" else move_to_device_pass(program, device)
    file = f"dense_{device}.pt2"
    with warnings.catch_warnings():
        # torch's note on its own way of copying a tree; users can do nothing about it.
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        torch._inductor.aoti_compile_and_package(moved, package_path=str(folder / file))
    return Compiled(file=file, device=device, processor=processor_name(device))


def runs_here(package: Compiled, device: torch.device, torch_version: str | None) -> bool:
    """Whether a package made with `torch_version` runs on `device`: same kind, same processor, same torch."""
    if package.device != device.type or torch_version != version("torch"):
        return False
    return package.processor == processor_name(package.device)


def processor_name(device: Literal["cpu", "cuda"]) -> str:
    """What the package is good for: the processor's features decide on a CPU, the model on a GPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
