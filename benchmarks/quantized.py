"""What 8 bits cost an encoder that was exported: right answers, log loss and time beside the whole one, paired.

Run it with ``python benchmarks/quantized.py --data sentences`` (banking77) or ``photographs`` (groceries), the folder
of the data sets in ``INNERLOOP_DATA``. One task of 15 classes of 5 examples, its queries from the test part.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import innerloop as il
from innerloop.data import read_own
from innerloop.evaluation.classified import Classified
from innerloop.export import write

WAYS, SHOTS = 15, 5


def drawn(own: Any, classes: list[Any], count: int, random: np.random.Generator) -> Any:
    """So many examples of each class."""
    places = [random.permutation(np.flatnonzero(own.y == label))[:count] for label in classes]
    return own.take(np.concatenate(places))


def inputs_of(few: Any, X: Any) -> list[dict[str, np.ndarray]]:
    """Each query as the graph takes it."""
    if few.encoder_ == "sentences":
        from innerloop.encoders.sentences import Sentences

        return [{"tokens": Sentences().tokens(text).numpy()[None]} for text in X]
    side = few.transformer_.network().inputs["pixels"].shape[-1]
    read = [il.data.read_image(path, size=side, channels=3, fit="crop") for path in X]
    return [{"pixels": (pixels.float() / 255).numpy()[None]} for pixels in read]


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=("sentences", "photographs"), default="sentences")
    parser.add_argument("--queries", type=int, default=10, help="a class")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    root, random = Path(os.environ["INNERLOOP_DATA"]), np.random.default_rng(asked.seed)
    if asked.data == "sentences":
        train, test = (read_own(root / "banking77" / f"{part}.csv") for part in ("train", "test"))
    else:
        own = read_own(root / "groceries")
        mixed = random.permutation(len(own))
        train, test = own.take(mixed[::2]), own.take(mixed[1::2])
    enough = [label for label in train.classes if train.counts[label] >= SHOTS and test.counts.get(label, 0) > 0]
    classes = sorted(random.permutation(np.array(enough))[:WAYS].tolist())
    support, queries = drawn(train, classes, SHOTS, random), drawn(test, classes, asked.queries, random)
    few = il.FewShotClassifier().fit(support.X, support.y)
    given = inputs_of(few, queries.X)
    truth = np.searchsorted(few.classes_, queries.y)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    found: dict[str, Any] = {"data": asked.data, "queries": len(given), "seed": asked.seed, "head": few.head_}
    right = {}
    with tempfile.TemporaryDirectory() as place:
        for name in ("whole", "quantized"):
            made = write(few, Path(place) / f"{name}.onnx", quantize=name == "quantized")
            session = onnxruntime.InferenceSession(str(made.path), options)
            times, rows = [], []
            for one in given:
                start = time.process_time()
                rows.append(session.run(None, one)[0])
                times.append(time.process_time() - start)
            scores = Classified(np.concatenate(rows).astype(np.float64), truth)
            right[name] = np.concatenate(rows).argmax(1) == truth
            found[name] = {
                "megabytes": round(made.bytes / 1e6, 2),
                "accuracy": scores.accuracy,
                "interval": scores.interval,
                "log_loss": scores.log_loss,
                "milliseconds": round(1e3 * float(np.median(times)), 2),
            }
    paired = il.paired(right["quantized"].astype(float), right["whole"].astype(float))
    found["difference"] = {"accuracy": paired.mean, "interval": paired.interval}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
