"""hiss: sensor prediction with recurrent state space models, from a logged recording to a few kilobytes of firmware.

The public names are resolved on first use, so `import hiss` loads neither torch nor anything else of weight.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "hiss.errors": "HissError RecordingError ProgramError FoldError TrainingError ExportError StreamError "
    "PortError FormatError DeviceLostError MismatchError NetworkError MissingExtraError",
    "hiss.recording": "Recording Channel read_recordings write_hdf5 write_csv split align",
    "hiss.dataset": "Scaling",
    "hiss.models": "S4 S4D Mamba LSTM Transformer Flat Hierarchical Ensemble ARNet Residual",
    "hiss.training": "fit pretrain Run TrainOptions",
    "hiss.folding": "fold",
    "hiss.program": "Program Port Stage load_program",
    "hiss.firmware_export": "export_c",
    "hiss.engines": "Stepper",
    "hiss.engines.step_export": "export_steps",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604

if TYPE_CHECKING:
    from hiss.dataset import Scaling as Scaling
    from hiss.engines import Stepper as Stepper
    from hiss.engines.step_export import export_steps as export_steps
    from hiss.errors import ExportError as ExportError
    from hiss.errors import FoldError as FoldError
    from hiss.errors import HissError as HissError
    from hiss.errors import MismatchError as MismatchError
    from hiss.errors import MissingExtraError as MissingExtraError
    from hiss.errors import PortError as PortError
    from hiss.errors import ProgramError as ProgramError
    from hiss.errors import RecordingError as RecordingError
    from hiss.errors import StreamError as StreamError
    from hiss.errors import TrainingError as TrainingError
    from hiss.firmware_export import export_c as export_c
    from hiss.folding import fold as fold
    from hiss.models import LSTM as LSTM
    from hiss.models import S4 as S4
    from hiss.models import S4D as S4D
    from hiss.models import ARNet as ARNet
    from hiss.models import Flat as Flat
    from hiss.models import Hierarchical as Hierarchical
    from hiss.models import Mamba as Mamba
    from hiss.models import Residual as Residual
    from hiss.models import Transformer as Transformer
    from hiss.program import Port as Port
    from hiss.program import Program as Program
    from hiss.program import Stage as Stage
    from hiss.program import load_program as load_program
    from hiss.recording import Channel as Channel
    from hiss.recording import Recording as Recording
    from hiss.recording import align as align
    from hiss.recording import read_recordings as read_recordings
    from hiss.recording import split as split
    from hiss.recording import write_csv as write_csv
    from hiss.recording import write_hdf5 as write_hdf5
    from hiss.training import Run as Run
    from hiss.training import TrainOptions as TrainOptions
    from hiss.training import fit as fit
    from hiss.training import pretrain as pretrain


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'hiss' has no attribute {name!r}")
    package = "torch" if _HOME_OF[name] in ("hiss.models", "hiss.training", "hiss.folding") else ""
    try:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        if package and (error.name or "").split(".")[0] in ("torch", "scipy"):
            from hiss.errors import MissingExtraError

            raise MissingExtraError(error.name or package, "train") from error
        raise


def __dir__() -> list[str]:
    return sorted(__all__)
