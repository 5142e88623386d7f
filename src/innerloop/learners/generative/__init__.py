"""Learning as inference: a model of how tasks are generated."""
