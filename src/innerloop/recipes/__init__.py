"""Recipes: everything that makes a run, as plain values that a file can hold and the command line can override."""

from innerloop.recipes.recipe import Recipe, defaults, learner_class, learner_names, load, load_run, start_from

__all__ = ["Recipe", "defaults", "learner_class", "learner_names", "load", "load_run", "start_from"]
