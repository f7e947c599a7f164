"""Sends simulated traffic in real time until it is stopped."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from agentops.demo.exporter import Exporter
from agentops.demo.live import SESSION_SECONDS, Traffic, run
from agentops.demo.people import demo_key
from agentops.demo.story import Story

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """See the module."""

    help = "Send simulated live traffic to the receiver until Ctrl-C or SIGTERM."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--url", default="http://127.0.0.1:8000/", help="where agentops answers")
        parser.add_argument("--session-seconds", type=float, default=SESSION_SECONDS, help="mean time between sessions")
        parser.add_argument("--story", choices=list(Story), default=Story.USUAL, help="what goes wrong, and when")
        parser.add_argument("--seed", default="", help="the same seed sends the same sessions (default: the time)")

    def handle(self, *_args: Any, url: str, session_seconds: float, seed: str, story: str, **_options: Any) -> None:
        """Send until a signal comes."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        traffic = Traffic(seed or str(time.time_ns()), session_seconds=session_seconds, story=Story(story))
        run(traffic, Exporter(url, demo_key(), stop), stop)
