"""Folding: model + Scaling -> Program; the only room that knows both torch modules and ops."""

from hiss.folding.models import fold, fold_model
from hiss.folding.stacks import limits

__all__ = ["fold", "fold_model", "limits"]
