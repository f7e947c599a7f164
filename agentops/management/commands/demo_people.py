"""Creates the demo's teams, people and service catalog, and prints the logins every time."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from agentops.demo.people import create_people, demo_password


class Command(BaseCommand):
    """See the module."""

    help = "Create the demo's teams, logins and service catalog; print the logins."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Create what is missing and print the logins."""
        self.stdout.write("\n  Demo logins:")
        for login in create_people(password=demo_password(settings.HOME)):
            self.stdout.write(f"    {login.username:<11}{login.password or '(the password you chose)':<28}{login.role}")
