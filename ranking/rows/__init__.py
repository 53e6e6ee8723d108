"""From the files of a dataset to encoded rows in batches: pieces, lanes, reading ahead, damage."""
