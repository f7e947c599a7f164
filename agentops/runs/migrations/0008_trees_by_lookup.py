"""What lets a batch find its part of a run's tree by lookups, and one call told in several traces."""

from django.db import migrations

FORWARD = """
ALTER TABLE span_ledger ADD COLUMN parent_span_id bytea, ADD COLUMN start_ns bigint NOT NULL DEFAULT 0;
UPDATE span_ledger AS l SET parent_span_id = s.parent_span_id, start_ns = s.start_ns FROM spans AS s
WHERE s.received_on = l.received_on AND s.trace_id = l.trace_id AND s.span_id = l.span_id AND s.service = l.service;
ALTER TABLE span_ledger ALTER COLUMN start_ns DROP DEFAULT;

ALTER TABLE spans ADD COLUMN merged_trace_id bytea, ADD COLUMN own_figures text;
CREATE INDEX spans_merged ON spans (merged_trace_id) WHERE merged_trace_id IS NOT NULL;

ALTER TABLE runs ADD COLUMN absorbed_spans integer NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN is_absorbed boolean NOT NULL
    GENERATED ALWAYS AS (absorbed_spans > 0 AND steps = 0 AND agents = '{}') STORED;
DROP INDEX runs_started, runs_service_started, runs_failed;
CREATE INDEX runs_started ON runs (started_at DESC, trace_id DESC) WHERE NOT is_absorbed;
CREATE INDEX runs_service_started ON runs (service, started_at DESC, trace_id DESC) INCLUDE (environment)
    WHERE NOT is_absorbed;
CREATE INDEX runs_failed ON runs (started_at DESC, trace_id DESC) WHERE (root_error OR last_error) AND NOT is_absorbed;

CREATE TABLE answers (
    key bytea PRIMARY KEY CHECK (octet_length(key) = 16),
    received_on date NOT NULL,
    members bytea[] NOT NULL
);
CREATE INDEX answers_received ON answers USING brin (received_on) WITH (autosummarize = on);

CREATE TABLE span_waiting (
    trace_id bytea NOT NULL,
    service text COLLATE "C" NOT NULL,
    ancestor bytea NOT NULL,
    span_id bytea NOT NULL,
    received_on date NOT NULL,
    PRIMARY KEY (trace_id, ancestor, service, span_id)
);
"""
BACK = """
DROP TABLE span_waiting;
DROP TABLE answers;
DROP INDEX runs_started, runs_service_started, runs_failed;
ALTER TABLE runs DROP COLUMN is_absorbed, DROP COLUMN absorbed_spans;
CREATE INDEX runs_started ON runs (started_at DESC, trace_id DESC);
CREATE INDEX runs_service_started ON runs (service, started_at DESC, trace_id DESC) INCLUDE (environment);
CREATE INDEX runs_failed ON runs (started_at DESC, trace_id DESC) WHERE root_error OR last_error;
DROP INDEX spans_merged;
ALTER TABLE spans DROP COLUMN merged_trace_id, DROP COLUMN own_figures;
ALTER TABLE span_ledger DROP COLUMN parent_span_id, DROP COLUMN start_ns;
"""


class Migration(migrations.Migration):
    """The ledger learns the parents and starts of the spans that are still there."""

    dependencies = [("runs", "0007_terms")]
    operations = [migrations.RunSQL(FORWARD, BACK)]
