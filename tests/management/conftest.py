"""Homes for whole instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.embedded.running import Homes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def homes() -> Iterator[Homes]:
    """Homes and supervisors that are gone after the test."""
    homes = Homes()
    yield homes
    homes.clean()
