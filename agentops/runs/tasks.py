"""What is done about runs and spans on a timetable."""

from celery import shared_task

from agentops.runs import partitions


@shared_task
def maintain_partitions() -> None:
    """Make tomorrow's partitions and drop those past retention; may run twice."""
    partitions.maintain()
