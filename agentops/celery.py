"""The Celery application and its processes. Tasks are hints: what must be done is a row in PostgreSQL first.

python -m agentops.celery worker|watch|beat [LEVEL]    ``celery``'s own command line would load, and keep, all of its
commands. ``watch`` is a worker of its own queue that also looks without being asked: no long task may hold it up.
"""

import os
import sys
from importlib import import_module
from socket import gethostname
from typing import Any

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentops.settings")
# ``prepare`` has looked at everything already; a worker needs neither the pages nor the memory to check them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("agentops")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# Of every thread: tasks are asked for by those that serve requests as well.
app.set_default()


def main(role: str, level: str = "WARNING") -> int:
    """Run until stopped; the exit code."""
    if role == "beat":
        # It sends tasks by their names: it needs neither Django nor the tasks themselves.
        timetable = Celery("agentops", fixups=[])
        timetable.config_from_object("django.conf:settings", namespace="CELERY")
        timetable.Beat(schedule=timetable.conf.beat_schedule_filename, pidfile="", loglevel=level, quiet=True).run()
        return 0
    is_watch = role == "watch"
    threads = 2 if is_watch else int(os.environ.get("AGENTOPS_WORKER_CONCURRENCY") or 4)
    worker = app.Worker(
        hostname=f"{role}@{gethostname()}",
        queues=["watch"] if is_watch else ["celery"],
        pool="threads",
        concurrency=threads,
        without_gossip=True,
        without_mingle=True,
        loglevel=level,
        quiet=True,
    )
    sweeper = _sweeper() if is_watch else None
    if sweeper is not None:
        sweeper.start()
    try:
        worker.start()
    finally:
        if sweeper is not None:
            sweeper.stop()
    return worker.exitcode or 0


def _sweeper() -> Any:
    """What looks without being asked at new steps and at ceilings; its modules need Django, which is set up by now."""
    look = import_module("agentops.watch.look").look
    due = import_module("agentops.guard.alarms").look
    minute = import_module("agentops.guard.minutes").minute
    return import_module("agentops.watch.sweeper").Sweeper((look, 0.25), (due, 1.0), (minute, 60.0))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
