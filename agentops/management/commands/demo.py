"""The demo's traffic: the history in the background, newest day first, and live traffic at once."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

import agentops.celery  # noqa: F401  (what the demo asks workers for goes to their broker)
from agentops.accounts.models import User
from agentops.demo.attributed import attribute
from agentops.demo.ceilings import make_ceilings
from agentops.demo.exporter import Exporter, ExportError
from agentops.demo.guarded import Asking
from agentops.demo.history import Past, load
from agentops.demo.live import Traffic, run
from agentops.demo.people import began_on, create_people, demo_key, demo_password, home
from agentops.demo.settled import settle
from agentops.demo.story import Story

if TYPE_CHECKING:
    from argparse import ArgumentParser

logger = logging.getLogger(__name__)

_HISTORY_DAYS = 30


class Command(BaseCommand):
    """See the module."""

    help = "Fill in the demo's history and send live traffic until Ctrl-C or SIGTERM."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--send-to", default="http://127.0.0.1:8000/", metavar="URL", help="where agentops answers")
        parser.add_argument("--story", choices=list(Story), default=Story.USUAL, help="what goes wrong, and when")

    def handle(self, *_args: Any, send_to: str, story: str, **_options: Any) -> None:
        """Send until a signal comes."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        create_people(password=demo_password(home()))
        key, now = demo_key(), datetime.now(UTC)
        past = Past("demo", began_on(now.date()), now)

        def fill_in() -> None:
            try:
                sent = load(past, _HISTORY_DAYS, lambda: Exporter(send_to, key, stop), stop, lambda *_: None)
                logger.info("history: %d spans of %d days", sent, _HISTORY_DAYS)
                owner, finance = (User.objects.filter(username=name).first() for name in ("owner", "finance"))
                settle(now=now, by=owner)
                attribute(now=now, finance=finance, owner=owner)
                make_ceilings(by=User.objects.filter(username="admin").first())
            except ExportError as error:
                logger.warning("the history is incomplete: %s", error)

        threading.Thread(target=fill_in, daemon=True).start()
        with closing(Asking(send_to, key)) as asking:
            traffic = Traffic(str(time.time_ns()), story=Story(story), asking=asking)
            run(traffic, Exporter(send_to, key, stop), stop)
