"""Learning by comparison in a feature space."""
