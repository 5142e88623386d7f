"""Networks: ordinary ``torch.nn`` modules, and any other will do."""

from innerloop.nets.conv4 import Conv4, conv4, feature_size
from innerloop.nets.mlp import mlp
from innerloop.nets.relation import RelationModule
from innerloop.nets.resnet12 import ResNet12, resnet12

__all__ = ["Conv4", "RelationModule", "ResNet12", "conv4", "feature_size", "mlp", "resnet12"]
