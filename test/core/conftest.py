"""Fixtures of the core's tests."""

from __future__ import annotations

import pytest
from synthetic import SyntheticScene, make_scene


@pytest.fixture(scope="session")
def scene() -> SyntheticScene:
    """A synthetic map with exact truth."""
    return make_scene()
