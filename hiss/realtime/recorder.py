"""Records a stream: its bytes go into a raw log as they are read, and a recording is made of the log at the end.

The log lies beside the recording (walk.hlog of walk.h5). Nothing is kept in memory, so a recording may be as long as
the disk is large, and a crash costs nothing that the log holds (`hiss record --repair`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiss.errors import HissError, MismatchError
from hiss.program import Port
from hiss.realtime.feeds import DecodedFeed, recorded_wall_ns
from hiss.realtime.framing import F32, Event
from hiss.realtime.log_recording import SUFFIXES, convert
from hiss.realtime.rawlog import BYTES, CONTROL, SUFFIX, LogWriter
from hiss.realtime.several import SeveralFeed, target_columns
from hiss.realtime.sinks import Estimate, Sink
from hiss.realtime.tap import Tap
from hiss.recording import Channel


class Recorder(Sink):
    """Writes <path> (.h5, .csv or .mcap) however the stream ended: its duration, a signal, a device that went away.

    To be made before the Loop is: the feed's sources are tapped. Where <path> cannot be written in the end, the log is
    kept, and a HissError says so; a log that cannot be written on ends the stream, and holds whole what came.

    keep_log: leave the log there when the recording is made;  targets: channels or sources, of several sources
    outputs: of the model whose estimates come;  rotate(): the next file begins behind the chunk of now
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        feed: DecodedFeed | SeveralFeed,
        name: str | None = None,
        overwrite: bool = False,
        keep_log: bool = True,
        targets: Sequence[str] = (),
        outputs: Sequence[Port] = (),
    ):
        """Raises ValueError for a suffix of another format; HDF5 needs none."""
        self.path = Path(path)
        if self.path.suffix.lower() not in ("", *SUFFIXES):
            raise ValueError(f"{path}: a recording ends in {', '.join(SUFFIXES)}")
        self.feed = feed
        self.overwrite = overwrite
        self.keep_log = keep_log
        self.targets = tuple(targets)
        self.target_names: list[str] = []  # the columns that they are
        self.told: dict[str, Any] = {}  # what else a replay must know, for the header of each log
        self.channels: tuple[Channel, ...] = ()
        self.left_out = 0
        self.made: list[Path] = []  # the recordings, oldest first
        self._name = name or self.path.stem
        self._outputs = [[p.name, p.unit] for p in outputs]
        self._frames = self._in_part = 0
        self._asked = False
        self._part = 0
        self._at = self.path
        self._log: LogWriter | None = None
        self._converting: list[tuple[Path, subprocess.Popen[bytes]]] = []
        wall_ns = recorded_wall_ns(feed)
        self._wall_ns = time.time_ns() - time.monotonic_ns() if wall_ns is None else wall_ns
        self._feeds = feed.feeds if isinstance(feed, SeveralFeed) else [feed]
        self._taps = [self._tap(i, one) for i, one in enumerate(self._feeds)]
        for one, tap in zip(self._feeds, self._taps, strict=True):
            one.source = tap

    def __len__(self) -> int:
        return self._frames

    @property
    def log_path(self) -> Path:
        """The log of the file of now."""
        return self._at.with_suffix(SUFFIX)

    def rotate(self) -> None:
        """Ask for the next file. May be called from a signal's handler."""
        self._asked = True

    def __enter__(self) -> Recorder:
        if self.path.exists() and not self.overwrite:
            raise HissError(f"{self.path} exists already; choose another name, or allow it with --overwrite")
        if not self.path.absolute().parent.is_dir():
            raise HissError(f"{self.path} cannot be written: there is no folder {self.path.absolute().parent}")
        if self.log_path.exists() and not self.overwrite:
            raise HissError(
                f"{self.log_path} exists already: of a recording that a crash cut short? hiss record --repair "
                f"{self.log_path} makes it whole; or choose another name, or allow it with --overwrite"
            )
        self._begin_log(self.overwrite)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._log is not None
        self._log.__exit__()
        at, self._log = self._log.at, None
        if self._in_part:
            self._convert_here()
        else:
            at.unlink()
        self._await_parts()

    def begin(self, channels: tuple[Channel, ...]) -> None:
        """Take over the names; targets are looked for before a frame is recorded. Raises MismatchError."""
        self.channels = channels
        try:
            if self.targets:
                assert isinstance(self.feed, SeveralFeed)
                columns = target_columns(channels, self.targets, self.feed.groups)
                self.target_names = [channels[i].name for i in columns]
        except ValueError as error:
            raise MismatchError(f"{self.feed.name}: {error}") from error

    def frame(self, t: float, x: F32) -> None:
        """Count it: its bytes are in the log."""
        if np.isfinite(x).all():
            if not self._frames and self._log is not None:
                self._log.settle()
            self._frames += 1
            self._in_part += 1
        else:
            self.left_out += 1

    def estimate(self, estimate: Estimate) -> None:
        """Into the log."""
        if self._log is not None:
            self._log.estimate(self._log.last_ns, estimate)

    def event(self, event: Event) -> None:
        """Into the log."""
        if self._log is not None:
            self._log.event(self._log.last_ns, event)

    def control(self, event: Event) -> None:
        """A command that changes the state: it is replayed behind the chunk of now."""
        if self._log is not None:
            # of several sources, behind the chunk of each
            self._log.event(self._log.last_ns + 1, event, CONTROL)

    def tick(self, now_ns: int) -> None:
        """Rotate where it was asked for."""
        if self._asked:
            self._asked = False
            if self._in_part:
                self._rotate()

    def _tap(self, source: int, feed: DecodedFeed) -> Tap:
        def put(stamp_ns: int, data: bytes | Event) -> None:
            if self._log is None:
                return
            if isinstance(data, Event):
                self._log.event(stamp_ns, data, CONTROL, source)
            else:
                self._log.put(stamp_ns, BYTES, data, source)

        return Tap(feed.source, put, self._wall_ns)

    def _begin_log(self, overwrite: bool = False) -> None:
        mono_ns = time.monotonic_ns()
        first = self._at == self.path
        log = LogWriter(
            self.log_path,
            overwrite,
            mono_ns=mono_ns,
            wall_ns=mono_ns + self._wall_ns,
            name=self._name if first else self._at.stem,
            device=", ".join(str(feed.how.get("device", "")) for feed in self._feeds),
            source=self.feed.name,
            sources=[self._about(i) for i in range(len(self._feeds))],
            targets=list(self.targets),
            outputs=self._outputs,
            **self.told,
            aligning=self.feed.state() if isinstance(self.feed, SeveralFeed) and not first else None,
        )
        log.__enter__()
        self._log = log

    def _about(self, i: int) -> dict[str, Any]:
        """What a replay must know of a source; of a later file also where its decoder stood."""
        feed, tap = self._feeds[i], self._taps[i]
        name = self.feed.names[i] if isinstance(self.feed, SeveralFeed) else ""
        opening = feed.opening or getattr(tap, "opening", b"")
        lead = tap.lead or getattr(tap.source, "lead", b"")
        return {
            **feed.how,
            "name": name,
            "source": feed.name,
            "ends": feed.own_time,
            "torn_start": tap.torn_start or bool(lead and not opening),
            "opening": opening.decode("latin-1"),
            "lead": lead.decode("latin-1"),
        }

    def _rotate(self) -> None:
        """From the next chunk on another file; the recording of the one before is made beside, by another process."""
        assert self._log is not None
        self._log.__exit__()
        done, log_path = self._at, self.log_path
        self._part += 1
        while (at := self.path.with_suffix(f".{self._part}{self.path.suffix}")).exists() or (
            at.with_suffix(SUFFIX).exists()
        ):
            self._part += 1
        self._at, self._in_part = at, 0
        self._begin_log()
        words = [sys.executable, "-m", "hiss", "record", "--repair", str(log_path), "-o", str(done), "--overwrite"]
        quiet = subprocess.Popen(  # in a session of its own: Ctrl-C is meant for this process
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        self._converting.append((done, quiet))

    def _await_parts(self) -> None:
        """Until the recordings of earlier files are made. Raises HissError for one that could not be."""
        failed: list[str] = []
        for path, process in self._converting:
            said = process.communicate()[1].decode(errors="replace").strip()
            if process.returncode:
                failed.append(f"{path} could not be made: {said}; {path.with_suffix(SUFFIX)} holds what came")
            else:
                self._finish(path)
        self._converting.clear()
        if failed:
            raise HissError("; ".join(failed))

    def _convert_here(self) -> None:
        log_path = self.log_path
        try:
            convert(log_path, self._at)
        except (HissError, OSError) as error:
            raise HissError(
                f"{error}; {log_path} holds the {self._in_part} frames: "
                f"hiss record --repair {log_path} -o ELSEWHERE makes a recording of them"
            ) from error
        self._finish(self._at)

    def _finish(self, path: Path) -> None:
        self.made.append(path)
        if not self.keep_log:
            path.with_suffix(SUFFIX).unlink(missing_ok=True)
