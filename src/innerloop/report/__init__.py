"""Pages and plots that show a run."""
