"""Loads simulated days of the past through the receiver. Loading them again changes nothing."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from agentops.demo.exporter import Exporter, ExportError
from agentops.demo.history import SPANS_AT_SCALE_1, Past, load
from agentops.demo.people import began_on, demo_key

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from datetime import date


class Command(BaseCommand):
    """See the module."""

    help = "Send simulated history to the receiver, newest day first."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--url", default="http://127.0.0.1:8000/", help="where agentops answers")
        parser.add_argument("--days", type=int, default=30)
        parser.add_argument("--spans", type=int, default=SPANS_AT_SCALE_1, help="about how many in 30 days")
        parser.add_argument("--seed", default="demo")

    def handle(self, *_args: Any, url: str, days: int, spans: int, seed: str, **_options: Any) -> None:
        """Load it and say how long it took."""
        now, begun = datetime.now(UTC), time.monotonic()
        key, stop = demo_key(), threading.Event()
        past = Past(seed, began_on(now.date()), now, spans / SPANS_AT_SCALE_1)

        def said(day: date, count: int) -> None:
            if count:
                self.stdout.write(f"{day}: {count} spans")

        try:
            sent = load(past, days, lambda: Exporter(url, key, stop), stop, said)
        except KeyboardInterrupt:
            stop.set()
            return
        except ExportError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{sent} spans of {days} days in {time.monotonic() - begun:.1f} s")
