"""Models in torch, one family per file: forward(sequence) for training, nothing else; steps come from folding."""

from hiss.models.arnet import ARNet, ARNetModel
from hiss.models.blocks import S4D, S4DBlock, S4DStack
from hiss.models.flat import Flat, FlatModel
from hiss.models.hierarchical import Hierarchical, HierarchicalModel
from hiss.models.residual import Residual, ResidualModel
from hiss.models.s4d import S4DKernel

__all__ = [
    "S4D",
    "ARNet",
    "ARNetModel",
    "Flat",
    "FlatModel",
    "Hierarchical",
    "HierarchicalModel",
    "Residual",
    "ResidualModel",
    "S4DBlock",
    "S4DKernel",
    "S4DStack",
]
