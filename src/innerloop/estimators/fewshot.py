"""A classifier from a few examples of one's own, as a scikit-learn estimator that knows its limits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from innerloop.bundle import save
from innerloop.bundle.bundle import Bundle, Contents
from innerloop.core.facts import Facts
from innerloop.core.labels import listed
from innerloop.core.task import Examples, InputError, did_you_mean
from innerloop.encoders.base import Encoder
from innerloop.encoders.find import Found, find
from innerloop.estimators.asked import Asked
from innerloop.estimators.called import Called, called
from innerloop.estimators.choice import SINGLE, candidates_for, choose, conformal, joining, named_heads, ready
from innerloop.estimators.keeping import brought, kept, with_encoder
from innerloop.estimators.known import Known, class_labels, kind_of, rows_of
from innerloop.estimators.manners import Manners, Tasks, with_callbacks
from innerloop.estimators.places import all_but, names_of
from innerloop.estimators.stored import plain, restored
from innerloop.estimators.unknown import strangeness
from innerloop.estimators.unlabeled import with_unlabeled
from innerloop.learners.head import Head

Floats = npt.NDArray[np.float64]

#: What is kept of a fit beside its examples.
_FITTED = ("named_", "classes_", "encoder_", "head_", "accuracy_", "accuracy_interval_", "temperature_", "names_")
#: Numbers that a prediction holds at a time.
_AT_ONCE = 2**23


class FewShotClassifier(Asked, Manners, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifies from a few labelled examples, and says how well, and what it does not know.

    Examples are pictures (paths, Pillow images, arrays), sentences, rows of a data frame, or ready features. Two
    classes suffice, single examples and unequal counts too. Ready features are taken as they are: numbers of several
    units are a table.

    With ``head="auto"`` heads are tried by exact leave-one-out, and the one that tells most examples right is taken.
    Of equally good ones it is the first in this order: ridge, logistic, prototypes, gaussian, prototypes-euclidean,
    nearest, nearest-euclidean (the first three and nearest on features of unit length); a head that the encoder brings
    (depths of photographs, learned of sentences, in-context of tables) comes first, and gives way only to what tells
    more right by more than a standard error. Logistic regression, which is refitted for it, is tried on few examples
    only (about 70 of five classes). Where every class has a single example nothing can be left out, and it is the
    encoder's head, or the prototypes.

    Examples without a label (``None`` or NaN in y) are of use to ``head="soft-means"``, prototypes that they refine
    (:class:`~innerloop.learners.SoftMeans`), and refused with any other head. What leave-one-out says, and what is
    promised, is of the labelled ones.

    Args:
        encoder: what turns X into features: ``"letters"``, ``"photographs"``, ``"sentences"``, ``"table"``, an
            :class:`~innerloop.encoders.Encoder` or a torch module; ``"features"`` where they are ready; or ``"auto"``,
            by a look at X (:func:`innerloop.encoders.find`).
        head: ``"auto"``, the name of one, or a :class:`~innerloop.learners.Head`.
        class_names: whether labels of sentences are words that say what a class is about, and join its examples
            (``"card_lost"`` as "card lost"); ``"auto"``: where the examples speak for it.

    Attributes:
        classes_: the labels, sorted.
        encoder_: what X was taken for.
        head_: the name of the head.
        accuracy_: the expected share of right answers, by leave-one-out and corrected for having chosen the head; NaN
            where every class has a single example. An example that is the only one of its class does not count. Where
            labels' words join the examples these count too, told by the words; so the estimate is careful there.
        accuracy_interval_: of 95 %.
        temperature_: what the logits are divided by, so that probabilities mean something: what is expected of the head
            and so many examples, moved by what those that were left out say.
        X_: the features of the examples, ``[N, H]``.
        y_: their labels, ``[N]``.
        names_: what the examples are called, ``[N]``: paths, sentences, or their numbers.
        named_: whether the labels' words joined the examples.
        unlabeled_: how many examples without a label were used.
        n_features_in_: H, where features came ready.

    Raises:
        InputError: (a ValueError) for labels that are missing or of several kinds, a single class, and an unknown head.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> few = FewShotClassifier().fit(X[::10], y[::10])
        >>> bool(few.score(X, y) > 0.85)
        True
        >>> few.predict_set(X[:2], coverage=0.9)
        [array([0]), array([0])]

    References:
        Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*, 2005 (prediction sets).
    """

    def __init__(
        self,
        encoder: str | Encoder | nn.Module = "auto",
        head: str | Head = "auto",
        class_names: bool | Literal["auto"] = "auto",
    ) -> None:
        self.encoder = encoder
        self.head = head
        self.class_names = class_names

    @with_callbacks
    def fit(self, X: Any, y: Any) -> Self:
        """Learn from examples.

        Args:
            X: N pictures or sentences in a list or column; or features ``[N, H]``: an array, or rows in lists.
            y: labels ``[N]`` of any kind: numbers, words, booleans, a column of pandas; with ``head="soft-means"``
                ``None`` or NaN for examples without one.
        """
        with Tasks(self, X, y, ("encoding", "choice")).all() as tasks:
            with tasks.one("encoding"):
                examples = self._examples(X, y, reset=True)
            with tasks.one("choice"):
                self._learn(examples)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Learn further examples, of known classes and of new ones, as if all had come at once.

        Args:
            X: as at ``fit``.
            y: labels ``[N]``.
            classes: the labels that y may have; not needed. A class is known once it has an example.
        """
        known = hasattr(self, "X_")
        new = self._examples(X, y, reset=not known)
        labels = new.labels
        if classes is not None and (other := sorted({*labels.tolist()} - {*np.asarray(classes).tolist()})):
            raise InputError(f"y has the label {other[0]!r}, which is none of classes: name it there, or leave it out")
        if known:
            if kind_of(labels) != kind_of(self.y_):
                raise InputError(
                    f"the new labels are {kind_of(labels)}s (the first is {labels[0]}), the known ones "
                    f"{kind_of(self.y_)}s ({self.y_[0]}): give labels of one kind"
                )
            before = Known(self.X_, self.y_, self.names_, self._free, self.encoder_, self._encoder)
            new = before.joined(new)
        self._learn(new)
        return self

    def forget(self, label: Any = None, *, index: Any = None) -> Self:
        """Unlearn a class or single examples, as if they had never come.

        Args:
            label: of the class.
            index: the place, or places, of examples in ``X_``.

        Raises:
            InputError: for a label or a place that there is not, or if a single class would be left.
        """
        check_is_fitted(self)
        if (label is None) == (index is None):
            raise InputError("forget takes the label of a class, or index= of examples: give one of both")
        keep = np.ones(len(self.y_), dtype=bool)
        if index is None:
            keep = self.y_ != label
            if np.all(keep):
                raise InputError(
                    f"no example has the label {label!r}: the classes are {listed(map(str, self.classes_))}"
                )
        else:
            keep = all_but(index, len(keep))
        left = (self.X_[keep], self.y_[keep], self.names_[keep])
        self._learn(Known(*left, self._free, self.encoder_, self._encoder))
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Class probabilities ``[Q, D]``, columns as in ``classes_``."""
        x = self._queries(X)
        proba: Floats = (self._raw(x) / self.temperature_).softmax(1).numpy()
        return proba

    def predict(self, X: Any, unknown: Literal["reject"] | None = None, error: float = 0.1) -> npt.NDArray[Any]:
        """The most probable class of each query, ``[Q]``.

        Args:
            X: as at ``fit``, Q of them.
            unknown: ``"reject"`` gives ``None`` for what is like no class, in an array of objects.
            error: the share of queries of known classes that may be rejected: a guarantee, as in :meth:`predict_set`.

        Raises:
            InputError: for an ``error`` below what so few examples can tell, ``1 / (n + 1)``, and more where classes
                have a single example.
        """
        x = self._queries(X)
        labels = self.classes_[self._raw(x).argmax(1).numpy()]
        if unknown is None:
            return np.asarray(labels)
        if unknown != "reject":
            raise InputError(f"unknown={unknown!r}: give 'reject', or leave it out")
        labels = labels.astype(object)
        labels[strangeness(self._support(), x, self._encoder).rejected(error).numpy()] = None
        return np.asarray(labels)

    def unknown_score(self, X: Any) -> Floats:
        """How little each query is like any class, ``[Q]``, between 0 and 1: 1 less its best p-value in any class.

        What :meth:`predict` rejects at an ``error`` has a score of ``1 - error`` at least. Queries that have the same
        place among the examples are told apart by how far they are from the next.

        Args:
            X: as at ``fit``, Q of them.
        """
        x = self._queries(X)
        score: Floats = strangeness(self._support(), x, self._encoder).score.numpy()
        return score

    def predict_set(
        self, X: Any, coverage: float = 0.9, method: Literal["full"] = "full", by_class: bool = False
    ) -> list[npt.NDArray[Any]]:
        """The classes that each query may belong to: the true one is among them with a probability of ``coverage``.

        That is a guarantee (full conformal prediction, by exact refits) for queries that come as the examples came:
        where examples were collected so many a class, and queries are not, take ``by_class``. A set may be empty, where
        a query is like no class, and holds all classes where nothing is told: of single examples a class. With
        ``head="auto"`` the head is chosen anew with each query, among those whose leave-one-out is a closed form.

        Args:
            X: as at ``fit``, Q of them.
            coverage: n examples promise ``n / (n + 1)`` at most.
            method: ``"full"``.
            by_class: whether the guarantee holds within each class, for which n is the count of the smallest.

        Returns:
            labels of each query, sorted.

        Raises:
            InputError: for a coverage that so few examples cannot promise.
        """
        if method != "full":
            raise InputError(f"method={method!r} is unknown: it is 'full'")
        x, support = self._queries(X), self._support()
        heads = {self.head_: with_unlabeled(self._plain, self._free, len(self.classes_))}
        if isinstance(self.head, str) and self.head == "auto":
            heads = joining(candidates_for(*self._sizes(), self._encoder))
        names = self._called(self.classes_, self._encoder)
        if names is not None and self.class_names is True:
            heads, names = {name: names.primed(head) for name, head in heads.items()}, None
        found = conformal(heads, support, x, by_class=by_class, names=names)
        return [self.classes_[row] for row in found.sets(coverage).numpy()]

    def save(self, path: str | Path, *, replace: bool = False) -> Path:
        """Keep it as a bundle, which :func:`innerloop.load` reads anywhere.

        Args:
            path: the folder, which is made.
            replace: whether a bundle that is there gives way.
        """
        return save(path, self, replace=replace)

    def to_bundle(self) -> Contents:
        """What it is made of: the head, the examples, and what was found of them."""
        check_is_fitted(self)
        names = tuple(map(str, self.classes_))
        optional = ("n_features_in_", "feature_names_in_")
        fitted = {name: getattr(self, name) for name in (*_FITTED, *optional) if hasattr(self, name)}
        asked = {
            "encoder": self.encoder if isinstance(self.encoder, str) else None,
            "head": self.head if isinstance(self.head, str) else None,
            "class_names": self.class_names,
        }
        state = {
            "X": self.X_,
            "y": self.y_,
            "unlabeled": self._free,
            "asked": asked,
            "fitted": fitted,
            "encoder": kept(self._encoder),
        }
        facts = Facts("vectors", (self.X_.shape[1],), len(names), "classification", names)
        return Contents(with_encoder(self._plain, self._encoder), state, facts)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        """The classifier again."""
        state = bundle.state
        head, encoder = brought(bundle.learner, state["encoder"], bundle.path)
        asked = state["asked"]
        given = head if asked["head"] is None else asked["head"]
        made = cls(asked["encoder"] or encoder or "auto", given, asked["class_names"])
        made._encoder = encoder
        for name, value in state["fitted"].items():
            setattr(made, name, value)
        made.X_, made.y_, made._free = state["X"], state["y"], state["unlabeled"]
        made.unlabeled_ = len(made._free)
        made._settle(ready(head))
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Arrays and plain values, as far as the head and the encoder are the library's."""
        found: dict[str, Any] = dict(super().__getstate__())
        # What was learned follows from head and examples.
        for name in ("_state", "_head"):
            found.pop(name, None)
        return {**found, "_plain": plain(found["_plain"])} if "_plain" in found else found

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The classifier as it was."""
        super().__setstate__(state)
        if "_plain" in state:
            self._settle(ready(restored(state["_plain"])))

    @property
    def learner_(self) -> Head:
        """The fitted head, in float64."""
        return self._head

    @property
    def state_(self) -> Any:
        """What the head learned from the examples."""
        return self._state

    @property
    def transformer_(self) -> Encoder | None:
        """The encoder; ``None`` where features were given."""
        return self._encoder

    def _examples(self, X: Any, y: Any, *, reset: bool) -> Known:
        found = self._found(X) if reset else Found(self.encoder_, self._encoder)
        names = ("auto", *named_heads(found.encoder))
        if isinstance(self.head, str) and self.head not in names:
            near = did_you_mean(self.head, names)
            raise InputError(f"head {self.head!r} is unknown{near}: choose of {', '.join(names)}")
        if not isinstance(self.head, str | Head):
            raise InputError(f"head={self.head!r}: give a name, or an innerloop.learners.Head")
        before = getattr(self, "y_", None)
        if found.encoder is None:
            if y is None:
                # In scikit-learn's words.
                validate_data(self, X, y, reset=reset)
            x, (values, known) = self._features(X, None, reset=reset), class_labels(y, self.head, before)
        else:
            # Labels that are no labels are found before minutes are spent on pictures.
            values, known = class_labels(y, self.head, before)
            x = self._features(X, found.encoder, reset=reset)
        check_consistent_length(x, known)
        words = names_of(X, len(x), found.encoder)
        return Known(x[known], values, words[known], x[~known], found.name, found.encoder)

    def _found(self, X: Any) -> Found:
        """What X is taken for, and an encoder that has seen it."""
        name, encoder = find(self.encoder, X)
        if encoder is not None:
            encoder = clone(encoder).fit(X)
            for said in ("n_features_in_", "feature_names_in_"):
                if hasattr(encoder, said):
                    setattr(self, said, getattr(encoder, said))
        return Found(name, encoder)

    def _features(self, X: Any, encoder: Encoder | None, *, reset: bool) -> Floats:
        if encoder is not None:
            return encoder.transform(X).astype(np.float64)
        return np.array(validate_data(self, X, dtype=np.float64, reset=reset))

    def _learn(self, examples: Known) -> None:
        """From all examples. Nothing is changed before everything was found."""
        x, labels, encoder = examples.x, examples.labels, examples.encoder
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise InputError(
                f"y has one class ({classes[0]!r}, {len(labels)} examples), and there is nothing to tell apart: give "
                f"examples of two classes at least"
            )
        support = Examples(torch.from_numpy(x), rows_of(codes, len(classes)))
        if isinstance(self.head, Head):
            heads: dict[str, Head] = {type(self.head).__name__: ready(copy.deepcopy(self.head))}
        elif self.head == "auto":
            heads = candidates_for(len(x), len(classes), x.shape[1], encoder)
        else:
            heads = {self.head: ready(named_heads(encoder)[self.head]())}
        names = self._called(classes, encoder)
        if names is not None and self.class_names == "auto" and not names.believed(support):
            names = None
        tried = {name: with_unlabeled(head, examples.free, len(classes)) for name, head in heads.items()}
        tried = tried if names is None else {name: names.primed(head) for name, head in tried.items()}
        choice = choose(tried, support, single=encoder.single if encoder else SINGLE)
        self.named_ = names is not None
        self.X_, self.y_, self.classes_, self.names_ = x, labels, classes, examples.names
        self._free, self.unlabeled_ = examples.free, len(examples.free)
        self.encoder_, self._encoder, self.head_ = examples.encoder_name, encoder, choice.name
        self.accuracy_, self.accuracy_interval_ = choice.accuracy, choice.interval
        self.temperature_ = choice.temperature
        self._settle(heads[choice.name])

    def _called(self, classes: npt.NDArray[Any], encoder: Encoder | None) -> Called | None:
        """The labels' words as features, where they may join the examples."""
        if self.class_names not in (True, False, "auto"):
            raise InputError(f"class_names={self.class_names!r}: give True, False or 'auto'")
        names = called(encoder, classes) if self.class_names else None
        if names is None and self.class_names is True:
            raise InputError(
                "class_names=True, and there are no words to read: it is for sentences whose labels are words"
            )
        return names

    def _settle(self, head: Head) -> None:
        self._plain, self._head = head, with_unlabeled(head, self._free, len(self.classes_))
        if self.named_ and (names := called(self._encoder, self.classes_)) is not None:
            self._head = names.primed(self._head)
        with torch.no_grad():
            self._state = self._head.adapt(self._support())

    def _support(self) -> Examples:
        codes = np.searchsorted(self.classes_, self.y_)
        return Examples(torch.from_numpy(np.array(self.X_)), rows_of(codes, len(self.classes_)))

    def _sizes(self) -> tuple[int, int, int]:
        return len(self.X_), len(self.classes_), self.X_.shape[1]

    def _queries(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return torch.from_numpy(self._features(X, self._encoder, reset=False))

    def _column(self, label: Any) -> int:
        """The column of a class."""
        found = np.flatnonzero(self.classes_ == label)
        if not len(found):
            raise InputError(f"target={label!r} is no class: they are {listed(map(str, self.classes_))}")
        return int(found[0])

    def _raw(self, x: Tensor) -> Tensor:
        """Logits ``[Q, D]``."""
        size = max(1, _AT_ONCE // (len(self.X_) * self.X_.shape[1]))
        with torch.no_grad():
            return torch.cat([self._head.predict(self._state, part)[0] for part in x.split(size)])
