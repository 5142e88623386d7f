"""Learn to tell a few kinds of pictures apart from a handful of each, and say what is not known.

    python examples/ten_pictures.py photos            # a folder with a folder for each class
    python examples/ten_pictures.py                   # pieces of two photographs that come with scikit-learn

A few pictures of each class are learned from, and all others are asked about.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import innerloop as il


def pieces(folder: Path) -> None:
    """Twelve pieces of each of two photographs, as a folder for each class."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            top, left = 130 * (number // 4), 150 * (number % 4)
            Image.fromarray(photograph[top : top + 130, left : left + 150]).save(folder / name / f"{number}.png")


def main() -> None:
    """Learn, ask, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="holds a folder of pictures for each class")
    parser.add_argument("--shots", type=int, default=5, help="pictures of each class that are learned from")
    parser.add_argument("--out", type=Path, help="where the classifier is kept")
    asked = parser.parse_args()
    with TemporaryDirectory() as made:
        if asked.folder is None:
            pieces(Path(made))
        own = il.data.read_own(asked.folder or made).labeled()
        first = np.zeros(len(own), dtype=bool)
        for label in own.classes:
            first[np.flatnonzero(own.y == label)[: asked.shots]] = True
        few = il.FewShotClassifier().fit(own.take(first).X, own.y[first])
        low, high = few.accuracy_interval_
        print(f"{first.sum()} pictures of {len(own.classes)} classes, seen by the encoder {few.encoder_!r}")
        print(f"head {few.head_!r}; accuracy to expect {few.accuracy_:.1%}, between {low:.1%} and {high:.1%}")
        if not first.all():
            rest = own.take(~first)
            answers = few.predict(rest.X, unknown="reject", error=max(0.1, 1.01 / (first.sum() + 1)))
            said = np.array([answer is not None for answer in answers])
            right = np.array([answer == label for answer, label in zip(answers, rest.y, strict=True)])
            print(f"of {len(rest)} others {right.sum()} right, {(said & ~right).sum()} wrong, {(~said).sum()} unknown")
        if asked.out is not None:
            print(f"kept in {few.save(asked.out)}: innerloop predict {asked.out} PICTURES")


if __name__ == "__main__":
    main()
