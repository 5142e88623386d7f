"""A regressor from a few examples of one's own, as a scikit-learn estimator that says how far it can be off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils import Tags, check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from innerloop.bundle import save
from innerloop.bundle.bundle import Bundle, Contents
from innerloop.core.facts import Facts
from innerloop.core.task import InputError, did_you_mean
from innerloop.encoders.base import Encoder
from innerloop.encoders.find import find
from innerloop.estimators import smoothers
from innerloop.estimators.attributing import attributed
from innerloop.estimators.keeping import brought_encoder, kept, with_encoder
from innerloop.estimators.manners import Manners, Tasks, with_callbacks
from innerloop.estimators.mixture import HEADS, IN_CONTEXT, cells, mixed, network, numbers
from innerloop.estimators.places import all_but, names_of
from innerloop.estimators.smoothers import SMOOTHERS, Setting
from innerloop.evidence import Explanation
from innerloop.evidence.attributed import Attributions
from innerloop.evidence.intervals import Intervals, checked, conformal_interval, jackknife_plus
from innerloop.evidence.reasoned import Shown, reasons_of_numbers
from innerloop.evidence.similar import nearness
from innerloop.learners.heads.ridge import Ridge

Floats = npt.NDArray[np.float64]

_FITTED = ("encoder_", "head_", "weights_", "settings_", "error_", "error_interval_", "names_")


class _Examples(NamedTuple):
    """What is learned from."""

    x: Floats
    y: Floats
    names: npt.NDArray[Any]
    encoder_name: str
    encoder: Encoder | None


class FewShotRegressor(Manners, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts a number from a few examples, and says how far it can be off.

    Examples are pictures, sentences, rows of a data frame, or ready features. Ready features are taken as they are:
    numbers of several units are a table (``encoder="table"``), whose columns are standardized.

    With ``head="auto"`` a table goes to in-context (:class:`InContextRegressor`) alone. Elsewhere heads are tried by
    exact leave-one-out: ridge (its penalty by leave-one-out), gp (a Gaussian process, squared exponential, its length
    scale and noise by marginal likelihood), nearest (the number of neighbors by leave-one-out). Which of them is best
    is hardly told by ten examples, so predictions are mixed: each head counts as its mean squared error to the power
    ``-N / 2``, which is how likely normal errors are. With more examples one head takes all.

    Args:
        encoder: what turns X into features, as for :class:`FewShotClassifier`.
        head: ``"auto"``, ``"ridge"``, ``"gp"``, ``"nearest"`` or ``"in-context"``.

    Attributes:
        encoder_: what X was taken for.
        head_: the name of the head that counts most; of equally good ones the first in the order above.
        weights_: by name, what each head counts, in sum 1.
        settings_: by name, the hyperparameters of each.
        error_: the expected error, as the root of the mean square, in the units of y: by leave-one-out, where weights
            and hyperparameters are found anew without each example.
        error_interval_: of 95 %.
        X_: the features of the examples, ``[N, H]``.
        y_: their targets, ``[N]``.
        names_: what the examples are called, ``[N]``: paths, sentences, or their numbers.
        n_features_in_: H, where features came ready.

    Raises:
        InputError: (a ValueError) for targets that are missing or no numbers, a single example, and an unknown head.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> few = FewShotRegressor().fit(X[:30], y[:30])
        >>> found = few.predict_interval(X[30:32], coverage=0.9)
        >>> found.promised, bool((found.low < few.predict(X[30:32])).all())
        (0.9, True)

    References:
        Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*, 2005 (intervals). Dubrule, *Cross validation
        of kriging in a unique neighborhood*, Mathematical Geology 1983 (leave-one-out).
    """

    def __init__(self, encoder: str | Encoder | nn.Module = "auto", head: str = "auto") -> None:
        self.encoder = encoder
        self.head = head

    @with_callbacks
    def fit(self, X: Any, y: Any) -> Self:
        """Learn from examples.

        Args:
            X: N pictures or sentences in a list or column; a data frame; or features ``[N, H]``.
            y: targets ``[N]``, numbers.
        """
        with Tasks(self, X, y, ("encoding", "choice")).all() as tasks:
            with tasks.one("encoding"):
                examples = self._examples(X, y, reset=True)
            with tasks.one("choice"):
                self._learn(examples)
        return self

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Learn further examples, as if all had come at once.

        Args:
            X: as at ``fit``.
            y: targets ``[N]``.
        """
        known = hasattr(self, "X_")
        new = self._examples(X, y, reset=not known)
        if known:
            x, y, names = (
                np.concatenate(pair)
                for pair in zip((self.X_, self.y_, self.names_), (new.x, new.y, new.names), strict=True)
            )
            new = _Examples(x, y, names, self.encoder_, self._encoder)
        self._learn(new)
        return self

    def forget(self, *, index: Any) -> Self:
        """Unlearn single examples, as if they had never come.

        Args:
            index: the place, or places, of examples in ``X_``.

        Raises:
            InputError: for a place that there is not, or if fewer than two examples would be left.
        """
        check_is_fitted(self)
        keep = all_but(index, len(self.y_))
        self._learn(_Examples(self.X_[keep], self.y_[keep], self.names_[keep], self.encoder_, self._encoder))
        return self

    def predict(self, X: Any) -> Floats:
        """What is expected for each query, ``[Q]``."""
        x = self._queries(X)
        return self._with(self.X_, self.y_, x)

    def predict_interval(
        self, X: Any, coverage: float = 0.9, method: Literal["auto", "full", "jackknife+"] = "auto"
    ) -> Intervals:
        """Where the target of each query lies, with a guarantee for queries that come as the examples came.

        ``"full"`` is full conformal prediction: a target lies within with a probability of ``coverage`` at least. It is
        exact: every target is tried, and with each of them head and hyperparameters are chosen anew. For
        ``head="auto"`` it is by the single best of ridge, gp and nearest, which are in closed form, on tables too; so
        what :meth:`predict` says may lie outside of it. ``"jackknife+"`` takes refits without each
        example, promises ``2 coverage - 1``, and mostly gives ``coverage``.

        Args:
            X: as at ``fit``, Q of them.
            coverage: n examples promise ``n / (n + 1)`` at most.
            method: ``"auto"`` is ``"full"``, and ``"jackknife+"`` for ``head="in-context"``.

        Returns:
            the ends, what is promised, and by which method. Ends are infinite where the examples tell nothing.

        Raises:
            InputError: for a coverage that so few examples cannot promise.
        """
        if method not in ("auto", "full", "jackknife+"):
            raise InputError(f"method={method!r} is unknown: choose of 'auto', 'full' and 'jackknife+'")
        if method == "full" and self.head == IN_CONTEXT:
            raise InputError("the in-context network is in no closed form, which 'full' needs: give 'jackknife+'")
        x = self._queries(X)
        checked(coverage, len(self.y_))
        if method == "jackknife+" or self.head == IN_CONTEXT:
            return self._by_refits(x, coverage)
        heads = SMOOTHERS if self.head == "auto" else (self.head_,)
        ends = []
        for query in x:
            known = self._numbers(np.concatenate((self.X_, query[None])))[0]
            ends.append(conformal_interval(smoothers.lines(known, self.y_, heads), coverage))
        low, high = np.array(ends).T
        return Intervals(low, high, coverage, "full")

    def explain(
        self, X: Any, k: int = 5, *, shapley: bool = False, groups: Sequence[Sequence[int]] | None = None
    ) -> Explanation:
        """Why queries get their numbers: how far each example pulls them, exactly, by refits without it.

        Weights and hyperparameters stay as they were chosen with all examples.

        Args:
            X: as at ``fit``, Q of them.
            k: examples in each list of the text.
            shapley: whether to share each number (less the mean of the targets) out among the examples, over all orders
                of coming: exactly up to 12 examples or groups, by random orders beyond.
            groups: places of examples that come and go together, for the shares.

        Returns:
            a sequence of reasons, which print as text and in a notebook as tables.

        Example:
            >>> few = FewShotRegressor("features", "nearest").fit([[0.0], [1.0], [5.0]], [2.0, 4.0, 9.0])
            >>> few.explain([[4.0]])[0].evidence.tolist()
            [0.0, 0.0, 5.0]
        """
        x = self._queries(X)
        known, asked = self._numbers(self.X_, x)
        near: Floats = -smoothers.distances(asked, known)

        def refits(subsets: Tensor, queries: slice) -> Tensor:
            said = [self._with(self.X_[rows], self.y_[rows], x[queries]) for rows in subsets.numpy()]
            return torch.from_numpy(np.stack(said)).unsqueeze(2)

        predicted = refits(torch.arange(len(self.y_))[None], slice(None))[0].numpy()
        cheap = {"similarity": nearness(near) * (self.y_ - predicted)}
        told = Shown(self.names_, near, cheap, k)
        return reasons_of_numbers(refits, torch.from_numpy(self.y_).unsqueeze(1), len(x), told, shapley, groups)

    def attribute(
        self,
        X: Any,
        method: str | None = None,
        *,
        patch: int | None = None,
        samples: int = 20,
        sensitive: int = 0,
        seed: int = 0,
    ) -> Attributions:
        """What of each query its number comes from: words, columns, patches, or features.

        What stands for a part that is not there is said at :meth:`FewShotClassifier.attribute`. Contributions of
        ``"shapley"`` add up to the number less that of nothing.

        Args:
            X: as at ``fit``, Q of them.
            method: ``"occlusion"`` or ``"shapley"``; default ``"shapley"`` of few columns or features.
            patch: of pictures, the side of a part, in pixels of what the network sees.
            samples: sets of parts that are taken away to find the infidelity.
            sensitive: small changes of the query that are tried to find the sensitivity.
            seed: of all that is drawn.

        Raises:
            InputError: for a method that needs a derivative, an encoder of pictures that is no torch module, or where
                captum is not installed.

        Example:
            >>> few = FewShotRegressor("features", "ridge").fit([[0.0, 1.0], [1.0, 0.0], [5.0, 1.0]], [2.0, 4.0, 9.0])
            >>> found = few.attribute([[4.0, 0.0]])[0]
            >>> found.method, found.strongest[0], abs(found.completeness) < 1e-6
            ('shapley', 0, True)
        """
        x = self._queries(X)

        def score(features: Tensor, place: int) -> Tensor:
            return torch.from_numpy(self._with(self.X_, self.y_, features.detach().numpy()))

        return attributed(
            torch.from_numpy(x) if self._encoder is None else X,
            known=self.X_,
            encoder=self._encoder,
            score=score,
            answers=self._with(self.X_, self.y_, x).tolist(),
            of="number",
            names=list(map(str, getattr(self, "feature_names_in_", ()))),
            method=method,
            patch=patch,
            samples=samples,
            sensitive=sensitive,
            seed=seed,
            smooth=False,
        )

    def save(self, path: str | Path, *, replace: bool = False) -> Path:
        """Keep it as a bundle, which :func:`innerloop.load` reads anywhere.

        Args:
            path: the folder, which is made.
            replace: whether a bundle that is there gives way.
        """
        return save(path, self, replace=replace)

    def to_bundle(self) -> Contents:
        """What it is made of: the examples, and what was found of them."""
        check_is_fitted(self)
        optional = ("n_features_in_", "feature_names_in_")
        fitted = {name: getattr(self, name) for name in (*_FITTED, *optional) if hasattr(self, name)}
        asked = {"encoder": self.encoder if isinstance(self.encoder, str) else None, "head": self.head}
        state = {"X": self.X_, "y": self.y_, "asked": asked, "fitted": fitted, "encoder": kept(self._encoder)}
        # One's own network is kept as that of a learner.
        carrier = with_encoder(Ridge(), self._encoder)
        learner = None if isinstance(carrier, Ridge) else carrier
        return Contents(learner, state, Facts("vectors", (self.X_.shape[1],), 1, "regression"))

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        """The regressor again."""
        state = bundle.state
        learner = bundle.learner if bundle.record.get("build") is not None else None
        encoder = brought_encoder(learner, state["encoder"], bundle.path)
        asked = state["asked"]
        made = cls(asked["encoder"] or encoder or "auto", asked["head"])
        made._encoder = encoder
        for name, value in state["fitted"].items():
            setattr(made, name, value)
        made.X_, made.y_ = state["X"], state["y"]
        made._settle()
        return made

    def __getstate__(self) -> dict[str, Any]:
        # Arrays and plain values, which skops stores; what the network has read it reads again.
        state = dict(super().__getstate__())
        state.pop("_network", None)
        if "settings_" in state:
            state["settings_"] = {name: list(setting) for name, setting in state["settings_"].items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "settings_" in state:
            self.settings_ = {name: Setting(*values) for name, values in state["settings_"].items()}
            self._settle()

    @property
    def transformer_(self) -> Encoder | None:
        """The encoder; ``None`` where features were given."""
        return self._encoder

    def _examples(self, X: Any, y: Any, *, reset: bool) -> _Examples:
        if self.head not in ("auto", *HEADS):
            near = did_you_mean(str(self.head), HEADS)
            raise InputError(f"head {self.head!r} is unknown{near}: choose of auto, {', '.join(HEADS)}")
        if reset:
            name, encoder = find(self.encoder, X)
            encoder = clone(encoder).fit(X) if encoder is not None else None
        else:
            name, encoder = self.encoder_, self._encoder
        if encoder is None:
            # Missing targets in scikit-learn's words.
            x, y = validate_data(self, X, y, dtype=np.float64, reset=reset, y_numeric=True, ensure_min_samples=1)
            x, y = np.array(x), _targets(y)
        else:
            y = _targets(y)
            x = encoder.transform(X).astype(np.float64)
            for said in ("n_features_in_", "feature_names_in_") if reset else ():
                if hasattr(encoder, said):
                    setattr(self, said, getattr(encoder, said))
        check_consistent_length(x, y)
        return _Examples(x, y, names_of(X, len(x), encoder), name, encoder)

    def _learn(self, examples: _Examples) -> None:
        """From all examples. Nothing is changed before everything was found."""
        x, y, encoder = examples.x, examples.y, examples.encoder
        if len(y) < 2:
            raise InputError(f"{len(y)} sample, and there is nothing to learn a relation from: give two at least")
        found = mixed(x, y, encoder, self._tried(encoder))
        self.X_, self.y_, self.names_ = x, y, examples.names
        self.encoder_, self._encoder = examples.encoder_name, encoder
        self.head_, self.weights_, self.settings_, self.error_, self.error_interval_ = found
        self._settle()

    def _tried(self, encoder: Encoder | None) -> tuple[str, ...]:
        if self.head != "auto":
            return (self.head,)
        # On tables the network alone does better than any mixture with it.
        return (IN_CONTEXT,) if encoder is not None and encoder.kind == "table" else SMOOTHERS

    def _settle(self) -> None:
        reads = IN_CONTEXT in self.weights_
        self._network = network(cells(self.X_, self._encoder), self.y_) if reads else None

    def _queries(self, X: Any) -> Floats:
        check_is_fitted(self)
        if self._encoder is not None:
            return self._encoder.transform(X).astype(np.float64)
        return np.array(validate_data(self, X, dtype=np.float64, reset=False))

    def _numbers(self, x: Floats, *more: Floats) -> list[Floats]:
        return numbers(self._encoder, x, *more)

    def _by_refits(self, x: Floats, coverage: float) -> Intervals:
        """Jackknife+, everything chosen anew without each example."""
        residuals, predictions = [], []
        for row in range(len(self.y_)):
            others = np.arange(len(self.y_)) != row
            asked = np.concatenate((self.X_[row : row + 1], x))
            said = self._refit(self.X_[others], self.y_[others], asked)
            residuals.append(self.y_[row] - said[0])
            predictions.append(said[1:])
        return jackknife_plus(np.array(residuals), np.stack(predictions), coverage)

    def _with(self, x: Floats, y: Floats, asked: Floats) -> Floats:
        """What is predicted from some examples, weights and hyperparameters as they are."""
        read = self._network
        if read is not None and x is not self.X_:
            read = network(cells(x, self._encoder), y)
        # Columns of a table stay in the units of all examples.
        _, known, wide = self._numbers(self.X_, x, asked)
        total = np.zeros(len(asked))
        for name, weight in self.weights_.items():
            if name != IN_CONTEXT:
                total += weight * smoothers.predict(self.settings_[name], known, y, wide)
            elif read is not None:
                total += weight * read.predict(cells(asked, self._encoder))
        return total

    def _refit(self, x: Floats, y: Floats, asked: Floats) -> Floats:
        if len(y) < 2:
            return np.full(len(asked), y[0])
        if self._tried(self._encoder) == (IN_CONTEXT,):
            # There is nothing to choose.
            return network(cells(x, self._encoder), y).predict(cells(asked, self._encoder))
        other = FewShotRegressor(head=self.head)
        other._learn(_Examples(x, y, self.names_[: len(y)], self.encoder_, self._encoder))
        return other._with(x, y, asked)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # Of three examples there is little to say.
        tags.regressor_tags.poor_score = False
        return tags


def _targets(y: Any) -> Floats:
    if y is None:
        raise InputError("y is missing: give a number for each example")
    values = column_or_1d(np.asarray(y), warn=True)
    if values.dtype.kind not in "biufO":
        raise InputError(f"y is of type {values.dtype}, a regressor's targets are numbers: convert it first")
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y holds what is no number ({error}): a regressor's targets are numbers") from None
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"y is {values[place]} in row {place}: give a number for each example, or leave the row out")
    return values
