"""A trace in which an agent was only made is no run."""

from django.db import migrations

INDEXES = """
CREATE INDEX runs_started ON runs (started_at DESC, trace_id DESC) WHERE NOT is_absorbed;
CREATE INDEX runs_service_started ON runs (service, started_at DESC, trace_id DESC) INCLUDE (environment)
    WHERE NOT is_absorbed;
CREATE INDEX runs_failed ON runs (started_at DESC, trace_id DESC) WHERE (root_error OR last_error) AND NOT is_absorbed;
"""
ABSORBED = """
DROP INDEX runs_started, runs_service_started, runs_failed;
ALTER TABLE runs DROP COLUMN is_absorbed;
ALTER TABLE runs ADD COLUMN is_absorbed boolean NOT NULL GENERATED ALWAYS AS (CONDITION) STORED;
"""
FORWARD = ABSORBED.replace(
    "CONDITION",
    "steps = 0 AND agents = '{}' AND (absorbed_spans > 0 OR (spans = 1 AND NOT root_error"
    " AND name IS NOT NULL AND starts_with(name, 'create_agent ')))",
)
BACK = ABSORBED.replace("CONDITION", "absorbed_spans > 0 AND steps = 0 AND agents = '{}'")


class Migration(migrations.Migration):
    """The generated column again, with the indexes that it is in."""

    dependencies = [("runs", "0008_trees_by_lookup")]
    operations = [migrations.RunSQL(FORWARD + INDEXES, BACK + INDEXES)]
