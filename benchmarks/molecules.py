"""Learned features, raw fingerprints, or both as the task says: a table of docs/evidence.md.

    python benchmarks/molecules.py              three seeds; what is in runs/results/molecules is not computed again
    python benchmarks/molecules.py --seeds 0    one seed

A ProtoNet is meta-trained on ToxCast without the columns TOX21_* (Tox21's own assays) and without the screens that are
kept for validation (liver cells CLD_, hormones CEETOX_) and for testing. Molecules are halved, by fingerprint or by
Murcko scaffold (RDKit: pip install rdkit; a molecule without rings is its own): it is trained on one half, all other
tasks are drawn from the other. A task has 12 active and 12 inactive molecules, and queries that it does not train on.
Every method scores the same queries.

Chosen on validation: of the strengths 3, 10, 20, 40, 80 and infinite of the prior, all within .006 on the
validation assays (45 of the makers that are trained on, and the two screens), the smallest within .003 of the best.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from page import DATA, RUNS, record
from torch import Tensor

import innerloop as il
from innerloop.core.metric import roc_auc
from innerloop.core.task import Examples, Task
from innerloop.data import Molecules, molecules
from innerloop.evaluation import stats
from innerloop.learners import LogisticRegression, Prototypes, RawOrLearned, Ridge, Tanimoto

FOLDER = RUNS / "molecules"
SHOTS = 12
VALIDATION = ("CLD_", "CEETOX_")
ZEBRAFISH, RECEPTORS, GLOW = ("Tanguay_",), ("OT_", "ACEA_"), ("TOX21_AutoFluor",)
TITLES = {
    "raw": "raw: logistic regression",
    "learned": "learned: ProtoNet",
    "hard": "the better one by pairs left out",
    "equal": "equal weights",
    "weighed": "weighed by pairs left out (`RawOrLearned`)",
}


def unit(key: bytes, seed: int) -> float:
    """A number in 0 to 1 that is the key's own."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, key=str(seed).encode()).digest(), "big") / 2**64


def scaffolds(name: str) -> list[str]:
    """Murcko scaffold of each molecule, computed once."""
    path = FOLDER / f"scaffolds-{name}.json"
    if not path.exists():
        try:
            from rdkit import Chem, RDLogger
            from rdkit.Chem.Scaffolds import MurckoScaffold
        except ImportError:
            raise SystemExit("scaffolds need RDKit: pip install rdkit") from None
        RDLogger.DisableLog("rdApp.*")
        with np.load(DATA / "molecules" / name / f"{name}_ecfp4_2048.npz") as file:
            read = [Chem.MolFromSmiles(str(one)) for one in file["smiles"]]
            rows = [row.tobytes().hex() for row in file["fp_packed"]]
        found = [MurckoScaffold.MurckoScaffoldSmiles(mol=one) if one else "" for one in read]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([scaffold or row for scaffold, row in zip(found, rows, strict=True)]))
    return json.loads(path.read_text())


def halves(name: str, how: str, seed: int, **options: dict[str, list[str]]) -> Molecules:
    """A set whose training tasks draw from one half of the molecules, and all others from the other."""
    every = molecules(DATA, name, disjoint=False, **options)
    keys = [row.tobytes() for row in every.bits.numpy()] if how == "fingerprint" else map(str.encode, scaffolds(name))
    first = torch.tensor([unit(key, seed) < 0.5 for key in keys])
    return replace(every, drawn={"train": first, "val": ~first, "test": ~first})


def screens(how: str, seed: int) -> Molecules:
    """ToxCast: which assays are trained on, validated on and tested."""
    names = molecules(DATA, "toxcast").assays
    known = [n for n in names if not n.startswith(("TOX21_", *VALIDATION, *ZEBRAFISH, *RECEPTORS))]
    held = set(np.random.default_rng(100).permutation(known)[:45])
    splits = {
        "train": [n for n in known if n not in held],
        "val": [n for n in names if n in held or n.startswith(VALIDATION)],
        "test": [n for n in names if n.startswith((*ZEBRAFISH, *RECEPTORS, *GLOW)) or n.endswith("_ch1")],
    }
    return halves("toxcast", how, seed, splits=splits)


def trained(source: Molecules, how: str, seed: int) -> il.ProtoNet:
    """A ProtoNet, kept as a bundle."""
    path = FOLDER / f"protonet-{how}-seed{seed}"
    if not path.exists():
        torch.manual_seed(seed)
        learner = il.ProtoNet(il.nets.mlp(2048, 256, 128, dropout=0.5))
        options = {"optimizer": "AdamW", "lr": 1e-3, "weight_decay": 1e-4, "how": "vmap", "progress": False}
        il.fit(
            learner, source.sampler("train", shots=16, queries=16), steps=400, tasks_per_step=8, seed=seed, **options
        )
        il.save(path, learner)
    return il.load(path)


def drawn(source: Molecules, names: Iterable[str], queries: int, each: int, seed: int) -> list[tuple[Task, int]]:
    """``each`` tasks of every assay that has enough molecules, with its assay, ten together."""
    random, found = np.random.default_rng(seed), []
    for assay in (source.assays.index(name) for name in names):
        labels = source.labels[:, assay]
        rows = [(source.drawn["test"] & (labels == value)).nonzero()[:, 0].numpy() for value in (0, 1)]
        if min(map(len, rows)) < SHOTS + queries:
            continue
        for _ in range(each):
            chosen = torch.from_numpy(np.stack([random.permutation(part)[: SHOTS + queries] for part in rows], 1))
            found.append((chosen[:SHOTS].flatten(), chosen[SHOTS:].flatten(), assay))
    tasks = []
    for start in range(0, len(found), 10):
        support, query, assays = zip(*found[start : start + 10], strict=True)

        def part(rows: tuple[Tensor, ...]) -> Examples:
            index = torch.stack(rows)
            classes = (torch.arange(index.shape[1]) % 2).expand(len(index), -1)
            return Examples(source.bits[index].float(), torch.nn.functional.one_hot(classes, 2).float())

        tasks.append((Task(part(support), part(query)), list(assays)))
    return tasks


@torch.no_grad()
def scores(learner: RawOrLearned, tasks: list) -> dict[str, list[float]]:
    """ROC-AUC of every method on every task, and the task's assay."""
    logistic, (encoder, head) = LogisticRegression(C=1.0, normalize=False), learner.split()
    found: dict[str, list[float]] = {name: [] for name in (*TITLES, "assay", "right raw", "right learned")}

    def one(support: Examples, x: Tensor) -> dict[str, Tensor]:
        def odds(raw: Tensor) -> Tensor:
            return raw[0, :, 1] - raw[0, :, 0]

        inputs = Examples(support.x[:, 128:], support.y)
        margins, told = head.margins(support)
        right = ((margins > 0) * told).sum((1, 2)) / told.sum()
        state = head.adapt(support)
        own = [h.predict(s, part) for h, s, part in zip(head.heads, state.states, head.divided(x), strict=True)]
        equal = torch.tensor([0.5, 0.25, 0.25]) / head.typical
        return {
            "raw": odds(logistic.predict(logistic.adapt(inputs), x[:, 128:])),
            "learned": odds(own[0]),
            "hard": odds(torch.where(right[0] >= right[1], own[0], own[1])),
            "equal": odds(sum(share * raw for share, raw in zip(equal, own, strict=True))),
            "weighed": odds(head.predict(state, x)),
            "right learned": right[:1],
            "right raw": right[1:2],
        }

    for task, assays in tasks:
        z, zq = (encoder(p.x.flatten(0, 1)).unflatten(0, p.x.shape[:2]) for p in task)
        logits = torch.func.vmap(one)(Examples(z, task.support.y), zq)
        for name in TITLES:
            found[name] += roc_auc(logits[name], task.query.y[..., 1]).tolist()
        for name in ("right raw", "right learned"):
            found[name] += logits[name][:, 0].tolist()
        found["assay"] += assays
    return found


def draw(how: str, seed: int) -> dict[str, dict[str, list[float]]]:
    """All settings with one network."""
    source, tox21, sider = screens(how, seed), halves("tox21", how, seed), halves("sider", how, seed)
    proto = trained(source, how, seed)
    raw = [Tanimoto(), Ridge(normalize=False, penalty=150.0)]
    learner = RawOrLearned(proto.encoder, Prototypes(), raw, inputs=2048, features=128).eval().requires_grad_(False)
    validation = [source.assays[i] for i in source.splits["val"].tolist()]
    learner.calibrate([task for task, _ in drawn(source, validation, 6, 4, seed)])
    of = {start: [n for n in source.assays if n.startswith(start)] for start in (*ZEBRAFISH, *RECEPTORS, *GLOW)}
    near = [n for n in validation if not n.startswith(VALIDATION)]
    settings = {
        "validation, makers that are trained on": (source, near, 6, 6),
        "validation, two other screens": (source, [n for n in validation if n not in near], 6, 6),
        "Tox21": (tox21, tox21.assays, 50, 20),
        "SIDER": (sider, sider.assays, 12, 8),
        "ToxCast: molecules that glow by themselves": (source, of[GLOW[0]], 12, 40),
        "ToxCast: the glow channel of other assays": (source, [n for n in source.assays if n.endswith("_ch1")], 12, 10),
        "ToxCast: receptors by other makers (OT_, ACEA_)": (source, of["OT_"] + of["ACEA_"], 24, 12),
        "ToxCast: zebrafish embryos": (source, of["Tanguay_"], 12, 12),
    }
    if how == "scaffold":
        settings = {
            name: settings[name] for name in ("Tox21", "SIDER", "ToxCast: receptors by other makers (OT_, ACEA_)")
        }
    return {name: scores(learner, drawn(*chosen, seed)) for name, chosen in settings.items()}


def kept(how: str, seed: int) -> dict[str, dict[str, list[float]]]:
    """Computed once."""
    path = FOLDER / f"{how}-seed{seed}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(draw(how, seed)) + "\n")
        print(f"{path.stem} done", flush=True)
    return json.loads(path.read_text())


def table(runs: dict[str, list[dict[str, dict[str, list[float]]]]]) -> str:
    """ROC-AUC of each method, and the paired difference of each mixture to the better of raw and learned."""
    lines = [
        f"| tasks, assays | {' | '.join(TITLES.values())} | `RawOrLearned` minus the better of the two |",
        "|---|" + "---|" * (len(TITLES) + 1),
    ]
    for how, found in runs.items():
        for setting in found[0]:
            parts = [run[setting] for run in found]
            values = {name: np.concatenate([part[name] for part in parts]) for name in TITLES}
            assays = np.concatenate([part["assay"] for part in parts])
            better = max(("raw", "learned"), key=lambda name: values[name].mean())
            gap = stats.paired(values["weighed"], values[better])
            low, high = gap.interval
            cells = [f"{values[name].mean():.3f}" for name in TITLES]
            by = ", new scaffolds" if how == "scaffold" else ""
            compared = f"{gap.mean:+.3f} ({low:+.3f} to {high:+.3f}), {better}"
            lines.append(f"| {setting}{by}, {len(np.unique(assays))} | {' | '.join(cells)} | {compared} |")
    return "\n".join(lines)


def main() -> None:
    """Compute what is not there, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    text = table({how: [kept(how, seed) for seed in given.seeds] for how in ("fingerprint", "scaffold")})
    print(text)
    record("raw_or_learned", text)


if __name__ == "__main__":
    main()
