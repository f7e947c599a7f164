"""Differences of money, with their sign."""

from __future__ import annotations

from decimal import Decimal

from django import template

from agentops.templatetags.formats import money

register = template.Library()


@register.filter
def signed_money(nano: int | Decimal) -> str:
    """Dollars with a sign, from nano-dollars: ``+$12.40``; ``$0.00`` for nothing."""
    return f"+{money(nano)}" if nano > 0 else money(nano)
