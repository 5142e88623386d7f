"""The letters encoder: how its weights were trained.

    python benchmarks/letters.py train      meta-train it, in runs/letters; goes on with a run that was interrupted
    python benchmarks/letters.py ship       write the best weights of the run into the package
    python benchmarks/letters_figures.py    its figures, into docs/results.md and its card

Trained on 792 characters of 25 of Omniglot's background alphabets and on the training scripts of the glyphs set less
Cyrillic, each drawing as it is and turned by 90, 180 and 270 degrees as classes of their own; the best weights are
those that do best on the 172 characters of the five other background alphabets. The twenty evaluation alphabets are
in no training, nor are the printed Cyrillic letters, which one of them, Old Church Slavonic, resembles. Every drawing
goes through the encoder's own preprocessing, with a pen of another width.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from page import DATA
from torch import Tensor

import innerloop as il
from innerloop.data.augment import Augment
from innerloop.data.cache import cached_pools
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.data.sets.glyphs import glyphs
from innerloop.data.sets.omniglot import omniglot
from innerloop.encoders.drawing import STANDARD, Form, drawing
from innerloop.encoders.letters import SHIPPED

WIDTHS = (48, 64, 128, 256)
#: Chosen by the alphabets that choose the weights: 20-way 1-shot gains 0.6 points by them, and no more by eight views.
TURNS = (-10.0, 0.0, 10.0)
CARD = {
    "what": "A convolutional network of 390,000 parameters for drawings of one sign each: letters, digits, symbols, "
    "sketches of few strokes. 256 features; a class is told by one to five examples.",
    "data": "Meta-trained on handwriting, 792 characters of 25 background alphabets of Omniglot (Lake et al. 2015, "
    "MIT), and on letters of ten scripts drawn from the fonts DejaVu, STIX and Computer Modern; turned by 90, 180 and "
    "270 degrees they are classes of their own. Chosen by 172 characters of five further background alphabets.",
    "license": "Apache-2.0",
    "limits": "One sign a picture, on a plain ground that fills the picture's frame. Size, place, color and the width "
    "of the pen are taken away and tell nothing apart: a dot and a disc are the same. No words, no photographs; filled "
    "shapes and hatching were never seen.",
}


def prepared(x: Tensor, form: Form, spread: float = 0.0, seed: int = 0) -> Tensor:
    """Drawings ``[N, 1, H, W]`` brought to one form, uint8; ``spread``: of the pen's width, as a share, log-normal."""
    generator = torch.Generator().manual_seed(seed)
    pens = form.pen * (spread * torch.randn(len(x), generator=generator).clamp(-2, 2)).exp()
    return torch.stack(
        [
            (255 * drawing(one, form._replace(pen=float(pen)))).round().to(torch.uint8)
            for one, pen in zip(x, pens, strict=True)
        ]
    )


def pools() -> Pools:
    """What it is trained on and chosen by, prepared; kept in the cache."""

    def build() -> Pools:
        drawn = omniglot(DATA / "omniglot", split="background", size=105, rotations=False)
        printed = glyphs().train
        printed = printed.only([name for name in printed.names if not name.startswith("Cyrillic/")])
        train = [prepared(pool.x, STANDARD, 0.25, seed) for seed, pool in enumerate((drawn.train, printed))]
        names = drawn.train.names + tuple(f"glyphs/{name}" for name in printed.names)
        sizes = torch.cat((drawn.train.sizes, printed.sizes))
        val, test = (Pool(prepared(pool.x, STANDARD), pool.sizes, pool.names) for pool in (drawn.val, drawn.test))
        return Pools(Pool(torch.cat(train), sizes, names), val, test, "letters")

    return cached_pools("letters", {"version": 1, "form": STANDARD._asdict(), "spread": 0.25}, build)


def learner() -> il.ProtoNet:
    """The network, behind prototypes by cosine."""
    torch.manual_seed(0)
    network = il.nets.conv4((1, STANDARD.side, STANDARD.side), width=WIDTHS)
    return il.ProtoNet(network, distance="cosine", scale=20.0)


def train(out: Path, steps: int) -> None:
    """Meta-train it, or go on."""
    data = pools()
    augment = Augment(shift=2, rotate=12, scale=0.12, shear=10, probability=0.8)
    il.fit(
        learner(),
        il.FewShot(data.train.rotated(), ways=80, shots=1, queries=2, augment=augment),
        validate=il.FewShot(data.val, ways=20, shots=1, queries=5),
        steps=steps,
        tasks_per_step=1,
        lr=2e-3,
        average=0.995,
        how="loop",
        validate_every=400,
        validate_tasks=100,
        out=out,
        resume=(out / "last.safetensors").exists(),
        origin={"data": "omniglot background and glyphs", "command": "python benchmarks/letters.py train"},
    )


def ship(run: Path) -> None:
    """The best weights of a run as the package's own."""
    best = il.bundle.read(run)
    origin = {**best.origin, "parent": il.bundle.digest_of(best.path)}
    steps = [{"step": "drawing", **STANDARD._asdict()}, {"step": "turns", "degrees": list(TURNS)}]
    il.save(SHIPPED, best.learner, facts=best.facts, preprocessing=steps, origin=origin, card=CARD, replace=True)
    weights = next(SHIPPED.glob("*.safetensors"))
    print(f"wrote {SHIPPED} ({weights.stat().st_size / 1e6:.2f} MB)")


def main() -> None:
    """What the command says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("train", "ship"):
        part = verbs.add_parser(verb)
        part.add_argument("--run", type=Path, default=Path("runs/letters"))
        if verb == "train":
            part.add_argument("--steps", type=int, default=2800)
    given = parser.parse_args()
    if given.verb == "train":
        train(given.run, given.steps)
    else:
        ship(given.run)


if __name__ == "__main__":
    main()
