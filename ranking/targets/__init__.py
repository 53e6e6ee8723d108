"""What rankers learn: labels, and what train says of their rates."""
