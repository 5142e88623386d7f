"""Networks: ordinary ``torch.nn`` modules, and any other will do."""

from innerloop.core.construction import Recorded
from innerloop.nets.attention import Memory, TransformerBlock, attend
from innerloop.nets.beside import Beside
from innerloop.nets.conv4 import Conv4, conv4, feature_size
from innerloop.nets.decoder import Decoder
from innerloop.nets.mlp import mlp
from innerloop.nets.relation import RelationModule
from innerloop.nets.resnet12 import ResNet12, resnet12
from innerloop.nets.separable import SeparableBlock1d, SeparableBlock2d
from innerloop.nets.sets import SetEncoder, SetSums
from innerloop.nets.spec import NetSpec
from innerloop.nets.tabular import TableTransformer

__all__ = [
    "Beside",
    "Conv4",
    "Decoder",
    "Memory",
    "NetSpec",
    "Recorded",
    "RelationModule",
    "ResNet12",
    "SeparableBlock1d",
    "SeparableBlock2d",
    "SetEncoder",
    "SetSums",
    "TableTransformer",
    "TransformerBlock",
    "attend",
    "conv4",
    "feature_size",
    "mlp",
    "resnet12",
]
