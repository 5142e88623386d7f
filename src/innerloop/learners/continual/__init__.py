"""Learning from a stream: one fold after the other."""
