"""A spec fitted on train: vocabularies, edges, scaling, histories; rows to codes and numbers."""
