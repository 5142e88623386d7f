"""What scikit-learn offers around an estimator, where its version has it: a link to its page, progress by callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any, TypeVar, cast

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as managed
except ImportError:
    # Before scikit-learn 1.9 there are none.
    CallbackSupportMixin, managed = object, None

Method = TypeVar("Method", bound=Callable[..., Any])


def with_callbacks(method: Method) -> Method:
    """A ``fit`` that callbacks are set up and torn down around.

    Example:
        >>> with_callbacks(lambda self: 3)(object())
        3
    """
    return method if managed is None else cast("Method", managed(method))


class Manners(CallbackSupportMixin):  # type: ignore[misc]
    """Callbacks, and in the HTML form a link to the documentation, where the package's metadata names its address."""

    _doc_link_module = "innerloop"

    @property
    def _doc_link_template(self) -> str:
        home = _documentation()
        return f"{home}#{type(self).__name__.lower()}" if home else ""


class Tasks:
    """What ``fit`` is made of, told to scikit-learn's callbacks, such as its ``ProgressBar``.

    Args:
        estimator: that is fitted, within :func:`with_callbacks`.
        X: what it learns from.
        y: its targets.
        names: of the tasks, in their order.

    Example:
        >>> with Tasks(object(), None, None, ("encoding",)).all() as tasks, tasks.one("encoding"):
        ...     pass
    """

    def __init__(self, estimator: Any, X: Any, y: Any, names: tuple[str, ...]) -> None:
        self._said = {"estimator": estimator, "X": X, "y": y}
        begin = getattr(estimator, "_init_callback_context", None)
        self._whole = begin(max_subtasks=len(names)) if begin is not None else None

    @contextmanager
    def all(self) -> Iterator[Tasks]:
        """While all of them run."""
        with _told(self._whole, self._said):
            yield self

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """While one of them runs."""
        part = self._whole.subcontext(task_name=name) if self._whole is not None else None
        with _told(part, self._said):
            yield


@contextmanager
def _told(context: Any, said: dict[str, Any]) -> Iterator[None]:
    if context is None:
        yield
        return
    context.call_on_fit_task_begin(**said)
    yield
    context.call_on_fit_task_end(**said)


@cache
def _documentation() -> str:
    """The address that the package's metadata names."""
    try:
        addresses = metadata("innerloop").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    found = dict(line.split(", ", 1) for line in addresses)
    return found.get("Documentation", "")
