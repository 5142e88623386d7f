"""Recipes: everything that makes a run, as plain values that a file can hold and the command line can override."""

from innerloop.recipes.defaults import Published, defaults, published
from innerloop.recipes.recipe import Recipe, learner_names
from innerloop.recipes.runs import RecipeWriter, load, load_run, recipe_for, save_run, start_from

__all__ = [
    "Published",
    "Recipe",
    "RecipeWriter",
    "defaults",
    "learner_names",
    "load",
    "load_run",
    "published",
    "recipe_for",
    "save_run",
    "start_from",
]
