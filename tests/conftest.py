"""What several tests share: where real recordings lie, and how an absent thing is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]


def absent(reason: str) -> NoReturn:
    """Skip with a reason; in CI, where everything must be there, fail."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason} (CI=true: nothing may be absent)")
    pytest.skip(reason)


def shared_path(*parts: str) -> Path:
    """A file or folder of the real recordings (HISS_SHARED, else ../shared beside the project); skips when absent."""
    path = Path(os.environ.get("HISS_SHARED", ROOT.parent / "shared")).joinpath(*parts)
    if not path.exists():
        absent(f"no real recordings: {path} is absent (set HISS_SHARED)")
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings."""
    return shared_path()


@pytest.fixture(scope="session")
def eflesh_normal() -> Path:
    """The published eFlesh normal force recordings, 20 Hz, 15 channels."""
    return shared_path("data", "eflesh", "eflesh_normal_force.h5")


@pytest.fixture(scope="session")
def eflesh_shear() -> Path:
    """The published eFlesh shear force recordings, 20 Hz, 30 channels."""
    return shared_path("data", "eflesh", "eflesh_shear_force.h5")
