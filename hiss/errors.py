"""Everything that can go wrong in the world outside the program.

HissError                  base class: catch this to catch them all
├── RecordingError         a file or an array of samples is not what it should be
├── ProgramError           a program or checkpoint is damaged, of another version, or not valid
├── FoldError              a model has no fixed recurrent update equations, or a pass cannot apply
├── TrainingError          training cannot go on (NaN loss, no data left, unknown target)
├── ExportError            code cannot be generated, compiled or checked
├── StreamError            a live stream: port missing, wrong format, device lost
│   ├── PortError          the port does not exist, is busy, or may not be opened
│   ├── FormatError        bytes come, or none, but no valid frame
│   ├── MismatchError      the stream works but does not fit the model
│   └── DeviceLostError    the device went away or fell silent
├── NetworkError           a download cannot be made: offline, the server is gone, the files are others
└── MissingExtraError      an optional package is absent; the message names the extra to install

A bad argument in a Python call is a ValueError.
"""


class HissError(Exception):
    """Base class of all errors of the outside world."""


class RecordingError(HissError):
    """A file or an array of samples is not what it should be."""


class ProgramError(HissError):
    """A program or checkpoint is damaged, of another version, or not valid."""


class FoldError(HissError):
    """A model has no fixed recurrent update equations, or a pass cannot apply."""


class TrainingError(HissError):
    """Training cannot go on."""


class ExportError(HissError):
    """Code cannot be generated, compiled or checked."""


class StreamError(HissError):
    """A live stream failed."""


class PortError(StreamError):
    """The port does not exist, is busy, or may not be opened."""


class MismatchError(StreamError):
    """The stream works but does not fit the model."""


class FormatError(StreamError):
    """Bytes come, or none, but no valid frame."""


class DeviceLostError(StreamError):
    """The device went away or fell silent."""


class NetworkError(HissError):
    """A download cannot be made."""


class MissingExtraError(HissError):
    """An optional package is absent."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} is not installed; it comes with: pip install 'hiss[{extra}]'")
