"""Bundles on the Hugging Face hub, by its own library: uploaded with a card, verified when they are downloaded."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from innerloop.bundle import folder
from innerloop.bundle.bundle import Bundle, read
from innerloop.bundle.saving import save
from innerloop.core.files import remove, temporary_beside, writing
from innerloop.core.task import InputError

#: What a bundle on the hub consists of.
_FILES = [folder.RECORD, "weights-*.safetensors", "state-*.safetensors"]
_CARD = "README.md"
#: What the hub calls a task, by the kind of its inputs.
_PIPELINES = {"images": "image-classification", "text": "text-classification", "table": "tabular-classification"}
#: Classes that a card lists by name.
_LISTED = 50


def upload(
    thing: Any, repo: str, *, private: bool = True, message: str | None = None, endpoint: str | None = None
) -> str:
    """Put a bundle on the hub, in one commit, with a card made from what it says of itself.

    Whoever may read it gets all that the bundle holds: the features of a task's examples, and what these are called.
    Log in beforehand by ``hf auth login``.

    Args:
        thing: the folder of a bundle, or what :func:`innerloop.save` takes.
        repo: ``"user/name"``, which is made if it is not there.
        private: whether a new repository is seen by its owner alone.
        message: of the commit.
        endpoint: another hub than huggingface.co.

    Returns:
        the address of the commit.

    Raises:
        InputError: for what is no bundle, a name that is none, a hub that refuses or is out of reach, or where the
            extra is not installed.
    """
    api = _api(repo, endpoint)
    with tempfile.TemporaryDirectory() as place, _answering(repo):
        path = Path(thing) if isinstance(thing, (str, os.PathLike)) else save(Path(place) / "saved", thing)
        bundle = read(path)
        sent = Path(place) / "sent"
        sent.mkdir()
        for name in (folder.RECORD, *(file["name"] for file in bundle.record["files"].values())):
            shutil.copyfile(bundle.path / name, sent / name)
        (sent / _CARD).write_text(card(bundle, repo), encoding="utf-8")
        api.create_repo(repo, private=private, exist_ok=True)
        # Tensors of an earlier bundle have other names.
        made = api.upload_folder(
            repo_id=repo, folder_path=sent, commit_message=message or "A bundle of innerloop",
            delete_patterns=["*.safetensors"],
        )  # fmt: skip
    return str(made.commit_url)


def download(
    repo: str, to: str | Path, *, revision: str | None = None, replace: bool = False, endpoint: str | None = None
) -> Path:
    """Get a bundle from the hub. Every file is verified by its checksum before anything is put in place.

    Checksums tell damage, not who wrote it: see ``docs/bundle.md`` on trust.

    Args:
        repo: ``"user/name"``.
        to: the folder, which is made.
        revision: a branch, tag or commit; default the newest.
        replace: whether a bundle that is there gives way.
        endpoint: another hub than huggingface.co.

    Returns:
        the folder, for :func:`innerloop.load`.

    Raises:
        InputError: for a repository that is not there or holds no bundle, files that are not what was written, a hub
            that is out of reach, or where the extra is not installed. Nothing is changed then.
    """
    api, path = _api(repo, endpoint), Path(to)
    folder.check_place(path, replace)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    fetched = temporary_beside(path)
    try:
        with tempfile.TemporaryDirectory() as cache, _answering(repo):
            found = api.snapshot_download(
                repo, revision=revision, cache_dir=cache, allow_patterns=[*_FILES, _CARD], max_workers=1
            )
            with writing(path):
                # Files of the cache are links to others.
                shutil.copytree(found, fetched)
        read(fetched)
        with writing(path):
            _put(fetched, path)
    finally:
        if fetched.exists():
            remove(fetched)
    return path


def _put(fetched: Path, path: Path) -> None:
    """Move a bundle into place: who reads meanwhile, and who is killed, leaves the old one or the new one."""
    if not (path / folder.RECORD).is_file():
        os.rename(fetched, path)
        return
    new = {file.name for file in fetched.iterdir()}
    # The record last: it names the tensors, whose names are their content's.
    for name in sorted(new, key=lambda name: name == folder.RECORD):
        os.replace(fetched / name, path / name)
    for file in path.glob("*.safetensors"):
        if file.name not in new:
            file.unlink(missing_ok=True)


def card(bundle: Bundle, repo: str) -> str:
    """The model card of a bundle: facts for the hub, and words for people.

    Args:
        bundle: that was read.
        repo: ``"user/name"``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     path = il.save(f"{place}/net", il.ProtoNet(il.nets.mlp(8, 4)), card={"license": "Apache-2.0"})
        ...     print(card(il.bundle.read(path), "me/net").splitlines()[1])
        license: apache-2.0
    """
    said, facts, classes = bundle.card, bundle.facts, bundle.classes
    front: dict[str, Any] = {
        "license": said["license"].strip().lower() if _short(said.get("license", "")) else "other",
        "library_name": "innerloop",
        "tags": ["innerloop", "few-shot", "meta-learning"],
    }
    pipeline = _PIPELINES.get(facts.kind) if facts is not None and facts.objective == "classification" else None
    if pipeline is not None:
        front["pipeline_tag"] = pipeline
    # JSON is YAML: no word of anybody's can become more than a word.
    lines = ["---", *(f"{name}: {_yaml(value)}" for name, value in front.items()), "---", "", f"# {_plain(repo)}", ""]
    titles = {"what": None, "data": "Data", "figures": "Figures", "limits": "Limits", "license": "License"}
    for name, title in titles.items():
        if said.get(name):
            lines += ([f"## {title}", ""] if title else []) + [_plain(said[name]), ""]
    if classes:
        more = f", and {len(classes) - _LISTED} more" if len(classes) > _LISTED else ""
        lines += ["## Classes", "", f"{len(classes)}: {', '.join(map(_plain, classes[:_LISTED]))}{more}", ""]
    digest = folder.digest_of(bundle.path)
    lines += [
        "## Use", "", "```python", "import innerloop as il", "from innerloop.bundle import hub", "",
        f'task = il.load(hub.download("{repo}", "task"))', "```", "",
        f"Written by innerloop {bundle.versions.get('innerloop', '?')}; SHA-256 of the record: `{digest}`.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    plain = isinstance(value, str) and value.replace("-", "").replace(".", "").isalnum()
    return str(value) if plain else json.dumps(value)


def _short(text: str) -> bool:
    """Whether a license is a name and no sentence."""
    return bool(text.strip()) and len(text) < 40 and " " not in text.strip()


def _plain(text: str) -> str:
    """Words without what a page would take for markup of its own."""
    return " ".join(str(text).split()).replace("<", "&lt;").replace("`", "'")


def _api(repo: str, endpoint: str | None) -> Any:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
    except ImportError:
        raise InputError("the hub needs an extra: pip install 'innerloop[hub]'") from None
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"{repo!r} is no name of a repository ({error}): give 'user/name'") from None
    return HfApi(endpoint=endpoint, library_name="innerloop")


@contextmanager
def _answering(repo: str) -> Iterator[None]:
    """Within, what the hub or the way to it refuses becomes one line."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        yield
    except InputError:
        raise
    except RepositoryNotFoundError:
        raise InputError(
            f"the hub has no repository {repo!r}, or it is not yours to see: log in by hf auth login"
        ) from None
    except HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "?")
        why = " ".join(str(error).split())[:200]
        raise InputError(
            f"the hub refuses {repo!r} (status {status}: {why}): check your rights, or log in anew"
        ) from None
    except LocalEntryNotFoundError as error:
        raise InputError(f"the hub cannot be reached for {repo!r} ({' '.join(str(error).split())[:160]})") from None
    except OSError as error:
        raise InputError(f"the hub cannot be reached for {repo!r} ({error})") from None
    except Exception as error:
        # The library passes on what the one below it says of a connection.
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpcore", "requests", "urllib3"):
            raise
        raise InputError(f"the hub cannot be reached for {repo!r} ({type(error).__name__}: {error})") from None
