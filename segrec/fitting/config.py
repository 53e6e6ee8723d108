"""Settings that every fitted model has; encoders' and rankers' configs inherit them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from segrec.records import Config, ConfigError

if TYPE_CHECKING:
    import torch


class FitConfig(Config):
    """What `fit` needs to know."""

    epochs: PositiveInt = 10
    "Passes over the training rows at most; `patience` may stop earlier."
    batch_size: PositiveInt = 4096
    "Rows of one step, over all processes together."
    learning_rate: PositiveFloat = 1e-3
    "Of the dense optimizer; tables have their own in `TableSpec`."
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: Literal["cpu", "cuda", "auto"] = "auto"
    "auto: CUDA where there is one."
    patience: PositiveInt | None = 2
    "Stops after so many validations without a better one; null never stops early."
    validations_per_epoch: PositiveInt = 1
    checkpoint_every: PositiveInt | None = None
    "Steps between checkpoints; there is one at each validation anyway."
    keep_last: PositiveInt = 2
    "Newest checkpoints kept, beside the best one."
    async_checkpoints: bool = True
    "Checkpoints are written from a copy of the state while the training goes on; without the memory for one, it waits."
    clip_norm: PositiveFloat | None = None
    "Largest gradient norm of the dense part; null does not clip."
    log_every: PositiveInt = 50
    "Steps between log entries: the only moments at which the device is waited for."
    precision: Literal["fp32", "bf16"] = "fp32"
    "bf16: a ranker's dense part is trained under autocast; weights, tables and the loss stay fp32, so does evaluation."
    tf32: bool = False
    "CUDA: matrix products in TF32, 10 bits of mantissa instead of 23."
    compile: bool = False
    "torch.compile of a ranker's dense part; minutes to start with, on a CPU a C++ compiler is needed."
    profile_steps: PositiveInt | None = None
    "Measures where the time of so many steps goes, in profile.json; null does not."

    def torch_device(self) -> torch.device:
        """The device that `device` stands for on this machine; under torchrun a CUDA device for each process.

        :raises ConfigError: "cuda" without a CUDA device.
        """
        import torch
        from torch.distributed import get_node_local_rank, is_torchelastic_launched

        if self.device == "cpu" or (self.device == "auto" and not torch.cuda.is_available()):
            return torch.device("cpu")
        if not torch.cuda.is_available():
            raise ConfigError("device 'cuda' was asked for but torch sees no CUDA device; use device=cpu or auto")
        if not is_torchelastic_launched():
            return torch.device("cuda")
        number, devices = get_node_local_rank(), torch.cuda.device_count()
        if number >= devices:
            raise ConfigError(
                f"process {number} of this machine has no CUDA device of its own (found: {devices}); start as many "
                "processes as devices, or use device=cpu"
            )
        return torch.device("cuda", number)
