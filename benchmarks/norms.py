"""Which normalization policy serves MAML best? 5-way tasks under each policy, at equal steps, on Omniglot.

python benchmarks/norms.py --steps 900      about ten minutes on two cores
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from page import DATA, run

#: Few ways and the whole network at each inner step, so that the statistics of few examples tell.
SETTINGS = (
    "--ways 5 --queries 5 --inner-lr 0.4 --set net.width=64 --set augment.probability=0 --set options.body_from=0 "
    "--set options.test_steps=1 --tasks-per-step 2 --lr 1e-3 --set training.average=0.99"
)


def main() -> None:
    """Train and evaluate under each policy, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--tasks", type=int, default=200)
    arguments = parser.parse_args()
    print("| norm | transductive | 5w1s | 5w5s |\n|---|---|---|---|")
    for norm in ("support", "group", "none", "batch"):
        with tempfile.TemporaryDirectory() as place:
            folder = str(Path(place) / "run")
            data = ["--data", "omniglot", "--root", str(DATA / "omniglot")]
            words = ["--norm", norm, "--steps", str(arguments.steps), "--quiet", "--out", folder]
            run(["train", "maml", *data, *SETTINGS.split(), *words])
            cells = []
            for shots in ("1", "5"):
                words = ["--ways", "5", "--shots", shots, "--queries", "15", "--tasks", str(arguments.tasks), "--json"]
                report = json.loads(run(["evaluate", folder, *words]))
                cells.append(f"{100 * report['accuracy']:.2f} ± {100 * report['half_width']:.2f}")
            print(f"| {norm} | {'yes' if report['transductive'] else 'no'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
