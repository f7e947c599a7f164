"""Indexes that a run's update leaves alone, and that answer how many runs there were without reading them."""

from django.db import migrations

# An update that changes no indexed column writes no index at all. The moment of the last receipt changes with every
# batch: a block range index summarises it without being in the way, a B-tree of it made each update write them all.
FORWARD = """
DROP INDEX runs_open;
CREATE INDEX runs_received ON runs USING brin (last_received_at) WITH (pages_per_range = 16, autosummarize = on);
DROP INDEX runs_service_started;
CREATE INDEX runs_service_started ON runs (service, started_at DESC, trace_id DESC) INCLUDE (environment);
CREATE INDEX runs_failed ON runs (started_at DESC, trace_id DESC) WHERE root_error OR last_error;
CREATE STATISTICS runs_environment ON (coalesce(environment, 'production')) FROM runs;
"""
BACK = """
DROP STATISTICS runs_environment;
DROP INDEX runs_failed;
DROP INDEX runs_service_started;
CREATE INDEX runs_service_started ON runs (service, started_at DESC, trace_id DESC);
DROP INDEX runs_received;
CREATE INDEX runs_open ON runs (last_received_at) WHERE NOT has_root;
"""


class Migration(migrations.Migration):
    """No column changes."""

    dependencies = [("runs", "0002_models")]
    operations = [migrations.RunSQL(FORWARD, BACK)]
