"""Contracts that tests of encoders inherit, ours and other people's; needs pytest (extra `test`)."""
