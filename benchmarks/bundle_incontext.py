"""Make weights for the in-context estimators of a run: ``python benchmarks/bundle_incontext.py RUN FILE.safetensors``.

RUN is a folder of ``innerloop train incontext``. The file holds the weights, the options that build the learner, and
the recipe; the recipe is also written beside it as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from innerloop.core import checkpoint
from innerloop.recipes import load_run


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    recipe, facts = load_run(given.run)
    tensors, _ = checkpoint.load(given.run / "best.safetensors")
    # What belongs to one machine is left out: folders by their names, no platform.
    trained = {**facts["recipe"], "root": None, "init": recipe.init and Path(recipe.init).name}
    versions = {name: facts["versions"][name] for name in ("innerloop", "python", "torch")}
    facts = {"options": recipe.options, "recipe": trained, "versions": versions}
    checkpoint.save(given.file, tensors, facts)
    given.file.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
    print(f"wrote {given.file} ({given.file.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
