"""Pictures unlike ImageNet's: rendered hands on a plain ground, whose fingers make the class.

    python benchmarks/few/hands.py             the table of docs/results.md

Shape alone decides: skin, light, ground, place, turn, proportions and bends of the fingers are drawn at random. A class
is which of the five fingers are stretched out. The encoder's mixes were chosen on ten other gestures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from innerloop.encoders.photographs import Photographs, network

sys.path.insert(0, str(Path(__file__).resolve().parent))
from groceries import OURS, ourselves
from protocol import BASELINES, Cell, Contestant, run, table, write

#: Which fingers are stretched out, as bits from the thumb to the little finger.
GESTURES = (4, 3, 10, 16, 17, 28, 15, 24, 12, 26)
EACH, SIDE = 20, 200

#: Of each finger: where it begins, its length, half its width, and its angle, with a palm of radius .4 around 0.
_BASE = np.array([[-0.36, 0.12], [-0.24, -0.26], [-0.07, -0.32], [0.10, -0.29], [0.26, -0.2]])
_LENGTH = np.array([0.40, 0.50, 0.56, 0.52, 0.40])
_WIDTH = np.array([0.085, 0.075, 0.078, 0.072, 0.06])
_ANGLE = np.radians([-58, -12, -2, 8, 20])
_SKINS = ((224, 172, 145), (198, 134, 100), (141, 85, 60), (240, 200, 180), (90, 58, 44))


def capsule(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, first: float, last: float) -> np.ndarray:
    """The height over the ground of a rod from a to b, whose radius goes from ``first`` to ``last``."""
    along = np.clip(((x - a[0]) * (b[0] - a[0]) + (y - a[1]) * (b[1] - a[1])) / ((b - a) @ (b - a)), 0, 1)
    away = np.hypot(x - a[0] - along * (b[0] - a[0]), y - a[1] - along * (b[1] - a[1]))
    radius = first + (last - first) * along
    return np.sqrt(np.clip(1 - (away / radius) ** 2, 0, None)) * radius


def heights(gesture: int, g: np.random.Generator) -> np.ndarray:
    """A hand in a random pose, ``[SIDE, SIDE]``."""
    down, right = np.mgrid[0:SIDE, 0:SIDE] / SIDE * 2.6 - 1.3
    turn, size, shift = np.radians(g.normal(0, 14)), g.uniform(0.95, 1.35), g.normal(0, 0.12, 2)
    x, y = (right - shift[0]) / size, (down - shift[1] - 0.1) / size
    x, y = np.cos(turn) * x + np.sin(turn) * y, (np.cos(turn) * y - np.sin(turn) * x) * g.uniform(0.92, 1.1)
    hand = np.sqrt(np.clip(1 - (x / 0.36) ** 2 - (y / 0.4) ** 2, 0, None)) * 0.16
    arm = np.array([g.normal(0, 0.03), 0.3]), np.array([g.normal(0, 0.1), 1.6])
    hand = np.maximum(hand, capsule(x, y, *arm, 0.2 + g.normal(0, 0.02), 0.24))
    lengths, widths, spread = _LENGTH * g.uniform(0.88, 1.12, 5), _WIDTH * g.uniform(0.9, 1.12), g.uniform(0.5, 1.35)
    for finger in range(5):
        base, width = _BASE[finger] + g.normal(0, 0.015, 2), widths[finger]
        if gesture >> finger & 1:
            angle = _ANGLE[finger] * (spread if finger else 1) + np.radians(g.normal(0, 6))
            bend, half = angle + np.radians(g.normal(0, 7)), lengths[finger] * g.uniform(0.88, 1.05) / 2
            middle = base + half * np.array([np.sin(angle), -np.cos(angle)])
            tip = middle + half * np.array([np.sin(bend), -np.cos(bend)])
            rod = np.maximum(
                capsule(x, y, base, middle, 1.1 * width, width), capsule(x, y, middle, tip, width, 0.85 * width)
            )
            lift = 0.02
        elif finger == 0:
            rod = capsule(x, y, base, base + np.array([0.34, -0.12]) + g.normal(0, 0.05, 2), width, width)
            lift = 0.12
        else:
            tip = base + np.array([-0.02, 0.17]) + g.normal(0, (0.02, 0.03))
            rod = capsule(x, y, base - np.array([0, 0.02]), tip, 1.08 * width, width)
            lift = 0.1
        hand = np.maximum(hand, np.where(rod > 0, rod + lift, 0))
    return hand


def picture(gesture: int, g: np.random.Generator) -> Image.Image:
    """A photograph of it, 100 pixels wide."""
    hand = heights(gesture, g)
    slope_y, slope_x = np.gradient(gaussian_filter(hand, SIDE / 160) * SIDE / 2.6)
    normal = np.stack((-slope_x, -slope_y, np.ones_like(hand)), -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array([g.normal(0, 0.5), g.normal(-0.3, 0.5), 1.0])
    shade = np.clip(normal @ (light / np.linalg.norm(light)), 0, 1) * g.uniform(0.5, 0.8) + g.uniform(0.3, 0.5)
    down, right = np.mgrid[0:SIDE, 0:SIDE] / SIDE * 2.6 - 1.3
    falloff = 1 + right * g.normal(0, 0.08) + down * g.normal(0, 0.08)
    ground = g.uniform(110, 235) * g.uniform(0.95, 1.05, 3) * falloff[..., None]
    there = (hand > 0).astype(float)
    moved = np.roll(there, (g.integers(0, 8), g.integers(-6, 7)), (0, 1))
    ground *= 1 - gaussian_filter(moved, SIDE / 30)[..., None] * g.uniform(0, 0.35)
    skin = np.array(_SKINS[g.integers(len(_SKINS))]) * g.uniform(0.85, 1.1, 3) * shade[..., None]
    skin *= 1 + 0.25 * gaussian_filter(g.normal(0, 1, hand.shape), 3)[..., None]
    edge = gaussian_filter(there, 0.8)[..., None]
    pixels = ground * (1 - edge) + skin * edge + g.normal(0, g.uniform(1, 5), (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).resize((100, 100), Image.Resampling.LANCZOS)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--tasks", type=int, default=200)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    asked = ask.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(asked.seed)
    given = np.empty(len(GESTURES) * EACH, dtype=object)
    given[:] = [picture(gesture, generator) for gesture in GESTURES for _ in range(EACH)]
    classes = np.repeat(np.arange(len(GESTURES)), EACH)
    encoder, net = Photographs(), network()
    items = [torch.from_numpy(np.array(one.resize((256, 256), Image.Resampling.LANCZOS))) for one in given]
    with torch.inference_mode():
        x = (torch.stack(items).permute(0, 3, 1, 2)[..., 16:240, 16:240].float() - 127) / 128
        plain = torch.cat([net(part)["head"].mean((2, 3)) for part in x.split(16)]).numpy()
    encoder.transform(list(given))
    contestants: dict[str, tuple[np.ndarray, Contestant]] = {OURS: (given, ourselves(encoder))}
    contestants |= {f"{name}, plain": (plain, one) for name, one in BASELINES.items()}
    cells = {
        "5-way 1-shot": Cell(5, 1, asked.tasks),
        "5-way 5-shot": Cell(5, 5, asked.tasks),
        "10-way 5-shot": Cell(0, 5, max(2, asked.tasks // 10)),
    }
    text = table({title: run(classes, cell, asked.seed, contestants) for title, cell in cells.items()}, OURS)
    print(text)
    if asked.write:
        write("few-hands", text)


if __name__ == "__main__":
    main()
