"""A network of the Hugging Face hub, or of a folder in its format, as an encoder; their library runs it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from sklearn.utils import Tags
from torch import Tensor

from innerloop.core.device import find_device
from innerloop.core.task import InputError
from innerloop.encoders.base import Each, Kind
from innerloop.encoders.items import Picture
from innerloop.encoders.own import weights_digest

#: Tokens of a sentence, where the network does not say its limit.
_LONGEST = 512


class _Opened(NamedTuple):
    model: Any
    reader: Any
    """A tokenizer, or what prepares pictures."""
    kind: Kind
    digest: str


class HuggingFace(Each):
    """A network for sentences or for pictures, by its name on the Hugging Face hub, or from a folder.

    It goes by ``"hf:NAME"`` too. Tokenizer or preparation of pictures are the network's own. Code that comes with a
    network is not run.

    Args:
        model: a folder, or a name on the hub, whose files are fetched once.
        pooling: what is taken of the features of all tokens or patches: their ``"mean"`` (for sentences without the
            padding), or the ``"first"``. Networks for pictures and texts at once (CLIP) pool pictures themselves.
        revision: of the hub's repository: a branch, tag or commit.
        cache: the folder that features are kept in beside memory.
        device: what the network runs on.

    Raises:
        InputError: at ``transform``: if the ``transformers`` library is not installed, for a name that it does not
            find, and for a network of neither sentences nor pictures.

    Example:
        >>> HuggingFace("./no_such_folder").kind
        Traceback (most recent call last):
            ...
        innerloop.core.task.InputError: there is no folder ./no_such_folder: check the path of the network
    """

    name = "hf"

    def __init__(
        self,
        model: str | Path,
        *,
        pooling: Literal["mean", "first"] = "mean",
        revision: str | None = None,
        cache: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(cache=cache, device=device)
        self.model = model
        self.pooling = pooling
        self.revision = revision

    @property
    def kind(self) -> Kind:  # type: ignore[override]
        """``"text"`` or ``"images"``: what the network takes."""
        return self._opened().kind

    @property
    def features(self) -> int:  # noqa: D102
        found = self._opened()
        if found.kind == "text":
            item: Any = "a"
        else:
            item = Picture(torch.zeros(3, 8, 8, dtype=torch.uint8), "a picture")
        with torch.inference_mode():
            return self._encode([self._prepare(item)]).shape[1]

    def _opened(self) -> _Opened:
        folder = Path(self.model).expanduser()
        if not folder.is_dir() and (isinstance(self.model, Path) or str(self.model).startswith((".", "/", "~"))):
            raise InputError(f"there is no folder {self.model}: check the path of the network")
        written = max((file.stat().st_mtime_ns for file in folder.iterdir()), default=0) if folder.is_dir() else 0
        return _read(str(folder) if folder.is_dir() else str(self.model), self.revision, written)

    def _fingerprint(self) -> str:
        if self.pooling not in ("mean", "first"):
            raise InputError(f"pooling={self.pooling!r}: give 'mean' or 'first'")
        return f"{self._opened().digest} {self.pooling}"

    def _prepare(self, item: Any) -> Any:
        found = self._opened()
        if found.kind == "text":
            return item
        return found.reader(images=[item.image().convert("RGB")], return_tensors="pt")["pixel_values"][0]

    def _encode(self, prepared: list[Any]) -> Tensor:
        found, device = self._opened(), find_device(self.device)
        model = found.model.to(device)
        if found.kind == "text":
            said = getattr(model.config, "max_position_embeddings", None) or _LONGEST
            longest = min(found.reader.model_max_length, said)
            given = found.reader(prepared, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            given = {name: tensor.to(device) for name, tensor in given.items()}
            return self._pooled(model(**given).last_hidden_state, given["attention_mask"])
        pixels = torch.stack(prepared).to(device)
        if hasattr(model, "get_image_features"):
            made = model.get_image_features(pixel_values=pixels)
            return made if isinstance(made, Tensor) else made.pooler_output
        states = model(pixel_values=pixels).last_hidden_state
        return states.flatten(2).mean(2) if states.ndim == 4 else self._pooled(states, None)

    def __sklearn_tags__(self) -> Tags:
        # Looking at an estimator loads no network.
        tags = super(Each, self).__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        return tags

    def _pooled(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """``[n, tokens, H]`` to ``[n, H]``."""
        if self.pooling == "first":
            return states[:, 0]
        if mask is None:
            return states.mean(1)
        weight = mask.unsqueeze(2).to(states)
        return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


@lru_cache(maxsize=2)
def _read(name: str, revision: str | None, written: int) -> _Opened:
    """``written``: when, so that a folder that was written again is read again."""
    try:
        import transformers
    except ImportError:
        raise InputError("networks of the Hugging Face hub need their library: pip install transformers") from None
    try:
        # A network draws its weights before they are filled in: nobody else's random numbers may change by that.
        with _quiet(transformers), torch.random.fork_rng(devices=[]):
            model = transformers.AutoModel.from_pretrained(name, revision=revision, trust_remote_code=False)
            pictures = model.main_input_name == "pixel_values" or hasattr(model, "get_image_features")
            if not pictures and model.main_input_name != "input_ids":
                raise InputError(
                    f"the network {name} takes {model.main_input_name}, and an encoder pictures or sentences: choose "
                    f"one of these"
                )
            kind = transformers.AutoImageProcessor if pictures else transformers.AutoTokenizer
            reader = kind.from_pretrained(name, revision=revision, trust_remote_code=False)
    except InputError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"the network {name} cannot be loaded ({line}): give a folder with config.json, weights and tokenizer or "
            f"preprocessor, or a name on huggingface.co while there is a network connection"
        ) from None
    model = model.float().eval().requires_grad_(False)
    if not pictures and reader.pad_token is None:
        reader.pad_token = reader.eos_token
    said = reader.to_json_string() if pictures else _tokenizer(reader)
    return _Opened(model, reader, "images" if pictures else "text", f"{weights_digest(model)} {said}")


def _tokenizer(reader: Any) -> str:
    fast = getattr(reader, "backend_tokenizer", None)
    return fast.to_str() if fast is not None else repr(sorted(reader.get_vocab().items()))


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the library's bars and remarks."""
    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers.utils.logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()
