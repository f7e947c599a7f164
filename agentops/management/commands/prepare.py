"""Brings database, static files, first admin and first ingest key up to date; running it again changes nothing."""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

from agentops.accounts.actions import create_ingest_key
from agentops.accounts.models import IngestKey, Role, User

if TYPE_CHECKING:
    from argparse import ArgumentParser

_FIRST_TRACE = """
  First ingest key (shown this once; it books each span to its service.name):  {key}

  Send a first trace:
    curl {url}v1/traces -H 'x-api-key: {key}' -H 'content-type: application/json' -d '{{"resourceSpans":[{{
      "resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"my-agent"}}}}]}},
      "scopeSpans":[{{"spans":[{{"name":"chat gpt-4o","kind":3,
        "traceId":"'$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')'",
        "spanId":"'$(od -An -N8 -tx1 /dev/urandom | tr -d ' \\n')'",
        "startTimeUnixNano":"'$(date +%s)'000000000","endTimeUnixNano":"'$(date +%s)'900000000","attributes":[
          {{"key":"gen_ai.operation.name","value":{{"stringValue":"chat"}}}},
          {{"key":"gen_ai.provider.name","value":{{"stringValue":"openai"}}}},
          {{"key":"gen_ai.request.model","value":{{"stringValue":"gpt-4o"}}}},
          {{"key":"gen_ai.usage.input_tokens","value":{{"intValue":"1200"}}}},
          {{"key":"gen_ai.usage.output_tokens","value":{{"intValue":"300"}}}}]}}]}}]}}]}}'

  From an agent with OpenTelemetry:
    export OTEL_EXPORTER_OTLP_ENDPOINT={origin}
    export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
    export OTEL_EXPORTER_OTLP_HEADERS=x-api-key={key}
    export OTEL_SERVICE_NAME=my-agent
"""


class Command(BaseCommand):
    """See the module."""

    help = "Migrate, collect static files, create the first admin and the first ingest key where they are missing."
    requires_migrations_checks = False
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--url", default="http://127.0.0.1:8000/", help="where it answers, for the examples")
        parser.add_argument("--demo", action="store_true", help="create the demo's logins, and show them every time")
        parser.add_argument("--no-static", action="store_true", help="static files were collected elsewhere")

    def handle(self, *_args: Any, url: str, demo: bool, no_static: bool, **_options: Any) -> None:
        """Do what is missing, and print what was made."""
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, verbosity=0)
        if not no_static:
            _collect_static_files()
        with transaction.atomic():  # printed before it is committed: nothing exists that nobody was told
            if demo:
                call_command("demo_people", stdout=self.stdout)
            self._create_first_admin()
            self._create_first_key(url)

    def _create_first_admin(self) -> None:
        if User.objects.exists():
            return
        given = os.environ.get("AGENTOPS_ADMIN_PASSWORD")
        password = given or secrets.token_urlsafe(12)
        User.objects.create_superuser("admin", password=password, role=Role.ADMIN)
        shown = "the password in AGENTOPS_ADMIN_PASSWORD" if given else f"{password}   (shown this once)"
        self.stdout.write(f"\n  First login:  admin / {shown}")
        self.stdout.flush()

    def _create_first_key(self, url: str) -> None:
        if IngestKey.objects.exists():
            return
        key = create_ingest_key(name="first key")
        self.stdout.write(_FIRST_TRACE.format(key=key, url=url, origin=url.rstrip("/")))
        self.stdout.flush()


def _collect_static_files() -> None:
    """Collect and compress when a file changed since the last time."""
    mark = settings.STATIC_ROOT / ".collected"
    state = _static_state()
    if mark.exists() and mark.read_text() == state:
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    mark.write_text(state)


def _static_state() -> str:
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            digest.update(f"{path} {storage.size(path)} {storage.get_modified_time(path)}\n".encode())
    return digest.hexdigest()
