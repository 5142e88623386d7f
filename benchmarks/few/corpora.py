"""Two corpora of short English sentences, each of one intent, as features of the library's encoder.

`banking77`: queries to a bank, 77 intents, train and test; CC BY 4.0, Casanueva et al. 2020. `clinc150`: queries to an
assistant, 150 intents in 10 domains, train, validation and test, and sentences out of its scope; CC BY 3.0, Larson et
al. 2019.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from innerloop.encoders import Sentences

ROOT = Path(os.environ.get("INNERLOOP_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
#: What clinc150 calls its sentences of no intent.
OUTSIDE = "oos"


class Corpus(NamedTuple):
    """Sentences as features ``[N, H]``, the intent and the part of each."""

    x: np.ndarray
    intents: np.ndarray
    parts: np.ndarray
    """``"train"``, ``"test"``, ..."""
    groups: dict[str, str]
    """Of intents: domains, where they are known."""

    def rows(self, part: str) -> np.ndarray:
        """The places of the sentences of a part that have an intent."""
        return np.flatnonzero((self.parts == part) & (self.intents != OUTSIDE))


def read(name: str, cache: Path | None = None) -> Corpus:
    """A corpus by name; its features are kept in the folder ``cache``, where one is given."""
    rows, groups = (_banking if name == "banking77" else _clinc)(ROOT / name)
    sentences, intents, parts = (list(column) for column in zip(*rows, strict=True))
    x = Sentences(cache=cache).transform(sentences)
    return Corpus(x, np.array(intents), np.array(parts), groups)


def part_of(name: str, part: str) -> tuple[list[str], list[str]]:
    """The sentences of a part of a corpus that have an intent, and their intents."""
    rows, _ = (_banking if name == "banking77" else _clinc)(ROOT / name)
    kept = [(text, intent) for text, intent, own in rows if own == part and intent != OUTSIDE]
    sentences, intents = zip(*kept, strict=True)
    return list(sentences), list(intents)


def _banking(folder: Path) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    rows = []
    for part in ("train", "test"):
        with (folder / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            rows += [(row["text"], row["category"], part) for row in csv.DictReader(file)]
    return rows, {}


def _clinc(folder: Path) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    found = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
    domains = json.loads((folder / "domains.json").read_text(encoding="utf-8"))
    rows = [(text, intent, part) for part, pairs in found.items() for text, intent in pairs]
    return rows, {intent: domain for domain, intents in domains.items() for intent in intents}


def grouped(corpus: Corpus) -> dict[str, np.ndarray]:
    """Groups of intents that are about one matter, by which one is held out to choose by.

    clinc150's domains, two by two; elsewhere four clusters of the intents' means.
    """
    names = np.unique(corpus.intents[corpus.intents != OUTSIDE])
    if corpus.groups:
        domains = sorted(set(corpus.groups.values()))
        own = np.array([domains.index(corpus.groups[name]) // 2 for name in names])
    else:
        from sklearn.cluster import AgglomerativeClustering

        own = AgglomerativeClustering(4, linkage="ward").fit_predict(
            np.stack([corpus.x[corpus.intents == name].mean(0) for name in names])
        )
    return {f"group {number}": names[own == number] for number in np.unique(own)}


def pool_of(*corpora: Corpus, intents: np.ndarray | None = None) -> tuple[torch.Tensor, list[str]]:
    """Features and intents of all their sentences, to train on; of some intents alone where these are given."""
    x, labels = [], []
    for number, corpus in enumerate(corpora):
        kept = corpus.intents != OUTSIDE if intents is None else np.isin(corpus.intents, intents)
        x.append(torch.from_numpy(corpus.x[kept]))
        labels += [f"{number} {intent}" for intent in corpus.intents[kept]]
    return torch.cat(x), labels
