"""Pre-training on all classes, then a new head."""
