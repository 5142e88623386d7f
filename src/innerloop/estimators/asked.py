"""What a classifier from few examples says of its answers and of its examples, beside the answers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.estimators.attributing import attributed
from innerloop.estimators.suspects import Suspect, suspects_of
from innerloop.evidence import Explanation, explain_classes
from innerloop.evidence.attributed import Attributions
from innerloop.evidence.attribution import Of, value_of
from innerloop.evidence.similar import likeness

if TYPE_CHECKING:
    from innerloop.core.task import Examples
    from innerloop.encoders.base import Encoder
    from innerloop.learners.head import Head


class Asked:
    """Why an answer, which examples are suspect, what of the input counts: of a fitted classifier on features."""

    X_: Any
    classes_: Any
    names_: Any
    temperature_: float
    _head: Head
    _plain: Head
    _state: Any
    _encoder: Encoder | None

    if TYPE_CHECKING:

        def _queries(self, X: Any) -> Tensor: ...
        def _support(self) -> Examples: ...
        def _column(self, label: Any) -> int: ...
        def _raw(self, x: Tensor) -> Tensor: ...

    def explain(
        self,
        X: Any,
        k: int = 5,
        *,
        turn: bool = True,
        shapley: bool = False,
        groups: Sequence[Sequence[int]] | None = None,
    ) -> Explanation:
        """Why queries get their classes: what each example did to the answer, exactly, by refits without it.

        Head and temperature stay as they were chosen with all examples.

        Args:
            X: as at ``fit``, Q of them.
            k: examples in each list of the text.
            turn: whether to search the smallest set of examples without which the answer is another one (greedily).
            shapley: whether to share each probability out among the examples, over all orders of coming: exactly up to
                12 examples or groups, by random orders beyond.
            groups: places of examples that come and go together, for the shares.

        Returns:
            a sequence of reasons, which print as text and in a notebook as tables.

        Example:
            >>> import innerloop as il
            >>> X, y = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.2, 1.0]], ["a", "a", "b", "b"]
            >>> reason = il.FewShotClassifier("features", "prototypes").fit(X, y).explain([[1.0, 0.2]])[0]
            >>> reason.answer, reason.nearest, reason.turn.without
            ('a', 1, (0, 1))
        """
        x, support = self._queries(X), self._support()
        return explain_classes(
            self._head,
            support,
            x,
            classes=self.classes_,
            names=self.names_,
            similarity=likeness(self._plain, support.x, x),
            temperature=self.temperature_,
            shown=k,
            turn=turn,
            shapley=shapley,
            groups=groups,
        )

    def suspects(self) -> list[Suspect]:
        """The examples, those first whose label is most likely wrong, each with the label that it would rather have.

        It is exact, by refits: how much likelier all labels become, each told by the other examples, if this one is
        another.

        Returns:
            all of them; a ``suspicion`` above 0 speaks for the other label. That of the only example of its class is
            minus infinity: nothing tells.

        Example:
            >>> import innerloop as il
            >>> X, y = [[0.0], [0.1], [0.2], [5.0], [5.1], [0.15]], ["a", "a", "a", "b", "b", "b"]
            >>> first = il.FewShotClassifier("features", "nearest-euclidean").fit(X, y).suspects()[0]
            >>> first.place, first.label, first.likelier, first.suspicion > 0
            (5, 'b', 'a', True)
        """
        check_is_fitted(self)
        return suspects_of(self._head, self._support(), self.temperature_, self.classes_, self.names_)

    def attribute(
        self,
        X: Any,
        method: str | None = None,
        *,
        target: Any = None,
        of: Of = "log odds",
        patch: int | None = None,
        samples: int = 20,
        sensitive: int = 0,
        seed: int = 0,
    ) -> Attributions:
        """What of each query its class comes from: words, columns, pixels or patches, or features.

        A word that is not there is left out of the sentence; a column has the values that it has in the examples, one
        after the other, on average; a patch of a photograph has its mean color, one of a drawing no ink. Contributions
        of ``"shapley"`` and ``"integrated gradients"`` add up.

        Args:
            X: as at ``fit``, Q of them.
            method: ``"occlusion"``, ``"shapley"``, ``"integrated gradients"`` or ``"saliency"``, see
                :func:`innerloop.evidence.attribute`; default ``"occlusion"``, of few columns ``"shapley"``, of
                drawings and ready features ``"integrated gradients"``. The last two go by the embeddings of words.
            target: the class that is explained, or one for each query; default the answer.
            of: ``"log odds"`` of the class against all others, or its ``"probability"``.
            patch: of pictures, the side of a part, in pixels of what the network sees.
            samples: sets of parts that are taken away to find the infidelity.
            sensitive: small changes of the query that are tried to find the sensitivity, each of which is one more
                attribution.
            seed: of all that is drawn.

        Raises:
            InputError: for a class that there is not, a method that does not suit the input, an encoder of pictures
                that is no torch module, or where captum is not installed.

        Example:
            >>> import innerloop as il
            >>> X, y = [[1.0, 0.0], [1.0, 0.1], [0.0, 0.0], [0.2, 0.1]], ["a", "a", "b", "b"]
            >>> found = il.FewShotClassifier("features", "prototypes-euclidean").fit(X, y).attribute([[1.0, 0.0]])[0]
            >>> found.answer, found.strongest[0]
            ('a', 0)
        """
        x = self._queries(X)
        asked = [] if target is None else [target] * len(x) if np.ndim(target) == 0 else list(target)
        if target is not None and len(asked) != len(x):
            raise InputError(f"target names {len(asked)} classes for {len(x)} queries: give one, or one for each")
        columns = [self._column(label) for label in asked] or self._raw(x).argmax(1).tolist()

        def score(features: Tensor, place: int) -> Tensor:
            raw = self._head.predict(self._state, features)
            return value_of(self._head.likelihood, raw, columns[place], of, self.temperature_)

        return attributed(
            x if self._encoder is None else X,
            known=self.X_,
            encoder=self._encoder,
            score=score,
            answers=[self.classes_.tolist()[column] for column in columns],
            of=of,
            names=list(map(str, getattr(self, "feature_names_in_", ()))),
            method=method,
            patch=patch,
            samples=samples,
            sensitive=sensitive,
            seed=seed,
        )
