"""The one loop that fits encoders and rankers, its checkpoints, and streams with a resumable cursor."""

from segrec.fitting.averaging import global_mean
from segrec.fitting.checkpoints import Checkpoints
from segrec.fitting.config import FitConfig
from segrec.fitting.loop import FitResult, Fittable, fit
from segrec.fitting.loss_parts import LossParts
from segrec.fitting.progress import Progress, Validation
from segrec.fitting.stream import ArrayStream, Stream

__all__ = [
    "ArrayStream", "Checkpoints", "FitConfig", "FitResult", "Fittable", "LossParts", "Progress", "Stream", "Validation",
    "fit", "global_mean",
]  # fmt: skip
