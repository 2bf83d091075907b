"""What a stream was like: counts, rates, gaps, and how long things took. For people as text, for programs as a dict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hiss.realtime.bins import LogBins
from hiss.realtime.clock import ClockFit
from hiss.realtime.framing import Counts
from hiss.realtime.sinks import Sink


@dataclass(slots=True)
class Summary:
    """Grows while the loop runs; complete at any moment.

    service: from the read of a frame's bytes until it was stepped and all sinks had it
    queue_age: from that read until its turn: how old a frame had grown behind those of its chunk
    inter_arrival: between the reads of successive frames; those of one chunk count 0
    """

    source: str
    counts: Counts = field(default_factory=Counts)
    samples: int = 0  # at the program's rate
    estimates: int = 0
    span_s: float = 0.0  # from the first frame to the last, on the stream's clock
    gaps: int = 0
    longest_gap_s: float = 0.0
    dropped: dict[str, int] = field(default_factory=dict)  # frames not fed, by reason
    restarts: int = 0
    repeats: int = 0  # frames equal to the one before, of a device without sequence and clock; they are fed
    lost: int = 0  # samples that the device made and that did not come, by its sequence or its clock
    tares_refused: int = 0  # because the sensor moved
    clock: ClockFit | None = None  # the device's against this host's
    service: LogBins = field(default_factory=LogBins)
    queue_age: LogBins = field(default_factory=LogBins)
    inter_arrival: LogBins = field(default_factory=LogBins)
    sinks: Sequence[Sink] = ()  # in the order in which they are served

    def drop(self, reason: str) -> None:
        """Count a frame that was not fed."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    @property
    def unsent(self) -> dict[str, int]:
        """Messages that slow sinks did not take, by sink."""
        return {sink.name: sink.unsent for sink in self.sinks if sink.unsent}

    @property
    def drops(self) -> int:
        """All that was lost on the way: frames not fed, not readable or not there, wrong checksums, messages not sent.

        A frame that came damaged is also missing in the device's count: of both the larger number counts.
        """
        unread = max(self.counts.malformed + self.counts.checksum, self.lost)
        return sum(self.dropped.values()) + unread + sum(self.unsent.values())

    @property
    def clock_ppm(self) -> float | None:
        """How much faster than this host's the device's clock runs; None where it has none, or too early to say."""
        return self.clock.ppm if self.clock else None

    @property
    def rate_hz(self) -> float:
        """Frames per second of the stream's clock; 0 when fewer than two came."""
        return (self.counts.frames - 1) / self.span_s if self.span_s > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "source": self.source,
            "frames": self.counts.frames,
            "rate_hz": round(self.rate_hz, 3),
            "span_s": round(self.span_s, 6),
            "samples": self.samples,
            "estimates": self.estimates,
            "dropped": dict(self.dropped),
            "gaps": self.gaps,
            "longest_gap_s": round(self.longest_gap_s, 6),
            "restarts": self.restarts,
            "lost": self.lost,
            "repeats": self.repeats,
            "clock_ppm": None if (ppm := self.clock_ppm) is None else round(ppm, 2),
            "tares_refused": self.tares_refused,
            "bytes": self.counts.bytes,
            "bytes_skipped": self.counts.skipped,
            "resyncs": self.counts.resyncs,
            "malformed": self.counts.malformed,
            "checksum": self.counts.checksum,
            "unsent": self.unsent,
            "service": self.service.as_dict(),
            "queue_age": self.queue_age.as_dict(),
            "inter_arrival": self.inter_arrival.as_dict(),
        }

    def as_text(self) -> str:
        """The same for people, some lines."""
        s = self
        dropped = ", ".join(f"{n} {reason}" for reason, n in s.dropped.items()) or "0"
        gaps = f"{s.gaps} (longest {s.longest_gap_s:.3g} s)" if s.gaps else "0"
        lines = [
            f"frames    {s.counts.frames} in {s.span_s:.2f} s ({s.rate_hz:.2f} Hz), {s.estimates} estimates",
            f"lost      dropped {dropped} · resyncs {s.counts.resyncs} · bytes skipped {s.counts.skipped} · "
            f"malformed {s.counts.malformed} · checksum {s.counts.checksum} · gaps {gaps}"
            + (f" · restarts {s.restarts}" if s.restarts else "")
            + (f" · {s.lost} samples missing" if s.lost else "")
            + (f" · {s.repeats} equal to the one before" if s.repeats else ""),
            f"service   {quantiles_text(s.service)}   read to sink",
            f"queue     {quantiles_text(s.queue_age)}   read to its turn",
            f"arrival   {quantiles_text(s.inter_arrival)}   between frames",
        ]
        if (ppm := s.clock_ppm) is not None:
            lines.append(f"clock     the device's runs {ppm:+.1f} ppm against this computer's")
        if s.unsent:
            lines.insert(2, "unsent    " + ", ".join(f"{n} to {name}" for name, n in s.unsent.items()))
        return "\n".join(lines)


def quantiles_text(bins: LogBins) -> str:
    """p50, p99, p99.9 and max of durations, with their units."""
    if bins.count == 0:
        return "nothing was measured"
    return " · ".join(f"{name} {duration_text(bins.quantile_ns(q))}" for name, q in QUANTILES) + (
        f" · max {duration_text(bins.max_ns)}"
    )


QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))


def duration_text(ns: float) -> str:
    """A duration with its unit, three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns / 1e3:.3g} us" if ns >= 100 else "0"
