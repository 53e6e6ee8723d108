"""Content to vectors: frames, speech and comments through frozen transformers, one vector a segment."""
