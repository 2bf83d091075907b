"""Text lines of numbers: what an Arduino prints, the Edge Impulse forwarder, the Arduino plotter's labels.

    1.5,2.5,3.5                       separators , ; tab or blanks
    time,m0_x (uT),m0_y (uT)          a header may stand first; its names and units are the channels
    m0_x:1.5 m0_y:2.5                 or every value has its label
    # anything                        is not read

A column named time, t or timestamp (s, or the unit that its name says: time_ms, micros) is the device's own clock;
without names, one column more than the model's inputs is taken as time in s, and it is the first. From a port, the
first line is a torn one as a rule: it is dropped, unless it is a whole header. A line that cannot be read is counted,
skipped and reported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from hiss.realtime.framing import F32, Counts, Event, Frame
from hiss.recording import Channel
from hiss.recording_csv import SECONDS, TIME

LONGEST_LINE = 65536  # bytes; longer is no text
COLUMN = re.compile(r"\s*(?P<name>[^\s(\[][^(\[]*?)\s*(?:[(\[](?P<unit>[^)\]]*)[)\]])?\s*")
SEPARATORS = (b",", b";", b"\t")  # else blanks
AFTER_COLON = re.compile(rb"\s*:\s+")
NUMBER = re.compile(rb"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf(inity)?)", re.IGNORECASE)


class CsvDecoder:
    """Bytes of text lines -> frames. `expected`: the model's input names, which name the columns of a bare stream."""

    def __init__(self, expected: Sequence[str] = (), torn_start: bool = True):
        self.expected = tuple(expected)
        self.counts = Counts()
        self.channels: tuple[Channel, ...] = ()
        self._buffer = bytearray()
        self._torn = torn_start  # the next line may have lost its beginning
        self._overlong = False
        self._header: list[bytes] | None = None  # a header that the next line has yet to confirm
        self._labels: list[bytes] = []  # of a labelled stream
        self._clock: int | None = None  # the time column
        self._clock_unit = ""
        self._width = 0
        self._separator: bytes | None = b","  # of the lines of numbers; None = blanks

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their line."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame | Event]:
        """What these bytes complete, in the order of the stream."""
        self.counts.bytes += len(data)
        self._buffer += data
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        found: list[Frame | Event] = []
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and the loop says so
            for line in lines:
                if (numbers := self._plain(line)) is not None:
                    found.append(self._frame(numbers))
                else:
                    found += self._line(line)
        if len(self._buffer) > LONGEST_LINE:
            self.counts.skipped += len(self._buffer)
            self._buffer.clear()
            self._overlong = True
        return found

    def _plain(self, line: bytes) -> list[float] | None:
        """The numbers of a line like those before it, without looking at it closely; None: look."""
        if not self._width or self._labels or self._overlong or self._torn or b"_" in line:
            return None  # float() reads 1_000
        cells = line.split(self._separator)
        if len(cells) != self._width:
            return None
        try:
            return list(map(float, cells))
        except ValueError:
            return None

    def _line(self, line: bytes) -> list[Frame | Event]:
        if self._overlong:  # its beginning is gone already
            self._overlong = False
            self.counts.skipped += len(line) + 1
            return [self._malformed(f"a line longer than {LONGEST_LINE} bytes")]
        torn, self._torn = self._torn, False
        text = line.strip()
        if not text or text.startswith(b"#"):
            return []
        if text.startswith((b"ERR", b"<ERR")):  # the Edge Impulse forwarder's word for an error of the board
            self.counts.malformed += 1
            return [self._skip(line, "device-error", f"the board says: {_shown(line)}")]
        cells = split_cells(text)
        if len(cells) == self._width and not self._labels and (numbers := _numbers(cells)):
            return [self._frame(numbers)]
        if not all(map(NUMBER.fullmatch, cells)):
            return self._words(line, cells, torn)
        if torn:
            return [self._skip(line, "start", "first line dropped: its beginning may be missing")]
        return self._numbers(line, cells)

    def _words(self, line: bytes, cells: list[bytes], torn: bool) -> list[Frame | Event]:
        labels, values = _labelled(cells)
        if labels and not torn:
            return self._labelled_line(line, labels, values)
        if labels:
            return [self._skip(line, "start", "first line dropped: its beginning may be missing")]
        if not self._width and not any(map(NUMBER.fullmatch, cells)) and not (torn and self._cut(cells[0])):
            replaced, self._header = b",".join(self._header or []), cells  # of lines of words, the last is the header
            return [self._skip(replaced, "malformed", f"line not read: {_shown(replaced)}")] if replaced else []
        if self.channels and cells == self._header:
            return []  # the board started again
        return [self._skip(line, "malformed", f"line not read: {_shown(line)}")]

    def _labelled_line(self, line: bytes, labels: list[bytes], values: list[bytes]) -> list[Frame | Event]:
        if not self._width:
            self._labels = labels
            self._name(labels)
        if labels != self._labels:
            return [self._skip(line, "malformed", f"other labels than before: {_shown(line)}")]
        return [self._frame(list(map(float, values)))]

    def _numbers(self, line: bytes, cells: list[bytes]) -> list[Frame | Event]:
        found: list[Frame | Event] = []
        if not self._width:
            found += self._first_numbers(len(cells))
        if len(cells) != self._width or self._labels:
            text = f"{len(cells)} values where {self._width} are expected: {_shown(line)}"
            return [*found, self._skip(line, "malformed", text)]
        self._separator = next((s for s in SEPARATORS if s in line), None)
        return [*found, self._frame(list(map(float, cells)))]

    def _first_numbers(self, width: int) -> list[Event]:
        """Names for the columns: the header's if it fits this line, else the model's, else c0, c1, ..."""
        header, events = self._header, []
        if header and len(header) != width:
            self.counts.skipped += sum(map(len, header)) + len(header)
            events.append(Event("header", f"header of {len(header)} names dropped: the lines have {width} values"))
            header = None
        if header:
            self._name(header)
            return events
        names = list(self.expected)
        if width == len(names) + 1 and names:
            names.insert(0, "time")
            events.append(Event("header", "no header: the first column is taken as time in s, the rest in model order"))
        elif width == len(names):
            events.append(Event("header", "no header: the columns are taken in the model's order"))
        else:
            names = [f"c{i}" for i in range(width)]
        self._name([name.encode() for name in names])
        return events

    def _name(self, cells: list[bytes]) -> None:
        columns = [_column(cell) for cell in cells]
        self._width = len(columns)
        self._clock = next((i for i, column in enumerate(columns) if TIME.match(column.name.lower())), None)
        if self._clock is not None:
            self._clock_unit = _unit_name(columns.pop(self._clock))
        self.channels = tuple(columns)

    def _cut(self, cell: bytes) -> bool:
        """Whether the first name of a torn line is the end of a name that is expected there."""
        name = _column(cell).name
        known = (*self.expected, "time", "timestamp")
        return not TIME.match(name.lower()) and name not in known and any(other.endswith(name) for other in known)

    def _frame(self, numbers: list[float]) -> Frame:
        time = None
        if self._clock is not None:
            time = numbers.pop(self._clock)
            time *= SECONDS.get(self._clock_unit) or _guessed_unit(time)
        self.counts.frames += 1
        return Frame(np.array(numbers, np.float64).astype(np.float32), time)

    def _skip(self, line: bytes, kind: str, text: str) -> Event:
        self.counts.skipped += len(line) + 1
        return self._malformed(text) if kind == "malformed" else Event(kind, text)

    def _malformed(self, text: str) -> Event:
        self.counts.malformed += 1
        return Event("malformed", text)


def split_cells(text: bytes) -> list[bytes]:
    """The cells of a stripped line: by comma, else semicolon, else tab, else blanks."""
    if b":" in text:
        text = AFTER_COLON.sub(b":", text)
    for separator in SEPARATORS:
        if separator in text:
            cells = [cell.strip() for cell in text.split(separator)]
            return cells[:-1] if cells[-1] == b"" else cells  # a separator behind the last value is common
    return text.split()


def encode_header(channels: Sequence[Channel]) -> bytes:
    """The header line of a stream with a time column."""
    return (",".join(["time (s)", *(f"{c.name} ({c.unit})" if c.unit else c.name for c in channels)]) + "\r\n").encode()


def encode_line(t: float, x: F32) -> bytes:
    """One line, exact: reading it gives the same float64 time and float32 values."""
    return (",".join([repr(float(t)), *(f"{value:.9g}" for value in x.tolist())]) + "\r\n").encode()


def _numbers(cells: list[bytes]) -> list[float]:
    """The cells as numbers; [] when one is none."""
    try:
        return list(map(float, cells)) if b"_" not in b"".join(cells) else []  # float() reads 1_000
    except ValueError:
        return []


def _labelled(cells: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    pairs = [cell.rpartition(b":") for cell in cells]
    if all(colon and label and NUMBER.fullmatch(value.strip()) for label, colon, value in pairs):
        return [label.strip() for label, _, _ in pairs], [value.strip() for _, _, value in pairs]
    return [], []


def _column(cell: bytes) -> Channel:
    text = cell.decode("utf-8", "replace").strip().strip('"')
    match = COLUMN.fullmatch(text)
    return Channel(match["name"], match["unit"] or "") if match else Channel(text)


def _unit_name(clock: Channel) -> str:
    """The unit of a time column: behind its name, or in it (time_ms, micros); "" when neither says."""
    found = TIME.match(clock.name.lower())
    return clock.unit.lower() or (found and (found[1] or found[2])) or ""


def _guessed_unit(stamp: float) -> float:
    """s, unless the number is too large for seconds since 1970: then ms, us, ns. As for CSV files."""
    return next((unit for above, unit in ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3)) if stamp > above), 1.0)


def _shown(line: bytes) -> str:
    return ascii(line[:40].decode("latin-1").strip()) + (" ..." if len(line) > 40 else "")
