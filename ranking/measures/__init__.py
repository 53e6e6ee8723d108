"""What an evaluation compares and measures: outcomes, predictions from runs and files, placebos."""
