"""Short trainings on real data that must reach what a working learner reaches: minutes, not seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import innerloop as il

pytestmark = pytest.mark.slow


def test_protonet_learns_omniglot(data_root: Path, device: torch.device) -> None:
    """300 steps bring unseen characters from about 55 % to above 95 % (97.4 measured), 5-way 1-shot."""
    pools = il.data.omniglot(data_root / "omniglot")
    torch.manual_seed(0)
    learner = il.ProtoNet(il.nets.conv4(), scale=0.1).to(device)
    test = il.FewShot(pools.test, ways=5, shots=1, queries=15)
    before = il.evaluate(learner, test, tasks=300)
    train = il.FewShot(pools.train, ways=60, shots=1, queries=5)
    il.fit(learner, train, steps=300, tasks_per_step=1, lr=2e-3, average=0.99, how="loop", progress=False)
    after = il.evaluate(learner, test, tasks=300)
    gain = il.paired(after.per_task["accuracy"], before.per_task["accuracy"])
    assert after.value > 0.95
    assert gain.interval[0] > 0.3


def test_maml_learns_sinusoids(device: torch.device) -> None:
    """One inner step brings the squared error from about 3 to below 1 (0.4 after a full training)."""
    torch.manual_seed(0)
    maml = il.MAML(il.nets.mlp(1, 40, 40, 1), steps=1, lr=0.01, likelihood=il.Gaussian(scale=1.0)).to(device)
    il.fit(maml, il.data.Sinusoid(), steps=5000, tasks_per_step=25, lr=3e-3, how="vmap", progress=False)
    test = il.data.Sinusoid(shots=10, queries=100)
    after = il.evaluate(maml, test, tasks=600, how="vmap").value
    maml.test_steps = 0
    before = il.evaluate(maml, test, tasks=600, how="vmap").value
    assert before > 2.5
    assert after < 1.0
