"""Make the weights of the in-context estimators of a run: ``python benchmarks/bundle_incontext.py RUN BUNDLE``.

RUN is a folder of ``innerloop train incontext``. The bundle holds its best weights and how they were trained; one that
is there gives way, and its card goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import innerloop as il


def main() -> None:
    """Write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    given = parser.parse_args()
    best, run = il.bundle.read(given.run), json.loads((given.run / "recipe.json").read_text())
    card = il.bundle.read(given.bundle).card if given.bundle.exists() else {}
    # What belongs to one machine is left out: folders by their names, no platform.
    init = run["recipe"].get("init")
    recipe = {**run["recipe"], "root": None, "init": init and Path(init).name}
    origin = {"data": recipe["data"], "seed": recipe["seed"], "recipe": recipe, "trained with": best.versions}
    origin["parent"] = il.bundle.digest_of(best.path)
    path = il.save(given.bundle, best.learner, facts=best.facts, origin=origin, card=card, replace=True)
    print(f"wrote {path} ({sum(file.stat().st_size for file in path.iterdir()) / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
