"""Fitting the live network: its samples, loss, optimizer and validation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segrec.encoders.live_batches import LiveBatch, LiveTable, Samples
from segrec.encoders.live_config import LiveConfig
from segrec.encoders.live_network import LiveOutput
from segrec.fitting import ArrayStream, FitConfig, LossParts
from segrec.fitting.one_cycle import OneCycleAdamW
from segrec.losses.alignment import alignment_loss
from segrec.losses.pairwise import pairwise_loss
from segrec.losses.pointwise import rate_loss
from segrec.metrics.kendall import kendall_tau
from segrec.records import DataError
from segrec.segments.rooms import RateTarget, Rooms

FloatArray = npt.NDArray[np.float32]

SCORING_SEGMENTS = 8192
"Segments that are scored at once, about: runs stay whole."


def samples_of(rooms: Rooms, target: RateTarget, config: LiveConfig) -> Samples:
    """What training runs over: samples with at least one known rate.

    :raises DataError: none is left.
    """
    if config.samples == "windows":
        samples = Samples.windows(rooms.run_offsets, config.window)
    else:
        samples = Samples.pieces(rooms.run_offsets, config.window * config.piece)
    samples = with_known_rate(samples, target)
    if config.samples == "windows" and config.min_viewers is not None and "viewers" in rooms.frame.columns:
        viewers = rooms.frame["viewers"].fill_null(0).to_numpy()
        samples = samples.kept(viewers[samples.last] >= config.min_viewers)
    if len(samples) == 0:
        raise DataError(
            rooms.dataset.path, f"has no train sample with a known {config.target}",
            fix="lower min_viewers, or choose another target",
        )  # fmt: skip
    return samples


def with_known_rate(samples: Samples, target: RateTarget) -> Samples:
    """Those with at least one segment whose rate is known."""
    known = np.concatenate([np.zeros(1, np.int64), np.cumsum(target.known)])
    return samples.kept(known[samples.last + 1] > known[samples.starts])


def is_weighted(target: RateTarget, config: LiveConfig) -> bool:
    """Whether the pointwise loss counts trials: asked for, and known."""
    return config.weighting == "binomial" and not bool(np.isnan(target.trials[target.known]).all())


def training_stream(
    table: LiveTable, samples: Samples, config: FitConfig, device: torch.device, *, banded: bool = True
) -> ArrayStream[LiveBatch]:
    """Shuffled batches of `config.batch_size` samples; `banded` as in `LiveTable.batch`."""
    return ArrayStream(
        len(samples),
        lambda rows: table.batch(Samples(samples.starts[rows], samples.lengths[rows]), banded=banded).to(device),
        batch_size=config.batch_size,
        seed=config.seed,
    )


def batch_loss(module: nn.Module, batch: LiveBatch, config: LiveConfig, *, weighted: bool) -> LossParts:
    """w_point L_point + w_align L_align + w_pair L_pair (ContentCTR, Eq. 14), and each of them."""
    with torch.autocast(batch.valid_Bn.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        output: LiveOutput = module(batch)

    def point_loss(logits: Tensor, rates: Tensor, trials: Tensor) -> Tensor:
        return rate_loss(
            logits, rates, batch.valid_Bn, trials if weighted else None,
            weighting="binomial" if weighted else "none", overdispersion=config.overdispersion,
        )  # fmt: skip

    point = point_loss(output.logits_Bn, batch.values_Bn, batch.trials_Bn)
    parts, total = {"point": point}, config.weight_point * point
    if config.pair != "none" and config.weight_pair > 0:
        scores_Bn = output.logits_Bn.sigmoid()
        parts["pair"] = pairwise_loss(scores_Bn, batch.values_Bn, batch.valid_Bn, kind=config.pair, sigma=config.sigma)
        total = total + config.weight_pair * parts["pair"]
    if config.aligned and len(output.tokens) == 2:
        parts["align"] = _alignment(output, batch, config)
        total = total + config.weight_align * parts["align"]
    if output.side_BnS is not None:
        sides = (output.side_BnS, batch.side_values_BnS, batch.side_trials_BnS)
        losses = [point_loss(*(part[..., side] for part in sides)) for side in range(output.side_BnS.shape[2])]
        parts["side"] = torch.stack(losses).mean()
        total = total + config.weight_side * parts["side"]
    return LossParts(total, parts)


def _alignment(output: LiveOutput, batch: LiveBatch, config: LiveConfig) -> Tensor:
    """Text against frames inside stretches of `window` segments, where a segment has both."""
    both_Bn = batch.valid_Bn
    for present_M in batch.segments.present:
        both_Bn = both_Bn & present_M[batch.samples_Bn]
    places = batch.samples_Bn.shape[1]
    cut = min(config.window, places)
    filled = -(-places // cut) * cut - places
    rows_Bn, both_Bn = (F.pad(part, (0, filled)).view(-1, cut) for part in (batch.samples_Bn, both_Bn))
    return alignment_loss(
        output.tokens["text"][rows_Bn], output.tokens["visual"][rows_Bn], both_Bn, mode=config.align,
        negatives=config.negatives, temperature=config.temperature, omega=config.omega, gamma=config.gamma,
    )  # fmt: skip


def dense_optimizer(module: nn.Module, config: LiveConfig, steps: int) -> torch.optim.Optimizer:
    """AdamW (without decay: Adam) over everything but the streamers' table, which has its own inside."""
    dense = [parameter for name, parameter in module.named_parameters() if "embedding_bags" not in name]
    if config.schedule == "one_cycle":
        return OneCycleAdamW(dense, config.learning_rate, weight_decay=config.weight_decay, steps=steps)
    return torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.weight_decay)


@torch.no_grad()
def predict_table(network: nn.Module, table: LiveTable, device: torch.device) -> FloatArray:
    """(T,) rates: banded causal attention over whole runs; `network` must be in evaluation mode."""
    found = np.empty(len(table.author), np.float32)
    for place, batch in table.runs(SCORING_SEGMENTS):
        output: LiveOutput = network(batch.to(device))
        found[place] = output.logits_Bn.sigmoid()[batch.valid_Bn].float().cpu().numpy()
    return found


def measures(scores: FloatArray, target: RateTarget, rooms: Rooms) -> dict[str, float]:
    """On the segments whose rate is known: NLL (nats a trial, or a segment where trials are unknown), mean tau-b inside
    rooms (where it is defined; 0 when nowhere), mean score over mean rate.
    """
    known = target.known
    score = np.clip(scores[known].astype(np.float64), 1e-7, 1 - 1e-7)
    rate, trials = target.values[known].astype(np.float64), target.trials[known].astype(np.float64)
    weights = np.ones_like(rate) if np.isnan(trials).all() else np.nan_to_num(trials)
    losses = -(rate * np.log(score) + (1 - rate) * np.log1p(-score))
    counted = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
    tau = kendall_tau(score, rate, counted[rooms.offsets])
    return {
        "NLL": float((losses * weights).sum() / max(weights.sum(), 1e-12)),
        "tau_room": float(tau.nanmean().nan_to_num()),
        "calibration_ratio": float(score.mean() / max(rate.mean(), 1e-12)),
    }
