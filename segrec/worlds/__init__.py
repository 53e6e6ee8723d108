"""Made worlds with known truth, written in the public formats: a model can be checked against what logs hide."""
