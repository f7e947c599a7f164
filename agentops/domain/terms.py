"""What is stored of a span so that it can be priced again: its terms, and the cost that its client reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from agentops.domain.spans import NO_TERMS, CostBasis, Span, Terms

_NAMES = tuple(field.name for field in fields(Terms))
_REPORTED, _BASIS = "reported_nano", "reported_basis"


def stored_terms(span: Span) -> dict[str, Any] | None:
    """A JSON object; ``None`` for the many that have nothing to say."""
    terms, reported = span.terms, span.reported_cost_nano
    if terms is NO_TERMS and reported is None:
        return None
    stored = {name: value for name in _NAMES if (value := getattr(terms, name)) is not None}
    if reported is not None:
        stored |= {_REPORTED: reported, _BASIS: int(span.reported_cost_basis)}
    return stored or None


def recall_terms(span: Span, stored: Mapping[str, Any] | None) -> None:
    """Give a span what was stored of it."""
    if not stored:
        return
    known = {name: stored[name] for name in _NAMES if name in stored}
    span.terms = Terms(**known) if known else NO_TERMS
    if _REPORTED in stored:
        span.reported_cost_nano, span.reported_cost_basis = stored[_REPORTED], CostBasis(stored[_BASIS])
