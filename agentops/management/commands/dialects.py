"""Prints the page about dialects, as ``docs/dialects.md`` has it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from agentops.domain.dialects.page import page


class Command(BaseCommand):
    """``dialects > docs/dialects.md``."""

    help = "Print docs/dialects.md, made from the dialects' tables."

    def handle(self, *_: Any, **__: Any) -> None:
        """Print it."""
        self.stdout.write(page(), ending="")
