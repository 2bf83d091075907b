"""Plots, the one file that imports matplotlib."""

from __future__ import annotations

import io
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
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
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
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, image.getvalue())
