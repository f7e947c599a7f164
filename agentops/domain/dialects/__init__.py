"""Vendor attributes to canonical spans: one table each, and the loop that reads them."""

from __future__ import annotations

from agentops.domain.dialects.messages import told_by
from agentops.domain.dialects.normalise import normalise
from agentops.domain.dialects.values import clean

__all__ = ["clean", "normalise", "told_by"]
