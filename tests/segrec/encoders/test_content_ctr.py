"""ContentCTR: the contract for both variants."""

from __future__ import annotations

from segrec.testing.live_encoder_contract import LiveEncoderContract

SMALL = ("width=16", "heads=2", "epochs=2", "batch_size=8")


class TestDefaultVariant(LiveEncoderContract):
    name, sets = "content_ctr", SMALL


class TestPaperVariant(LiveEncoderContract):
    name, sets = "content_ctr", ("variant=paper", *SMALL, "epochs=1", "batch_size=64", "learning_rate=0.003")
