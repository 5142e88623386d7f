"""What turns pictures, sentences and rows into feature vectors: scikit-learn transformers, usable in any pipeline."""

from innerloop.encoders.base import Each, Encoder
from innerloop.encoders.find import find, names
from innerloop.encoders.huggingface import HuggingFace
from innerloop.encoders.onnx import ONNX
from innerloop.encoders.own import Module
from innerloop.encoders.sentences import Sentences
from innerloop.encoders.timm import Timm

__all__ = ["ONNX", "Each", "Encoder", "HuggingFace", "Module", "Sentences", "Timm", "find", "names"]
