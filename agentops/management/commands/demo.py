"""Starts all of the product with a believable history and simulated live traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection

from agentops.runs.models import Run

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """See the module."""

    help = "The same as up --demo."
    requires_migrations_checks = False
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--send-to", metavar="URL", help="send history and traffic to an agentops that is up")

    def handle(self, *_args: Any, send_to: str | None, **_options: Any) -> None:
        """Start everything, or play the demo's part in what is started."""
        if send_to is None:
            call_command("up", demo=True)
            return
        if not Run.objects.exists():
            call_command("demo_history")
        connection.close()
        call_command("demo_traffic", url=send_to)
