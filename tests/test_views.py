"""Images under many views, and prototypes that take the best match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import innerloop as il
from innerloop.data import Augment
from innerloop.learners import NearestView, UnderViews
from innerloop.learners.metric.views import ManyViews
from innerloop.learners.under_views import Looks


class Corner(nn.Module):
    """The upper left quarter, as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 1, S, S] -> [N, 1, S/2, S/2]``."""
        half = x.shape[-1] // 2
        return x[..., :half, :half]


def images(count: int = 3, side: int = 6) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))


def test_forms_are_the_eight_symmetries_and_the_first_view_is_the_image() -> None:
    x = images()
    seen = ManyViews([Corner()])(x)
    assert seen.shape == (3, 1, 8, 9)
    assert seen[:, 0, 0].equal(x[:, 0, :3, :3].flatten(1))
    assert seen[:, 0, 4].equal(x.flip(-1)[:, 0, :3, :3].flatten(1))
    assert len({tuple(form.tolist()) for form in seen[0, 0]}) == 8


def test_moved_views_are_those_of_augment_at_its_ends() -> None:
    x = images()
    views = ManyViews([nn.Identity()], symmetries=False, rotate=15, shift=2)(x)
    assert views.shape == (3, 7, 1, 36)
    turned = Augment(rotate=15, shift=2)(x, torch.tensor([0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 0.0]).expand(3, -1))
    assert views[:, 1, 0].allclose(turned.flatten(1))
    # A shift of whole pixels moves them and nothing else.
    assert views[:, 4, 0].view(3, 6, 6)[:, :, :4].allclose(x[:, 0, :, 2:], atol=1e-5)


def test_networks_stand_beside_each_other_and_see_alone() -> None:
    torch.manual_seed(0)
    nets = [il.nets.conv4((1, 8, 8), width=4, pools=2).eval() for _ in range(2)]
    both, x = ManyViews(nets, scale=0.1).eval(), images(4, 8)
    apart = [ManyViews([net], scale=0.1).eval()(x) for net in nets]
    assert both(x).allclose(torch.cat(apart, 2), atol=1e-6)
    assert both(x)[1:2].allclose(both(x[1:2]), atol=1e-6)


def test_without_views_it_is_prototypes_by_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    x, q = (torch.randn(6, 1, 1, 5, generator=generator) for _ in range(2))
    support = il.Examples(x, torch.eye(3).repeat(2, 1))
    head, plain = NearestView(scale=7.0), il.learners.Prototypes(distance="cosine", scale=7.0)
    expected = plain.predict(plain.adapt(il.Examples(x.flatten(1), support.y)), q.flatten(1))
    assert head.predict(head.adapt(support), q).allclose(expected, atol=1e-6)


def test_it_is_the_best_match_either_way_by_hand() -> None:
    generator = torch.Generator().manual_seed(1)
    x, q = (F.normalize(torch.randn(4, 3, 2, 5, generator=generator), dim=-1) for _ in range(2))
    head = NearestView(scale=1.0)
    found = head.predict(head.adapt(il.Examples(x, torch.eye(4))), q)[0]

    def alike(a: Tensor, b: Tensor) -> float:
        return float((a * b).sum(1).mean())

    for i in range(4):
        for c in range(4):
            moved = max(alike(q[i, v], x[c, 0]) for v in range(3))
            still = max(alike(q[i, 0], x[c, v]) for v in range(3))
            assert float(found[i, c]) == pytest.approx((moved + still) / 2, abs=1e-6)


def test_a_moved_query_finds_its_class_by_a_view() -> None:
    support = torch.zeros(2, 1, 8, 8)
    support[0, 0, 2:5, 2] = 1.0
    support[1, 0, 2:5, 4] = 1.0
    # The first letter two pixels to the right lies on the second; a mark below tells it, at its moved place.
    support[0, 0, 5, 2:4] = 1.0
    query = support[:1].roll(2, -1)
    head, y = NearestView(), torch.eye(2)
    said = {}
    for shift in (0.0, 2.0):
        learner = il.learners.Embedded(ManyViews([nn.Flatten()], symmetries=False, shift=shift), head)
        said[shift] = learner.predict(learner.adapt(il.Examples(support, y)), query)[0, 0]
    assert said[0.0].argmax() == 1
    assert said[2.0].argmax() == 0
    assert float(said[2.0][0]) == pytest.approx(10.0, abs=1e-4)


def test_a_class_without_examples_is_never_the_answer() -> None:
    head = NearestView()
    state = head.adapt(il.Examples(torch.ones(1, 1, 1, 2), torch.tensor([[0.0, 1.0]])))
    assert head.predict(state, -torch.ones(1, 1, 1, 2))[0, 0].tolist() == [-torch.inf, pytest.approx(-10.0)]


def test_what_are_no_views_is_refused() -> None:
    with pytest.raises(il.InputError, match="at least one encoder"):
        ManyViews([])
    with pytest.raises(il.InputError, match=r"shape \(2, 3\).*ManyViews"):
        NearestView().adapt(il.Examples(torch.ones(2, 3), torch.eye(2)))
    with pytest.raises(il.InputError, match="rotate is -1"):
        ManyViews([Corner()], rotate=-1)


def relations(**options: object) -> il.Learner:
    torch.manual_seed(0)
    return il.learners.Relations(features=(2, 2, 2), **options)


def amortized(**options: object) -> il.Learner:
    torch.manual_seed(0)
    # Outside training all draws are the same.
    return il.learners.AmortizedHead(features=4, **options).eval()


@pytest.mark.parametrize(("made", "shape"), [(il.learners.Prototypes, (4,)), (relations, (2, 2, 2)), (amortized, (4,))])
def test_exchanged_parts_are_each_the_support_set_once(made: Callable[..., il.Learner], shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [il.Examples(torch.randn(3, *shape, generator=generator), torch.eye(3)) for _ in range(3)]
    join = lambda some: il.Examples(*(torch.cat(leaf) for leaf in zip(*some, strict=True)))  # noqa: E731
    exchanged = made(exchange=True).loss(il.Task(parts[0], join(parts[1:])))
    plain = made()
    apart = [plain.loss(il.Task(parts[i], join(parts[:i] + parts[i + 1 :]))) for i in range(3)]
    assert exchanged.allclose(torch.stack(apart).mean())
    assert not exchanged.allclose(apart[0])
    batch = il.Task(
        *(il.Examples(*(leaf.expand(2, *leaf.shape) for leaf in part)) for part in (parts[0], join(parts[1:])))
    )
    lifted = il.lift(made(exchange=True), "vmap").loss(batch)
    assert lifted.allclose(exchanged.expand(2))
    with pytest.raises(il.InputError, match="2 queries are no parts of 3"):
        made(exchange=True).loss(il.Task(parts[0], il.Examples(parts[1].x[:2], parts[1].y[:2])))


def test_pairs_that_changed_places_in_training_are_scored_in_both_orders() -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = (torch.randn(3, 2, 2, 2, generator=generator) for _ in range(2))
    head, plain = relations(exchange=True), relations()
    state = head.adapt(il.Examples(support, torch.eye(3)))
    relation = head.relation
    both = (relation(query, support) + relation(support, query).mT) / 2
    assert not relation(query, support).allclose(relation(support, query).mT)
    # In training as they stand.
    assert head.predict(state, query)[0].equal(relation(query, support))
    torch.testing.assert_close(head.eval().predict(state, query)[0], both)
    torch.testing.assert_close(head.predict(head.adapt(il.Examples(query, torch.eye(3))), support)[0], both.mT)
    assert plain.eval().predict(state, query)[0].equal(relation(query, support))
    summed = relations(exchange=True, combine="features").eval()
    assert summed.predict(summed.adapt(il.Examples(support, torch.eye(3))), query)[0].equal(relation(query, support))
    left_out = head.held_out(il.Examples(torch.cat((support, query)), torch.eye(3).repeat(2, 1)))
    assert left_out is not None
    # One example of its class is left to each, and two of the others: a mean of scores, times their number over all.
    for place in range(6):
        others = [i for i in range(6) if i != place]
        y = torch.eye(3).repeat(2, 1)[others]
        alone = head.adapt(il.Examples(torch.cat((support, query))[others], y))
        torch.testing.assert_close(left_out[place], head.predict(alone, torch.cat((support, query))[place, None])[0, 0])


def pictures(ways: int = 3, shots: int = 2) -> il.Task:
    generator = torch.Generator().manual_seed(2)
    y = torch.eye(ways).repeat(shots, 1)
    return il.Task(*(il.Examples(torch.rand(ways * shots, 1, 8, 8, generator=generator), y) for _ in range(2)))


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return il.nets.conv4((1, 8, 8), width=4, pools=2, norm="group").eval()


def test_prototypes_under_views_are_those_of_averaged_features() -> None:
    task, net = pictures(), encoder()
    learner = UnderViews(il.ProtoNet(net), shift=1.0, rotate=8.0, flip=True).eval()
    looks = Looks(shift=1.0, rotate=8.0, flip=True)

    def averaged(x: Tensor) -> Tensor:
        return torch.stack([net(view) for view in looks(x).unbind(1)]).mean(0)

    plain = il.learners.Prototypes()
    state = plain.adapt(il.Examples(averaged(task.support.x), task.support.y))
    wanted = plain.predict(state, averaged(task.query.x)).softmax(-1)
    found = learner.predict(learner.adapt(task.support), task.query.x).softmax(-1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_relations_under_views_are_those_of_averaged_maps(tmp_path: Path) -> None:
    task = pictures()
    torch.manual_seed(0)
    net = il.nets.conv4((1, 8, 8), width=4, pools=2, norm="group", maps=True)
    inner = il.RelationNet(net)
    learner = UnderViews(inner, shift=1.0, flip=True).eval()
    looks = Looks(shift=1.0, flip=True)
    support, query = (torch.stack([net(view) for view in looks(part.x).unbind(1)]).mean(0) for part in task)
    head = inner.split()[1]
    state = head.adapt(il.Examples(support, task.support.y))
    found = learner.adapt(task.support)
    assert found.x.shape == support.shape
    torch.testing.assert_close(learner.predict(found, task.query.x), head.predict(state, query))
    il.save(tmp_path / "kept", learner)
    again = il.load(tmp_path / "kept")
    assert again.predict(found, task.query.x).equal(learner.predict(found, task.query.x))


def test_an_inner_loop_under_views_learns_from_each_of_them() -> None:
    """A MAML adapts to all views of its support set, and its logits are the mean over a query's."""
    task, looks = pictures(), Looks(scale=0.1)
    torch.manual_seed(0)
    maml = il.MAML(il.nets.conv4((1, 8, 8), width=4, out=3, pools=2, norm="support"), lr=0.1).eval()
    views = looks(task.support.x)
    state = maml.adapt(il.Examples(torch.cat(views.unbind(1)), torch.cat([task.support.y] * 3)))
    wanted = torch.stack([maml.predict(state, view) for view in looks(task.query.x).unbind(1)]).mean(0)
    learner = UnderViews(maml, scale=0.1).eval()
    torch.testing.assert_close(learner.predict(learner.adapt(task.support), task.query.x), wanted)
    assert learner.split() == (None, learner)


def test_views_are_seen_through_an_encoder_once() -> None:
    task = pictures()
    learner = UnderViews(il.ProtoNet(encoder()), shear=5.0).eval()
    net, head = learner.split()
    assert net is not None
    state = head.adapt(il.Examples(net(task.support.x), task.support.y))
    found = head.predict(state, net(task.query.x))
    torch.testing.assert_close(found, learner.predict(learner.adapt(task.support), task.query.x))


def test_training_sees_no_views(tmp_path: Path) -> None:
    task, inner = pictures(), il.ProtoNet(encoder())
    learner = UnderViews(inner, flip=True)
    assert learner.loss(task).equal(inner.loss(task))
    assert learner.backbone() is inner.backbone()
    il.save(tmp_path / "kept", learner)
    state = learner.eval().adapt(task.support)
    assert il.load(tmp_path / "kept").predict(state, task.query.x).equal(learner.predict(state, task.query.x))


def test_views_that_are_none_are_refused() -> None:
    with pytest.raises(il.InputError, match="no view beside the image"):
        UnderViews(il.ProtoNet(encoder()))
    with pytest.raises(il.InputError, match="rotate is -1"):
        UnderViews(il.ProtoNet(encoder()), rotate=-1)
    with pytest.raises(il.InputError, match="no logits"):
        UnderViews(il.ProtoNet(encoder(), likelihood=il.Gaussian()), flip=True)


def test_views_of_an_example_are_one_shot() -> None:
    """A temperature that follows the shots is that of the examples, however many views there are of each."""
    torch.manual_seed(0)
    learner = il.ANIL(
        il.nets.conv4((1, 28, 28), width=4, out=1, norm="support"), shared_head="out", steps=1, tempered=True
    ).eval()
    assert learner.by_shots is not None
    support = il.Examples(torch.rand(3, 1, 28, 28), torch.eye(3))
    under = UnderViews(learner, shift=1.0).eval()
    assert learner.adapt(support).shots == 1
    # A task that goes on has the shots of both parts.
    more = il.Examples(torch.rand(6, 1, 28, 28), torch.eye(3).repeat(2, 1))
    assert learner.adapt(more, learner.adapt(support)).shots == 3
    assert under.adapt(more, under.adapt(support)).shots == 3
    before = under.predict(under.adapt(support), support.x)
    learner.by_shots.noise.fill_(2.0)
    # Found at one shot, it is no other there.
    torch.testing.assert_close(under.predict(under.adapt(support), support.x), before)
