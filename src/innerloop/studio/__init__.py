"""A page on the service: teach classes by examples, ask, and see why."""
