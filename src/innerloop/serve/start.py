"""Tasks that a service has from its start: bundles in folders, brought in once however often it is started."""

from __future__ import annotations

from pathlib import Path

from innerloop.bundle import digest_of
from innerloop.serve.keeping import parts_in, task_of
from innerloop.serve.keys import LOCAL
from innerloop.serve.replica import Replica
from innerloop.serve.routes_keep import news_of
from innerloop.serve.store import LASTING, Once


def brought(replica: Replica, path: Path, tenant: str = LOCAL) -> str:
    """The id of the task of a bundle, which is made if this bundle was not brought in before.

    Args:
        replica: that serves it.
        path: of the bundle.
        tenant: whose task it is.

    Raises:
        InputError: for a folder that is no bundle of a classifier.
    """
    digest = digest_of(path)
    kept = task_of(parts_in(path), replica.settings)
    options = replica.options(kept.kind, kept.options.head, kept.options.class_names)
    new = news_of(replica, kept)
    once = Once(LASTING + digest, digest)
    made = replica.store.filled(tenant, path.name[:200].strip() or kept.name, kept.kind, options, new, once)
    return str(made.answer["id"])
