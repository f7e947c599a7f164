"""What waits to be watched, and what the watch has found."""

from django.db import migrations

FORWARD = """
CREATE TABLE watch_queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace_id bytea NOT NULL CHECK (octet_length(trace_id) = 16),
    service text COLLATE "C" NOT NULL,
    received_on date NOT NULL,
    spans bytea NOT NULL CHECK (octet_length(spans) % 16 = 0),
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts smallint NOT NULL DEFAULT 0,
    failure text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE TABLE run_findings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service text COLLATE "C" NOT NULL,
    scope smallint NOT NULL,
    key text COLLATE "C" NOT NULL,
    source text NOT NULL,
    ordinal integer NOT NULL,
    trace_id bytea NOT NULL,
    kind text NOT NULL,
    mode text NOT NULL,
    severity text NOT NULL,
    title text NOT NULL,
    began_at timestamptz NOT NULL,
    detected_at timestamptz NOT NULL,
    latest_at timestamptz NOT NULL,
    is_open boolean NOT NULL,
    count bigint NOT NULL,
    period integer NOT NULL,
    cost_nano bigint,
    per_hour_nano bigint,
    detail text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (service, scope, key, source, ordinal)
);
CREATE INDEX run_findings_trace ON run_findings (trace_id);
CREATE INDEX run_findings_open ON run_findings (latest_at) WHERE is_open;
CREATE INDEX run_findings_found ON run_findings (found_at DESC);
"""
BACK = "DROP TABLE run_findings; DROP TABLE watch_queue;"


class Migration(migrations.Migration):
    """Two tables that no model manages."""

    dependencies = [("runs", "0009_agents_that_were_only_made")]
    operations = [migrations.RunSQL(FORWARD, BACK)]
