"""Makes an ingest key and prints it, alone on the last line."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from agentops.accounts.actions import create_ingest_key

MAX_SERVICE_CHARS, MAX_NAME_CHARS = 128, 120


class Command(BaseCommand):
    """``create_ingest_key --service NAME | --collector [--name TEXT]``."""

    help = "Make an ingest key; it is printed once, alone on the last line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        kind = parser.add_mutually_exclusive_group(required=True)
        kind.add_argument("--service", default="", help="book everything to this service")
        kind.add_argument("--collector", action="store_true", help="take the service from service.name")
        parser.add_argument("--name", default="", help="what the key is for")

    def handle(self, *_: Any, **options: Any) -> None:
        """Make the key."""
        service = options["service"].strip()
        if not options["collector"] and not 0 < len(service) <= MAX_SERVICE_CHARS:
            message = f"A service has a name of at most {MAX_SERVICE_CHARS} characters."
            raise CommandError(message)
        name = (options["name"] or service or "collector")[:MAX_NAME_CHARS]
        self.stdout.write(create_ingest_key(name=name, service=service))
