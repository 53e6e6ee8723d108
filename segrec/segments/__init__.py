"""Views cut into segments: which rows, what the user saw before, and batches without padding."""
