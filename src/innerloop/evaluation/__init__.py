"""Meta-testing: metrics per task, intervals, paired comparisons, reports."""
