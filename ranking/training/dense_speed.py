"""How the dense part of a ranker computes: bf16 under autocast, TF32, torch.compile."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import torch
from torch import nn

from ranking.rankers.ranker import Ranker
from segrec.fitting import FitConfig
from segrec.records import ConfigError


def apply_speed_settings(module: nn.Module, config: FitConfig, device: torch.device) -> None:
    """Sets TF32 for this process, and compiles the dense part of each ranker inside `module` where `config` says so.

    :raises ConfigError: what this machine cannot do.
    """
    check_speed_settings(config, device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = config.tf32
        torch.backends.cudnn.allow_tf32 = config.tf32
    if config.compile:
        compile_dense(module)


def check_speed_settings(config: FitConfig, device: torch.device) -> None:
    """:raises ConfigError: tf32 without CUDA, bf16 on a device without it, compile without a compiler."""
    if config.tf32 and device.type != "cuda":
        raise ConfigError(f"tf32=true needs CUDA (found device: {device.type}); leave it out, or set precision=bf16")
    if config.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError(f"precision=bf16: {torch.cuda.get_device_name(device)} has no bf16; use fp32 or tf32=true")
    if config.compile:
        check_compiler(device.type)


def check_compiler(device_type: str) -> None:
    """:raises ConfigError: torch.compile has nothing to compile with."""
    if device_type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        raise ConfigError("compile=true needs a C++ compiler on a CPU (found none of g++, clang++, c++); install g++")
    if device_type == "cuda" and find_spec("triton") is None:
        raise ConfigError("compile=true needs the package triton on CUDA; it comes with torch's CUDA wheels")


def compile_dense(module: nn.Module) -> None:
    """Compiles `hidden`, the layers between the embedded row and the head, of each ranker inside `module`.

    Look-ups stay as they are: TorchRec's kernels are compiled already. Batches of another size (the last one of an
    epoch) make torch compile once more, for any size; names of weights stay.
    """
    for part in module.modules():
        if isinstance(part, Ranker):
            part.hidden = torch.compile(part.hidden)  # type: ignore[method-assign]
    # TorchRec traces the module to find its look-ups: the dense part is then called as it was.
    torch._dynamo.config.error_on_nested_fx_trace = False
