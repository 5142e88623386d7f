"""A task of a service with the face of the estimator: what is learned and asked here happens there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from innerloop.core.task import InputError
from innerloop.serve.calls import Calls
from innerloop.serve.kinds import KINDS
from innerloop.serve.sending import kind_of, listed, plain_labels, sent

if TYPE_CHECKING:
    import httpx

#: Of a body that is sent, by its base64 and text: no more than this leaves room within the service's limit.
_SHARE = 0.75


class Reason(NamedTuple):
    """What an example did to an answer."""

    example: str
    """Its id."""
    amount: float | None
    """Log odds of the class that was answered; ``None`` where the class goes with the example."""
    probability: float
    """By which it moved the probability of that class."""


class Client:
    """A few-shot classifier that lives in a service, for any number of clients and as long as the service keeps it.

    A change is durable when its call returns, and one that has to be sent again is done once: every write has an
    ``Idempotency-Key``. The service keeps labels as words; after ``fit`` answers have the labels that were given.

    Args:
        url: of the service, such as ``"http://127.0.0.1:8080"``.
        key: one of its keys, where it has keys.
        task: the id of a task that is there; default a new one, which ``fit`` makes.
        kind: ``"images"``, ``"drawings"``, ``"text"``, ``"rows"`` or ``"vectors"``; default by a look at X: pictures
            are taken for photographs.
        head: as in :class:`innerloop.FewShotClassifier`; default by the kind.
        class_names: the same.
        timeout: seconds for each try.
        tries: how often a request is sent, at most: again where the service is not reached, busy, or says 429.
        transport: of httpx; default the network.

    Attributes:
        task_: the id of the task.
        version_: of the task, one more with each change.
        classes_: the labels, sorted.
        ids_: of the examples that ``fit`` sent, in their order.

    Raises:
        InputError: (a ValueError) for an address or a kind that is none, and where httpx is not installed. What the
            service refuses is a :class:`~innerloop.serve.calls.Refused`, an InputError with ``status``, ``detail`` and
            ``request``; where it cannot be reached, :class:`~innerloop.serve.calls.Unavailable`, a ConnectionError.

    Example:
        >>> client = Client("http://127.0.0.1:8080")
        >>> client.fit([[0.9, 0.1], [0.1, 0.9]], ["cat", "dog"])  # doctest: +SKIP
        >>> client.predict([[0.8, 0.3]])  # doctest: +SKIP
        array(['cat'], dtype='<U3')
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        task: str | None = None,
        kind: str | None = None,
        head: str | None = None,
        class_names: bool | Literal["auto"] = "auto",
        timeout: float = 60.0,
        tries: int = 6,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if kind is not None and kind not in KINDS:
            raise InputError(f"kind={kind!r} is unknown: choose of {', '.join(KINDS)}")
        self._calls = Calls(url, key, timeout, tries, transport)
        self._kind, self._options = kind, {"head": head, "class_names": class_names}
        self._limits: dict[str, int] = {}
        self.task_: str
        self.kind_: str
        #: What was given as a label, by the word that the service has.
        self._given: dict[str, Any] = {}
        if task is not None:
            self._seen(self._calls.get(f"/v1/tasks/{task}"))

    def fit(self, X: Any, y: Any) -> Self:
        """Make a new task, and give it its examples; one that was made before stays in the service.

        Args:
            X: N inputs: pictures (paths, bytes of files, Pillow images, arrays ``[H, W]`` or ``[H, W, 3]``), sentences,
                rows (lists or mappings of cells), or vectors ``[N, H]``.
            y: labels ``[N]``.
        """
        inputs, labels = listed(X), plain_labels(y)
        kind = self._kind or kind_of(inputs)
        _check_count(inputs, labels)
        given = dict(zip(map(str, labels), labels, strict=True))
        # Refused here rather than after a task was made.
        bodies = list(self._parts(kind, inputs, list(map(str, labels))))
        options = {name: value for name, value in self._options.items() if value is not None}
        made = self._calls.write("POST", "/v1/tasks", {"kind": kind, "options": options})
        try:
            ids = [one for body in bodies for one in self._added(made["id"], body)]
        except InputError:
            self._calls.write("DELETE", f"/v1/tasks/{made['id']}")
            raise
        self._given = given
        self._seen(self._calls.get(f"/v1/tasks/{made['id']}"))
        self.ids_ = ids
        return self

    def add(self, X: Any, y: Any) -> list[str]:
        """Give the task further examples, of known classes and of new ones.

        Returns:
            the id of each.
        """
        path, inputs, labels = self._path(), listed(X), plain_labels(y)
        _check_count(inputs, labels)
        bodies = list(self._parts(self.kind_, inputs, list(map(str, labels))))
        ids = [one for body in bodies for one in self._added(self.task_, body)]
        self._given |= dict(zip(map(str, labels), labels, strict=True))
        self._seen(self._calls.get(path))
        return ids

    def relabel(self, example: str, label: Any) -> Self:
        """Give an example another label.

        Args:
            example: its id.
            label: the new one.
        """
        self._seen(self._calls.write("PATCH", f"{self._path()}/examples/{example}", {"label": str(label)}), label)
        return self

    def remove(self, example: str) -> Self:
        """Take an example away, by its id."""
        self._seen(self._calls.write("DELETE", f"{self._path()}/examples/{example}"))
        return self

    def delete(self) -> None:
        """Take the task away, with its examples."""
        self._calls.write("DELETE", self._path())
        for name in ("task_", "version_", "kind_", "classes_", "ids_"):
            self.__dict__.pop(name, None)

    def close(self) -> None:
        """Let go of the connections; the task stays."""
        self._calls.close()

    def __enter__(self) -> Self:
        """For ``with``."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of the connections."""
        self.close()

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Class probabilities ``[Q, D]``, columns as in ``classes_``, which is what the task has at that moment."""
        items = self._asked(X)
        return np.array([[one["probabilities"][str(label)] for label in self.classes_] for one in items])

    def predict(self, X: Any, unknown: Literal["reject"] | None = None) -> npt.NDArray[Any]:
        """The most probable class of each query, ``[Q]``.

        Args:
            X: as at ``fit``, Q of them.
            unknown: ``"reject"`` gives ``None`` for what is like no class, in an array of objects: of known classes a
                tenth at most, where there are enough examples to tell.
        """
        if unknown not in (None, "reject"):
            raise InputError(f"unknown={unknown!r}: give 'reject', or leave it out")
        items = self._asked(X)
        labels = [self._label(one["label"]) for one in items]
        if unknown is None:
            return np.array(labels)
        kept = [None if one["none_of_these"] else label for one, label in zip(items, labels, strict=True)]
        return np.array([*kept, None], dtype=object)[:-1]

    def unknown_score(self, X: Any) -> npt.NDArray[np.float64]:
        """How little each query is like any class, ``[Q]``: near 1 for what is like none."""
        return np.array([one["unknown"] for one in self._asked(X)])

    def predict_set(self, X: Any, coverage: float = 0.9) -> list[npt.NDArray[Any]]:
        """The classes that each query may belong to: the true one is among them with a probability of ``coverage``.

        Args:
            X: as at ``fit``, Q of them.
            coverage: n examples promise ``n / (n + 1)`` at most.
        """
        items = self._asked(X, coverage=coverage)
        return [np.array(sorted(map(self._label, one["set"])), dtype=self.classes_.dtype) for one in items]

    def explain(self, X: Any) -> list[list[Reason]]:
        """The ten examples that did most to the answer to each query, those first, by refits without each."""
        found = self._asked(X, evidence=True)
        return [[Reason(**reason) for reason in one["evidence"]] for one in found]

    def examples(self) -> list[dict[str, Any]]:
        """``id``, ``label`` and ``digest`` of the task's examples, in the order in which it learns them."""
        found: list[dict[str, Any]] = self._calls.get(f"{self._path()}/examples")["examples"]
        return [{**one, "label": self._label(one["label"])} for one in found]

    def _asked(self, X: Any, **more: Any) -> list[dict[str, Any]]:
        path, items = self._path(), []
        for body in self._parts(self.kind_, listed(X), None):
            found = self._calls.ask(f"{path}/predict", {**body, **more})
            items += found["items"]
            self.version_ = found["version"]
        words = list(items[0]["probabilities"]) if items else []
        # Parts of a large request may see the task change.
        if any(list(one["probabilities"]) != words for one in items):
            raise InputError("the classes of the task changed while it was asked: ask again")
        self.classes_ = np.array(sorted(map(self._label, words)))
        return items

    def _path(self) -> str:
        if not hasattr(self, "task_"):
            raise InputError("there is no task yet: call fit, or give task= the id of one")
        return f"/v1/tasks/{self.task_}"

    def _label(self, word: str) -> Any:
        return self._given.get(word, word)

    def _seen(self, task: Mapping[str, Any], label: Any = None) -> None:
        """Take over what the service says of the task."""
        if label is not None:
            self._given[str(label)] = label
        self.task_, self.version_, self.kind_ = str(task["id"]), int(task["version"]), str(task["kind"])
        self.classes_ = np.array(sorted(map(self._label, task["classes"])))

    def _added(self, task: str, body: dict[str, Any]) -> list[str]:
        return [one["id"] for one in self._calls.write("POST", f"/v1/tasks/{task}/examples", body)["added"]]

    def _parts(self, kind: str, inputs: Sequence[Any], labels: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        """Bodies of requests, each within the limits of the service."""
        if not inputs:
            raise InputError("X is empty: give at least one input")
        self._limits = self._limits or self._calls.get("/v1/models")["limits"]
        field, name = KINDS[kind].field, "items" if labels is None else "examples"
        part: list[dict[str, Any]] = []
        size = 0
        for place, one in enumerate(inputs):
            value = sent(field, one)
            # Of texts a character may take six bytes.
            more = len(value) * (1 if field == "image" else 6 if field == "text" else 30)
            if part and (len(part) == self._limits["items"] or size + more > _SHARE * self._limits["body"]):
                yield {name: part}
                part, size = [], 0
            part.append({field: value} if labels is None else {"label": labels[place], field: value})
            size += more
        yield {name: part}


def _check_count(inputs: Sequence[Any], labels: Sequence[Any]) -> None:
    if len(inputs) != len(labels):
        raise InputError(f"X has {len(inputs)} inputs and y {len(labels)} labels: give one for each")
