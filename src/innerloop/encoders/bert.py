"""The encoder of BERT (Devlin et al., NAACL 2019, https://arxiv.org/abs/1810.04805), as small as inference needs it.

Transformer layers that see the whole sentence, each followed by its normalization. The state dictionary has the names
of the files on the Hugging Face hub, so that their weights load without a table of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Sizes(NamedTuple):
    """What a BERT is built from, by the names of its ``config.json``."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Sizes:
        """Those of a configuration, which says more."""
        return cls(**{name: config[name] for name in cls._fields})


class Bert(nn.Module):
    """Token ids to the states of each token after the last layer.

    Args:
        sizes: of its parts.

    Example:
        >>> net = Bert(Sizes(10, 8, 2, 2, 16, 6, 2, 1e-12))
        >>> net(torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embeddings = _Embeddings(sizes)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(_Layer(sizes) for _ in range(sizes.num_hidden_layers))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Of ids ``[N, L]`` with their mask, bool ``[N, L]``: ``[N, L, H]``."""
        states: Tensor = self.embeddings(tokens)
        # Nothing is hidden in a batch without padding, whose kernel is then faster.
        whole = not torch.compiler.is_exporting() and bool(mask.all())
        seen = None if whole else mask[:, None, None]
        for layer in self.encoder.layer:  # type: ignore[union-attr]
            states = layer(states, seen)
        return states


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over a sentence's tokens, ``[N, L, H]`` with bool ``[N, L]`` to ``[N, H]``."""
    weights = mask.unsqueeze(2).to(states)
    return (states * weights).sum(1) / weights.sum(1)


class _Embeddings(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(sizes.vocab_size, sizes.hidden_size)
        self.position_embeddings = nn.Embedding(sizes.max_position_embeddings, sizes.hidden_size)
        self.token_type_embeddings = nn.Embedding(sizes.type_vocab_size, sizes.hidden_size)
        self.LayerNorm = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        place = self.position_embeddings.weight[: tokens.shape[1]]
        # A single sentence is of the first type.
        return self.LayerNorm(self.word_embeddings(tokens) + place + self.token_type_embeddings.weight[0])


class _Layer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        size, inner = sizes.hidden_size, sizes.intermediate_size
        self.heads = sizes.num_attention_heads
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(size, size) for name in ("query", "key", "value")}),
                "output": _Output(size, size, sizes.layer_norm_eps),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size, inner)})
        self.output = _Output(inner, size, sizes.layer_norm_eps)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        parts = self.attention["self"]
        query, key, value = (
            parts[name](x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # type: ignore[index]
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2).flatten(2)
        x = self.attention["output"](mixed, x)
        hidden: Tensor = self.output(F.gelu(self.intermediate["dense"](x)), x)
        return hidden


class _Output(nn.Module):
    """A linear layer, added to what there was, normalized."""

    def __init__(self, inputs: int, size: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, size)
        self.LayerNorm = nn.LayerNorm(size, eps=eps)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        normal: Tensor = self.LayerNorm(self.dense(x) + before)
        return normal
