"""ranking: TorchRec rankers that use per-segment scores, their evaluation, and the command line."""
