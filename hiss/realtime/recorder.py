"""Keeps the frames of a stream as they came, with their stamps, and writes them as a recording when the stream ends."""

from __future__ import annotations

import datetime
import os
import tempfile
from pathlib import Path

import numpy as np

from hiss.errors import HissError
from hiss.realtime.framing import F32
from hiss.realtime.sinks import Sink
from hiss.recording import Channel, Recording, write_hdf5


class Recorder(Sink):
    """Writes <path> (HDF5) however the stream ended: by its duration, a signal, or a device that went away.

    t of the recording: s since its first frame, irregular, as measured. Frames with a value that is not finite are left
    out and counted in `left_out`. Where <path> cannot be written the recording goes to the temporary folder, and a
    HissError says so.
    """

    def __init__(self, path: str | os.PathLike[str], name: str = "recording", overwrite: bool = False, **attrs: str):
        self.path = Path(path)
        self.name = name
        self.overwrite = overwrite
        self.attrs = attrs
        self.left_out = 0
        self.channels: tuple[Channel, ...] = ()
        self._t: list[float] = []
        self._x: list[F32] = []

    def __enter__(self) -> Recorder:
        if self.path.exists() and not self.overwrite:
            raise HissError(f"{self.path} exists already; choose another name, or allow it with --overwrite")
        if not self.path.absolute().parent.is_dir():
            raise HissError(f"{self.path} cannot be written: there is no folder {self.path.absolute().parent}")
        return self

    def __exit__(self, *error: object) -> None:
        if not self._t:
            return
        try:
            write_hdf5(self.path, [self.recording()])
        except (HissError, OSError) as failed:
            raise self._rescued(failed) from failed

    def __len__(self) -> int:
        return len(self._t)

    def begin(self, channels: tuple[Channel, ...]) -> None:
        """Take over the names."""
        self.channels = channels
        self.attrs["started"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")

    def frame(self, t: float, x: F32) -> None:
        """Keep one frame."""
        if np.isfinite(x).all():
            self._t.append(t)
            self._x.append(x)
        else:
            self.left_out += 1

    def recording(self) -> Recording:
        """What has been kept so far."""
        t = np.array(self._t)
        return Recording(self.name, t - t[0], np.stack(self._x), self.channels, attrs=self.attrs)

    def _rescued(self, failed: Exception) -> HissError:
        what = failed if isinstance(failed, HissError) else f"{self.path}: {failed}"
        spare = Path(tempfile.gettempdir()) / f"{self.name}_{os.getpid()}.h5"
        try:
            write_hdf5(spare, [self.recording()])
        except (HissError, OSError):
            return HissError(f"{what}; the {len(self)} frames are lost")
        return HissError(f"{what}; the {len(self)} frames are safe in {spare}")
