"""The icons of the product: strokes on a 16 by 16 grid, drawn inline in the colour of the text."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

ICONS = {
    "brand": "M1.5 11 5 5l3 4 3-6 3.5 8M1.5 14h13",
    "overview": "M1.5 8.5h3l2-5 3 9 2-4h3",
    "runs": "M2 3.5h12M2 8h7M2 12.5h9",
    "alerts": "M8 1.5a4 4 0 0 1 4 4c0 4 1.5 5 1.5 6h-11c0-1 1.5-2 1.5-6a4 4 0 0 1 4-4zM6.5 14h3",
    "spend": "M2.5 14V8M8 14V2.5M13.5 14V6M1 14h14",
    "what_if": "M2.6 6.5A5.7 5.7 0 1 1 2.3 9M2.5 2.5v4h4M8 5v3.2l2.2 1.6",
    "statements": "M2.5 3.5h11v10h-11zM2.5 6.5h11M5.5 2v3M10.5 2v3M6 10l1.5 1.5L10.5 9",
    "invoices": "M3.5 1.5h9v13l-2.25-1.5L8 14.5 5.75 13 3.5 14.5zM6 5h4M6 8h4",
    "prices": "M8.5 1.5h6v6L8 14 2 8zM11.5 4.5h.01",
    "budgets": "M1.5 12a6.5 6.5 0 1 1 13 0M8 12l3-4.5M1.5 12h2M12.5 12h2M8 5.5v1.5",
    "rules": "M2 4h6M11 4h3M2 8h1.5M6.5 8H14M2 12h6M11 12h3M9.5 2.5v3M5 6.5v3M9.5 10.5v3",
    "operations": "M2 3h12v4H2zM2 9h12v4H2zM4.5 5h.01M4.5 11h.01",
    "setup": "M10.5 5.5a3 3 0 1 1-1 2.24L3 14H1.5v-2.5l6-6M12 4h.01",
    "search": "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.7 10.7 14.5 14.5",
    "chevron": "M4 6l4 4 4-4",
    "copy": "M5.5 5.5h8v8h-8zM3.5 10.5h-1v-8h8v1",
    "signout": "M6 2.5H2.5v11H6M10 5l3 3-3 3M13 8H6",
    "check": "M3 8.5 6.5 12 13 4.5",
    "alert": "M8 2 1.5 13.5h13zM8 6.5v3M8 11.5h.01",
    "close": "M4 4l8 8M12 4l-8 8",
    "down": "M8 2.5v8M4.5 7.5 8 11l3.5-3.5M2.5 13.5h11",
}


@register.simple_tag
def icon(name: str) -> SafeString:
    """The inline SVG of an icon; it says nothing to a screen reader."""
    return format_html(
        '<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="{}"/></svg>',
        ICONS[name],
    )
