"""Which models and tools a run has, on its own row: nobody need look for them among its spans."""

import django.contrib.postgres.fields
from django.db import migrations, models

COLUMNS = """
ALTER TABLE runs ADD COLUMN models text[] NOT NULL DEFAULT '{}', ADD COLUMN tools text[] NOT NULL DEFAULT '{}';
"""
# As the booking collects them: the names that the spans say, sorted, at most a hundred.
FILL = """
WITH told AS (
    SELECT trace_id, service,
        array_agg(DISTINCT n.name ORDER BY n.name) FILTER (WHERE n.is_model) AS models,
        array_agg(DISTINCT n.name ORDER BY n.name) FILTER (WHERE NOT n.is_model) AS tools
    FROM spans s CROSS JOIN LATERAL (VALUES
        (CASE WHEN s.kind IN (3, 4) THEN s.request_model END, true),
        (CASE WHEN s.kind IN (3, 4) THEN s.response_model END, true),
        (s.tool, false)
    ) AS n (name, is_model) WHERE n.name <> '' GROUP BY trace_id, service
)
UPDATE runs r SET models = coalesce(told.models[1:100], '{}'), tools = coalesce(told.tools[1:100], '{}')
FROM told WHERE r.trace_id = told.trace_id AND r.service = told.service;
"""
INDEX = "CREATE INDEX runs_names ON runs USING gin (agents, models, tools);"
DROP = "ALTER TABLE runs DROP COLUMN models, DROP COLUMN tools;"


class Migration(migrations.Migration):
    """Fills the rows of runs whose spans are still there."""

    dependencies = [("runs", "0005_messages")]
    operations = [
        migrations.RunSQL(COLUMNS, DROP),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL(INDEX, "DROP INDEX runs_names;"),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    "run",
                    field,
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), db_column=column, default=list, size=None
                    ),
                )
                for field, column in (("model_names", "models"), ("tool_names", "tools"))
            ],
        ),
    ]
