"""Makes an ingest key and prints it, alone on the last line."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from agentops.accounts.actions import create_ingest_key


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
        name = options["name"] or ("collector" if options["collector"] else options["service"])
        self.stdout.write(create_ingest_key(name=name, service=options["service"]))
