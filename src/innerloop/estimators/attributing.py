"""What of a picture, a sentence or a row an estimator's answer comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from innerloop.core.device import device_of
from innerloop.core.task import InputError
from innerloop.encoders.base import Encoder
from innerloop.encoders.items import sentences
from innerloop.encoders.sentences import Sentences
from innerloop.encoders.table import Table
from innerloop.evidence.attributed import Attributions, Described
from innerloop.evidence.attribution import RADIUS, Asked
from innerloop.evidence.parts import SMOOTH, ListedParts, Parts, TensorParts, check_method, parts_of, patch_of
from innerloop.evidence.shapley import EXACT

Floats = npt.NDArray[np.float64]
#: From features ``[B, H]`` in float64 and the place of a query to what is explained, ``[B]``.
Score = Callable[[Tensor, int], Tensor]

#: Patches on a side of a photograph.
_PATCHES = 8


def attributed(
    X: Any,
    *,
    known: Floats,
    encoder: Encoder | None,
    score: Score,
    answers: Sequence[Any],
    of: str,
    names: Sequence[str],
    method: str | None,
    patch: int | None,
    samples: int,
    sensitive: int,
    seed: int,
    smooth: bool = True,
) -> Attributions:
    """The contributions of the parts of some inputs: pixels or patches, words, columns, or features.

    Args:
        X: what was asked, Q inputs.
        known: features of the examples, ``[N, H]``.
        encoder: what turned them into features; ``None`` where features were given.
        score: what is explained of each query.
        answers: of the queries.
        of: what is explained, in words.
        names: of columns or features; none where they have none.
        method: see :func:`innerloop.evidence.attribute`; ``None`` for what suits the kind of input.
        patch: of pictures, the side of a part in pixels of what the network sees.
        samples: sets of parts that are taken away to find the infidelity.
        sensitive: changes of the query that are tried to find the sensitivity.
        seed: of all that is drawn.
        smooth: whether what is explained has a derivative.
    """
    if method is not None:
        check_method(method)
    if patch is not None and (encoder is None or encoder.kind != "images"):
        raise InputError(f"patch={patch} is for pictures, and X holds none: leave it out")

    def asked(usual: str) -> Asked:
        return Asked(method or usual, samples=samples, sensitive=sensitive, seed=seed)

    if encoder is None:
        usual = "shapley" if known.shape[1] <= EXACT else "occlusion"
        return _of_features(X, known, score, answers, of, names, asked("integrated gradients" if smooth else usual))
    if isinstance(encoder, Table):
        count = encoder.blocks["cells"].stop
        few = asked("shapley" if count <= EXACT else "occlusion")
        return _of_columns(X, known, encoder, score, answers, of, names, few)
    if encoder.kind == "text":
        return _of_words(X, encoder, score, answers, of, asked("occlusion"))
    return _of_pictures(X, encoder, score, answers, of, patch, asked, smooth)


def _of_features(
    X: Any, known: Floats, score: Score, answers: Sequence[Any], of: str, names: Sequence[str], asked: Asked
) -> Attributions:
    away = torch.from_numpy(known.mean(0, keepdims=True))
    radius = RADIUS * float(np.ptp(known))
    found = []
    for place, row in enumerate(X):

        def parts(query: Tensor, place: int = place) -> Parts:
            return TensorParts(lambda x: score(x, place), query, away, torch.arange(len(query)))

        described = Described(answers[place], of, "the mean of the examples", tuple(names) if names else None)
        found.append(asked.attribution(parts(row), described, (row, parts, radius)))
    return Attributions(tuple(found))


def _of_columns(
    X: Any,
    known: Floats,
    encoder: Table,
    score: Score,
    answers: Sequence[Any],
    of: str,
    names: Sequence[str],
    asked: Asked,
) -> Attributions:
    """A column that is not there has the values that it has in the examples, one after the other, on average."""
    if asked.method in SMOOTH:
        raise InputError(
            f"method={asked.method!r} walks from one cell's value to another, and a category is no such way: take "
            f"'shapley' or 'occlusion'"
        )
    groups, away = torch.tensor(encoder.column_of), torch.from_numpy(known)
    found = []
    for place, row in enumerate(torch.from_numpy(encoder.transform(X))):
        parts = TensorParts(lambda x, place=place: score(x, place), row, away, groups)  # type: ignore[misc]
        called = tuple(names) if names else tuple(f"column {number}" for number in range(parts.count))
        found.append(asked.attribution(parts, Described(answers[place], of, "the examples' values", called)))
    return Attributions(tuple(found))


def _of_words(X: Any, encoder: Encoder, score: Score, answers: Sequence[Any], of: str, asked: Asked) -> Attributions:
    """A word that is not there is left out of the sentence, or with a derivative has the mask's embedding."""
    found = []
    for place, sentence in enumerate(sentences(X)):
        matches = list(re.finditer(r"\S+", sentence))
        words = [match[0] for match in matches]
        if asked.method in SMOOTH:
            parts = _embedded_words(sentence, [match.span() for match in matches], encoder, score, place)
        else:
            parts = ListedParts(_left_out(words, encoder, score, place), len(words))
        instead = "the mask's embedding" if asked.method in SMOOTH else "nothing"
        # Of a long text the encoder reads the beginning.
        described = Described(answers[place], of, instead, tuple(words[: parts.count]), text=True)
        found.append(asked.attribution(parts, described))
    return Attributions(tuple(found))


def _left_out(
    words: Sequence[str], encoder: Encoder, score: Score, place: int
) -> Callable[[Sequence[Sequence[int]]], Tensor]:
    def value(kept: Sequence[Sequence[int]]) -> Tensor:
        # Of a sentence without a word there is its mark alone: a full stop says as little as there is to say.
        texts = [" ".join(words[word] for word in one) or "." for one in kept]
        return score(torch.from_numpy(encoder.transform(texts).astype(np.float64)), place)

    return value


def _embedded_words(
    sentence: str, spans: Sequence[tuple[int, int]], encoder: Encoder, score: Score, place: int
) -> Parts:
    """The words of a sentence by their embeddings."""
    if not isinstance(encoder, Sentences):
        raise InputError(
            f"a derivative by words is had of the encoder {Sentences.name!r} alone, this is {encoder.name!r}: take "
            f"method='occlusion' or 'shapley'"
        )
    net, tokens = encoder.network().module, encoder.tokens(sentence)
    table = next(part for part in net.modules() if isinstance(part, nn.Embedding))
    own = [
        next((word for word, (first, last) in enumerate(spans) if begin < end and first <= begin < last), None)
        for begin, end in encoder.spans(sentence)
    ]
    read = torch.tensor([word is not None for word in own])
    with torch.no_grad():
        x, away = table(tokens), table(tokens.masked_fill(read, encoder.mask))
    # What stands before and after the sentence does not change, so it may count with any word.
    groups = torch.tensor([word or 0 for word in own])[:, None].expand_as(x)

    def value(embedded: Tensor) -> Tensor:
        handle = table.register_forward_hook(lambda module, inputs, output: embedded)
        try:
            features = net(tokens.expand(len(embedded), -1))
        finally:
            handle.remove()
        return score(features.double(), place)

    return TensorParts(value, x, away.unsqueeze(0), groups)


def _of_pictures(
    X: Any,
    encoder: Encoder,
    score: Score,
    answers: Sequence[Any],
    of: str,
    patch: int | None,
    ask: Callable[[str], Asked],
    smooth: bool,
) -> Attributions:
    """Of what the network sees: a part that is not there has the mean color, in a drawing no ink."""
    network = encoder.network()
    pixels = encoder.inputs(X).to(device_of(network.module))
    drawn = any(step["step"] == "drawing" for step in network.preprocessing)
    # In a drawing every pixel counts; of a photograph a derivative by single ones is noise.
    asked = ask("integrated gradients" if drawn and smooth else "occlusion")
    found = []
    for place, picture in enumerate(pixels):
        side = patch_of(picture, asked.method, patch or (None if drawn else -(-max(picture.shape[1:]) // _PATCHES)))
        groups, grid = parts_of(picture, asked.method, side)
        plain = torch.zeros_like(picture) if drawn else picture.mean((1, 2), keepdim=True).expand_as(picture)

        def value(x: Tensor, place: int = place) -> Tensor:
            return score(network.module(x).flatten(1).double().cpu(), place).to(x)

        def parts(
            query: Tensor,
            value: Callable[[Tensor], Tensor] = value,
            plain: Tensor = plain,
            groups: Tensor = groups,
            grid: tuple[int, int] | None = grid,
        ) -> Parts:
            return TensorParts(value, query, plain.unsqueeze(0), groups, grid)

        described = Described(
            answers[place], of, "no ink" if drawn else "its mean color", picture=picture.cpu().numpy(), patch=side
        )
        found.append(asked.attribution(parts(picture), described, (picture, parts, RADIUS)))
    return Attributions(tuple(found))
