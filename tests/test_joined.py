"""What a query among the examples would change, in closed form, against refits of every pair of query and class."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from test_feature_heads import HEADS, UNEQUAL, queries, support

import innerloop as il
from innerloop.estimators.choice import HEADS as NAMED
from innerloop.estimators.choice import conformal, held_out, joining, ready
from innerloop.evidence import conformal_ranks, joined_misfits, leave_one_out
from innerloop.evidence.conformal import misfits

JOINING = ["prototypes", "cosine", "center", "ridge", "ridge-raw", "spans", "nearest", "nearest-euclidean"]


def more(part: il.Examples, query: torch.Tensor, code: int) -> il.Examples:
    row = torch.eye(part.y.shape[1], dtype=part.y.dtype)[code : code + 1]
    return il.Examples(torch.cat((part.x, query)), torch.cat((part.y, row)))


@pytest.mark.parametrize("name", JOINING)
@pytest.mark.parametrize("counts", [UNEQUAL, [1, 1, 1], [2, 3]])
def test_a_query_that_joins_changes_what_refits_say(name: str, counts: list[int]) -> None:
    """Far from the origin, with single examples; the misfits too."""
    head = HEADS[name]().double().eval()
    _, _, part = support(counts)
    part, asked = il.Examples(part.x + 3, part.y), queries(4)
    with torch.no_grad():
        found = head.joined(part, asked)
    assert found is not None
    misfit = joined_misfits(found, part.y)
    for code in range(len(counts)):
        for i in range(4):
            large = more(part, asked[i : i + 1], code)
            expected = leave_one_out(head, large)
            torch.testing.assert_close(found.logits(code)[i], expected, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(misfit[i, :, code], misfits(expected, large.y), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("by_class", [False, True])
def test_ranks_by_closed_forms_are_those_of_refits(by_class: bool) -> None:
    """Of one head and of the best of five, chosen anew for each query and class."""
    _, _, part = support([3, 4, 5])
    heads = {name: ready(make()) for name, make in NAMED.items()}
    heads = joining(heads)
    assert list(heads) == ["ridge", "prototypes", "prototypes-euclidean", "nearest", "nearest-euclidean"]
    for some in (heads, {"ridge": heads["ridge"]}):
        found = conformal(some, part, queries(10), by_class=by_class)
        expected = conformal_ranks(held_out(some), part, queries(10), by_class=by_class)
        assert found.among.tolist() == expected.among.tolist() == ([4, 5, 6] if by_class else [13] * 3)
        assert torch.equal(found.worse, expected.worse)


def test_ranks_of_a_head_without_a_closed_form_are_by_refits() -> None:
    head = ready(il.learners.GaussianClasses())
    _, _, part = support(UNEQUAL)
    expected = conformal_ranks(partial(leave_one_out, head), part, queries(3))
    assert torch.equal(conformal({"own": head}, part, queries(3)).worse, expected.worse)


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("features", [3, 40])
@pytest.mark.parametrize("counts", [UNEQUAL, [1, 1, 1], [2, 3]])
def test_gaussian_classes_left_out_are_refits_far_from_the_origin(
    counts: list[int], features: int, shrinkage: float
) -> None:
    head = il.learners.GaussianClasses(shrinkage=shrinkage).double()
    _, _, part = support(counts, features)
    part = il.Examples(part.x + 100, part.y)
    found = leave_one_out(head, part)
    for i in range(len(part.x)):
        rest = torch.arange(len(part.x)) != i
        state = head.adapt(il.Examples(part.x[rest], part.y[rest]))
        torch.testing.assert_close(found[i], head.predict(state, part.x[i : i + 1])[0, 0], rtol=1e-7, atol=1e-7)


def test_crepes_gives_the_same_p_values_where_the_head_does_not_learn() -> None:
    """A head whose scores do not depend on its examples makes full conformal prediction inductive."""
    from crepes import ConformalClassifier

    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    _, labels, part = support([6, 7, 8])
    asked = queries(30)
    raw, other = part.x @ weight.mT, asked @ weight.mT
    found = conformal_ranks(lambda some: some.x @ weight.mT, part, asked)
    each = torch.stack([misfits(other, torch.eye(3, dtype=torch.float64)[[c] * 30]) for c in range(3)], 1)
    model = ConformalClassifier().fit(misfits(raw, part.y).numpy())
    expected = model.predict_p(each.numpy(), all_classes=True, smoothing=False)
    torch.testing.assert_close(found.worse / found.among.double(), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)
    by_class = conformal_ranks(lambda some: some.x @ weight.mT, part, asked, by_class=True)
    model = ConformalClassifier().fit(misfits(raw, part.y).numpy(), bins=labels)
    for code in range(3):
        p = model.predict_p(each.numpy(), all_classes=True, bins=torch.full((30,), code).numpy(), smoothing=False)
        torch.testing.assert_close(
            (by_class.worse / by_class.among.double())[:, code], torch.from_numpy(p)[:, code], rtol=1e-9, atol=1e-9
        )
