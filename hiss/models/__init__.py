"""Models in torch, one family per file: forward(sequence) for training, nothing else; steps come from folding."""

from hiss.models.arnet import ARNet, ARNetModel
from hiss.models.blocks import S4D, SSMBlock, SSMStack
from hiss.models.ensemble import Ensemble, EnsembleModel
from hiss.models.flat import Flat, FlatModel
from hiss.models.hierarchical import Hierarchical, HierarchicalModel
from hiss.models.lstm import LSTM, LSTMLayer, LSTMStack
from hiss.models.mamba import Mamba, MambaBlock, MambaStack
from hiss.models.residual import Residual, ResidualModel
from hiss.models.s4 import S4, S4Kernel
from hiss.models.s4d import S4DKernel
from hiss.models.stack import Stack, StackSpec
from hiss.models.transformer import Transformer, TransformerStack

__all__ = [
    "LSTM",
    "S4",
    "S4D",
    "ARNet",
    "ARNetModel",
    "Ensemble",
    "EnsembleModel",
    "Flat",
    "FlatModel",
    "Hierarchical",
    "HierarchicalModel",
    "LSTMLayer",
    "LSTMStack",
    "Mamba",
    "MambaBlock",
    "MambaStack",
    "Residual",
    "ResidualModel",
    "S4DKernel",
    "S4Kernel",
    "SSMBlock",
    "SSMStack",
    "Stack",
    "StackSpec",
    "Transformer",
    "TransformerStack",
]
