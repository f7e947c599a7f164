"""What the receiver does on a timetable: show that it lives, and digest what was kept aside."""

from __future__ import annotations

from celery import shared_task

from agentops.ingest import actions


@shared_task
def heartbeat() -> None:
    """Show that beat sent a task and a worker ran it; may run twice."""
    actions.beat()


@shared_task
def redigest_quarantine() -> None:
    """Try again what could not be digested; what is booked already is not counted again."""
    actions.redigest()
