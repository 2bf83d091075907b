"""Plots, the one file that imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import MissingExtraError
from hiss.files import write_bytes


def plot_estimates(
    path: str | Path,
    t: NDArray[np.float64],
    y: NDArray[np.floating[Any]],
    estimate: NDArray[np.floating[Any]],
    valid: NDArray[np.bool_],
    *,
    name: str,
    unit: str,
    title: str,
) -> None:
    """One output over time: target and estimate above, their difference below; t, y, estimate, valid: (n,).

    Raises MissingExtraError without matplotlib, HissError when the file cannot be written.
    """
    figure = _figure(12, 6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    label = f"{name} ({unit})" if unit else name
    hidden = np.where(valid, 1.0, np.nan)  # what is not scored is not drawn
    above.plot(t, y * hidden, color="black", linewidth=1.2, label="target")
    above.plot(t, estimate * hidden, color="tab:orange", linewidth=1.0, label="estimate")
    above.set(ylabel=label, title=title)
    above.legend(loc="best", framealpha=0.6)
    below.plot(t, (estimate - y) * hidden, color="tab:red", linewidth=0.8)
    below.axhline(0, color="black", linewidth=0.5)
    below.set(ylabel=f"error ({unit})" if unit else "error", xlabel="time (s)")
    _save(figure, path)


def plot_comparison(path: str | Path, bars: Sequence[tuple[str, str, Sequence[float]]]) -> None:
    """(data set, model, an error per seed): a panel per data set, the mean as a bar, each seed as a dot.

    Raises MissingExtraError without matplotlib, HissError when the file cannot be written.
    """
    data = list(dict.fromkeys(name for name, _, _ in bars))
    most = max(sum(name == d for name, _, _ in bars) for d in data)
    figure = _figure(7.5 * len(data), 1.2 + 0.32 * most)
    for axes, name in zip(figure.subplots(1, len(data), squeeze=False)[0], data, strict=True):
        some = [(model, errors) for d, model, errors in bars if d == name]
        places = range(len(some))
        axes.barh(places, [np.mean(errors) for _, errors in some], color="tab:blue", alpha=0.45)
        for place, (_, errors) in zip(places, some, strict=True):
            axes.plot(errors, [place] * len(errors), ".", color="black", markersize=4)
        axes.set_yticks(list(places), [model for model, _ in some])
        axes.invert_yaxis()
        axes.set(title=name, xlabel="test NMSE (less is better)", xscale="log")
    _save(figure, path)


def plot_reading(path: str | Path, panels: dict[str, Any], title: str) -> None:
    """Of hiss.arnet.reading.panels: weights with intervals, residual autocorrelation; of a loop also its impulse and
    frequency response and its poles.

    Raises MissingExtraError without matplotlib, HissError when the file cannot be written.
    """
    many = "impulse" in panels
    figure = _figure(12, 7 if many else 3.6)
    axes = figure.subplots(2 if many else 1, 3 if many or "gains" in panels else 2).ravel()
    _plot_weights(axes[0], panels["lags"])
    found = panels["autocorrelation"]
    axes[1].bar(np.arange(1, len(found) + 1), found, color="tab:gray")
    axes[1].axhspan(-panels["noise"], panels["noise"], color="tab:green", alpha=0.2)
    axes[1].set(title="autocorrelation of what is left", xlabel="lag (samples)")
    for name, (hz, gain) in panels.get("gains", {}).items():
        axes[2].plot(hz, gain, label=name)
        axes[2].set(title="gain from each channel", xlabel="Hz")
        axes[2].legend()
    if many:
        _plot_loop(axes[2:], panels)
    figure.suptitle(title)
    _save(figure, path)


def _plot_weights(axes: Any, lags: dict[str, Any]) -> None:
    """A colour a channel, where there are few."""
    few = len(lags) <= 6
    for i, (name, some) in enumerate(lags.items()):
        ages, weights, low, high = np.array(some).T
        colour = f"C{i}" if few else "C0"
        axes.vlines(ages, low, high, color=colour, alpha=0.4)
        axes.plot(ages, weights, ".", color=colour, label=name)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(title=f"weights of {len(lags)} channels, 95 % intervals", xlabel="age (samples)")
    if few:
        axes.set_title("weights, 95 % intervals")
        axes.legend()


def _plot_loop(axes: Any, panels: dict[str, Any]) -> None:
    axes[0].plot(panels["impulse"])
    axes[0].set(title="answer to a pulse", xlabel="sample")
    axes[1].semilogy(*panels["frequency"])
    axes[1].set(title="gain of the loop", xlabel="Hz")
    axes[1].locator_params(axis="x", nbins=4)
    largest = float(np.abs(panels["poles"]).max(initial=0.0))
    axes[2].plot(panels["poles"].real, panels["poles"].imag, "x", color="tab:red" if largest >= 1 else "tab:blue")
    axes[2].add_patch(_circle())
    title = f"poles, the largest {largest:.4f}{': UNSTABLE' if largest >= 1 else ''}"
    axes[2].set(title=title, aspect="equal")
    axes[3].axis("off")


def plot_curves(
    path: str | Path, panels: Sequence[tuple[str, str, str, dict[str, tuple[Any, Any]]]], *, log: str = ""
) -> None:
    """(title, x label, y label, {name: (x, y)}) side by side; log: axes that are logarithmic, "", "x", "y" or "xy".

    Raises MissingExtraError without matplotlib, HissError when the file cannot be written.
    """
    figure = _figure(6 * len(panels), 4.5)
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, x_label, y_label, curves) in zip(places, panels, strict=True):
        for name, (x, y) in curves.items():
            axes.plot(x, y, ".-", label=name)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        if "x" in log:
            axes.set_xscale("log")
        if "y" in log:
            axes.set_yscale("log")
        axes.legend()
    _save(figure, path)


def _circle() -> Any:
    from matplotlib.patches import Circle

    return Circle((0, 0), 1, fill=False, color="black", linewidth=0.5)


def _figure(width: float, height: float) -> Any:
    """An empty figure, inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, image.getvalue())


def plot_front(
    path: str | Path,
    tried: Sequence[tuple[float, float]],
    front: Sequence[tuple[float, float]],
    finals: Sequence[tuple[float, float]],
    winner: tuple[float, float],
    *,
    error: str,
) -> None:
    """What a search found: (instructions per sample on average, error) of what was tried, of its front, finals, winner.

    Raises MissingExtraError without matplotlib, HissError when the file cannot be written.
    """
    figure = _figure(7, 5)
    axes = figure.subplots()
    axes.plot(*zip(*tried, strict=True), "o", color="tab:gray", alpha=0.5, markersize=4, label="within budget")
    axes.step(*zip(*front, strict=True), "-o", where="post", color="tab:blue", markersize=5, label="front")
    if finals:
        axes.plot(*zip(*finals, strict=True), "s", color="tab:green", markersize=5, label="finals, trained in full")
    axes.plot(*winner, "*", color="tab:orange", markersize=14, label="winner" if finals else "best trial")
    axes.set(xlabel="instructions per sample, average", ylabel=error, xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):  # decades alone would leave a front of one decade without numbers
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.tick_params(which="both", labelsize=8)
    axes.tick_params(axis="x", which="both", rotation=45)
    axes.grid(which="both", alpha=0.2)
    axes.legend(loc="best")
    _save(figure, path)
