"""Figures of the letters encoder: ``python benchmarks/letters_figures.py``, minutes on one core.

Prototypes by cosine on the features of the shipped weights; seed 0, 15 queries a class, the 95 % interval over tasks.
They are put into docs/results.md and into the encoder's card.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import torch
from page import DATA, record
from scipy.stats import t
from sklearn.datasets import load_digits
from torch import Tensor, nn

import innerloop as il
from innerloop.data.pool import Pool
from innerloop.data.sets.omniglot import omniglot
from innerloop.encoders.drawing import drawing
from innerloop.encoders.letters import SHIPPED, Letters

#: What it is measured on, the mean and half the width of the interval, in percent.
Row = tuple[str, float, float]


def pictures() -> tuple[Tensor, Pool]:
    """The evaluation alphabets' drawings as they are, uint8 ``[N, 105, 105]`` black on white, and their classes."""
    pool = omniglot(DATA / "omniglot", split="background", size=105, rotations=False).test
    return 255 - pool.x[:, 0], pool


def features(x: Iterable[Tensor]) -> Tensor:
    """Of pictures, as anyone has them."""
    return torch.from_numpy(Letters().transform(list(x)))


def accuracy(pool: Pool, ways: int, shots: int, tasks: int = 1000) -> tuple[float, float]:
    """Of prototypes by cosine, in percent, with half the width of its interval."""
    head = il.learners.Embedded(nn.Identity(), il.learners.Prototypes(distance="cosine"))
    sampler = il.FewShot(pool, ways=ways, shots=shots, queries=15)
    values = 100 * il.evaluate(head, sampler, tasks=tasks, seed=0, open=False).per_task["accuracy"]
    return mean(values)


def mean(values: np.ndarray) -> tuple[float, float]:
    """The mean and half the width of its 95 % interval."""
    return float(values.mean()), float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def within_alphabets(z: Tensor, pool: Pool, runs: int, seed: int = 0) -> np.ndarray:
    """Percent of errors of each run: 20 characters of an alphabet by one drawer, told by those of another one."""
    generator = torch.Generator().manual_seed(seed)
    alphabets: dict[str, list[int]] = {}
    for place, name in enumerate(pool.names):
        alphabets.setdefault(name.split("/")[0], []).append(place)
    large = [places for places in alphabets.values() if len(places) >= 20]
    unit = nn.functional.normalize(z, dim=1).view(pool.classes, 20, -1)
    errors = []
    for _ in range(runs):
        places = large[int(torch.randint(len(large), (1,), generator=generator))]
        chosen = torch.tensor(places)[torch.randperm(len(places), generator=generator)[:20]]
        one, other = torch.randperm(20, generator=generator)[:2].tolist()
        said = (unit[chosen, other] @ unit[chosen, one].T).argmax(1)
        errors.append(100 * float((said != torch.arange(20)).float().mean()))
    return np.array(errors)


def changed(x: Tensor) -> dict[str, list[Tensor]]:
    """The same drawings as other people might bring them."""
    noise = torch.Generator().manual_seed(0)
    ink = 255 - x.float()
    thick = nn.functional.max_pool2d(ink.unsqueeze(1), 5, 1, 2)[:, 0]
    shade = torch.linspace(230, 170, x.shape[-1]).expand(x.shape[-2:])

    yellow, blue = (torch.tensor(color).view(3, 1, 1) for color in ((255.0, 220.0, 120.0), (40.0, 80.0, 200.0)))

    def resized(side: int) -> Tensor:
        made = nn.functional.interpolate(x.float().unsqueeze(1), (side, side), mode="bilinear", antialias=True)
        return made[:, 0].clamp(0, 255).round().byte()

    def placed(one: Tensor) -> Tensor:
        page = torch.full((300, 300), 255, dtype=torch.uint8)
        page[180:285, 10:115] = one
        return page

    photographed = shade - ink * (130 / 255) + 8 * torch.randn(x.shape, generator=noise)
    return {
        "light on dark": list(255 - x),
        "blue on yellow": list((yellow + (blue - yellow) * (ink / 255).unsqueeze(1)).round().byte()),
        "strokes 4 pixels thicker": list((255 - thick).byte()),
        "in the corner of a page of 300 pixels": [placed(one) for one in x],
        "35 pixels": list(resized(35)),
        "315 pixels": list(resized(315)),
        "shaded paper and noise": list(photographed.clamp(0, 255).round().byte()),
    }


def sets(z: Tensor, pool: Pool) -> list[Row]:
    """Accuracy on new alphabets and, far from what it learned from, on coarse digits."""
    pool = Pool(z, pool.sizes, pool.names)
    rows = [
        (f"Omniglot's 20 evaluation alphabets, {ways}-way {shots}-shot", *accuracy(pool, ways, shots))
        for ways, shots in ((5, 1), (5, 5), (20, 1), (20, 5))
    ]
    once, often = within_alphabets(z, pool, 20), within_alphabets(z, pool, 1000, seed=1)
    rows.append(("20-way 1-shot within an alphabet, two drawers, 400 trials: errors", *mean(once)))
    rows.append(("the same, 20,000 trials: errors", *mean(often)))
    digits = load_digits()
    far = Pool.of(features(torch.from_numpy(digits.images * (255 / 16)).round().byte()), digits.target)
    rows += [(f"scikit-learn's digits, 8x8 pixels, 10-way {k}-shot", *accuracy(far, 10, k)) for k in (1, 5)]
    return rows


def robustness(x: Tensor, z: Tensor, pool: Pool) -> list[Row]:
    """20-way 1-shot of a sixth of the characters, where only the queries are drawn in another way."""
    some = torch.arange(0, pool.classes, 6)
    index = (20 * some.unsqueeze(1) + torch.arange(20)).flatten()
    kept = Pool(z[index], pool.sizes[some], tuple(pool.names[i] for i in some))
    rows = [("as they are", *crossed(kept, kept.x))]
    rows += [(name, *crossed(kept, features(given))) for name, given in changed(x[index]).items()]
    return rows


def crossed(pool: Pool, queries: Tensor, tasks: int = 300) -> tuple[float, float]:
    """Accuracy where the queries' features are those of other pictures of the same drawings; the same tasks always."""
    head = il.learners.Prototypes(distance="cosine")
    drawn = il.FewShot(pool, ways=20, shots=1, queries=15).episodes(torch.Generator().manual_seed(0), tasks)
    values = []
    for shown, asked in zip(drawn.support, drawn.query, strict=True):
        state = head.adapt(il.Examples(pool.x[shown], torch.eye(20)))
        said = head.predict(state, queries[asked])[0].argmax(1)
        values.append(100 * float((said == torch.arange(len(asked)) % 20).float().mean()))
    return mean(np.array(values))


def timed(x: Tensor) -> tuple[float, float]:
    """Milliseconds of the processor a picture, in all and before the network: medians of ten batches in no cache."""
    encoder, whole, before = Letters(), [], []
    for turn in range(10):
        batch = [one.roll(turn + 1, 0) for one in x[32 * turn : 32 * turn + 32]]
        start = time.process_time()
        encoder.transform(batch)
        middle = time.process_time()
        for one in batch:
            drawing(one.expand(3, -1, -1))
        whole.append(middle - start)
        before.append(time.process_time() - middle)
    return tuple(1e3 * float(np.median(seconds)) / 32 for seconds in (whole, before))  # type: ignore[return-value]


def main() -> None:
    """All figures, into the page and the card."""
    x, pool = pictures()
    z = features(x)
    first, second, (whole, before) = sets(z, pool), robustness(x, z, pool), timed(x)
    text = "\n".join(
        [
            "| data and task | percent |",
            "|---|---|",
            *(f"| {name} | {value:.2f} ± {half:.2f} |" for name, value, half in first),
            "",
            "| 20-way 1-shot of 110 characters, 300 tasks, queries | percent |",
            "|---|---|",
            *(f"| {name} | {value:.2f} ± {half:.2f} |" for name, value, half in second),
            "",
            f"A picture of 105x105 pixels takes {whole:.1f} ms of one thread, {before:.1f} of them to bring it to "
            f"its form.",
        ]
    )
    record("letters", text)
    print(text)
    card = SHIPPED.with_suffix(".toml")
    kept = card.read_text().split("\n[[figures]]")[0].rstrip()
    rows = [f'\n[[figures]]\non = "{name}"\nvalue = {value:.2f}\ninterval = {half:.2f}' for name, value, half in first]
    card.write_text("\n".join([kept, *rows]) + "\n")


if __name__ == "__main__":
    main()
