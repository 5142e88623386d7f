"""A few-shot classifier as a graph that runs without innerloop: ONNX and ``torch.export``. See ``docs/export.md``."""

from innerloop.export.writing import Drift, Written, write

__all__ = ["Drift", "Written", "write"]
