"""What everything stands on: tasks, likelihoods, learners, and the engine that lifts them over batches of tasks."""
