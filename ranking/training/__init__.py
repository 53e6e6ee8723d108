"""A ranker's training: its loss, its modules from config and features, and the whole run."""
