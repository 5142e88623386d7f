"""Meta-training: the outer loop, its checkpoints and what a person sees of it."""
