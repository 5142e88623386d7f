"""Tasks that a service has from its start: bundles in folders, brought in once however often it is started."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from innerloop.bundle import digest_of
from innerloop.serve.keeping import task_of
from innerloop.serve.keys import LOCAL
from innerloop.serve.replica import Replica
from innerloop.serve.routes_keep import news_of
from innerloop.serve.store import Once


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
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for part in sorted(one for one in path.rglob("*") if one.is_file()):
            file.write(part, str(part.relative_to(path)))
    content = packed.getvalue()
    kept = task_of(content, max(len(content), replica.settings.body), replica.settings)
    options = replica.options(kept.kind, kept.options.head, kept.options.class_names)
    new = news_of(replica, kept)
    once = Once(f"start-{digest}", digest)
    made = replica.store.filled(tenant, path.name[:200].strip() or kept.name, kept.kind, options, new, once)
    return str(made.answer["id"])
