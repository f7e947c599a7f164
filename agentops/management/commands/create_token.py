"""Makes an operator's API token and prints it, alone on the last line."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, User


class Command(BaseCommand):
    """``create_token --user NAME [--scope read|write] [--name TEXT]``."""

    help = "Make a token for /api/v1; it is printed once, alone on the last line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("--user", required=True)
        parser.add_argument("--scope", choices=ApiToken.Scope.values, default=ApiToken.Scope.READ)
        parser.add_argument("--name", default="")

    def handle(self, *_: Any, **options: Any) -> None:
        """Make the token."""
        try:
            user = User.objects.get(username=options["user"], is_active=True)
        except User.DoesNotExist as error:
            message = f"There is no active user {options['user']!r}."
            raise CommandError(message) from error
        self.stdout.write(create_token(user=user, scope=options["scope"], name=options["name"]))
