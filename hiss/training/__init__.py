"""Training: fit, checkpoints, metrics. Needs torch."""

from hiss.training.fitting import fit
from hiss.training.options import TrainOptions
from hiss.training.pretraining import pretrain
from hiss.training.run import Run

__all__ = ["Run", "TrainOptions", "fit", "pretrain"]
