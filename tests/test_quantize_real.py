"""Integers on real recordings: what a small model loses, on a run that neither training nor calibration saw."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training is not installed: pip install 'hiss[train]'")

from hiss import scoring  # noqa: E402
from hiss.folding import fold  # noqa: E402
from hiss.models import S4D, ARNet, Hierarchical, Residual  # noqa: E402
from hiss.quantization import quantize  # noqa: E402
from hiss.recording import choose_targets, read_recordings, split  # noqa: E402
from hiss.training import TrainOptions, fit  # noqa: E402

SMALL = S4D(8, 1, 8)
SPEC = Residual(ARNet(period=5), Hierarchical(SMALL, SMALL, 5))


@pytest.fixture(scope="module")
def measured(eflesh_normal):
    """(program, its RMSE in float32, recordings to calibrate, test recordings), trained for a moment."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    recordings = [choose_targets(r, "force") for r in read_recordings(eflesh_normal)]
    train, test = split(recordings)
    run = fit(SPEC, train, "force", options=TrainOptions(steps=80, min_gain=0.0), progress=False)
    torch.set_num_threads(before)
    program = fold(run)
    ready = scoring.ready(program, test)
    return program, scoring.score_whole(scoring.estimator(program), ready, 5).rmse()[0], train, ready


@pytest.mark.parametrize(("weights", "most"), [("int8", 0.01), ("int16", 0.001)])
def test_the_error_grows_by_no_more_than_promised(measured, weights, most):
    program, before, train, ready = measured
    made, _ = quantize(program, train, weights=weights)
    after = scoring.score_whole(scoring.estimator(made), ready, 5).rmse()[0]
    assert after <= before * (1 + most)


def test_a_budget_is_kept_on_a_run_that_it_never_saw(measured):
    """Measured on training recordings, it holds on the test recording to twice itself."""
    program, before, train, ready = measured
    made, report = quantize(program, train, budget=0.002)
    assert report.choice.error <= 0.002
    after = scoring.score_whole(scoring.estimator(made), ready, 5).rmse()[0]
    assert after <= before * 1.004
