"""Spend by several keys at once: what ingest appends, what it is folded into, and what of that is closed."""

from django.db import migrations

MEASURES = (
    "cost_nano", "unpriced_calls", "llm_calls", "tool_calls", "steps", "errors", "input_tokens", "output_tokens",
    "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_output_tokens",
)
KEYS = ("environment", "service", '"user"', "feature", "session", "release", "agent", "model", "tool")
TEXTS = ", ".join(f'{key} text COLLATE "C" NOT NULL' for key in KEYS)
BIGINTS = ", ".join(f"{measure} bigint NOT NULL" for measure in MEASURES)
SUMS = ", ".join(f"{m} {'numeric(38,0)' if m == 'cost_nano' else 'bigint'} NOT NULL" for m in MEASURES)

# The journal is written and emptied all the time: what is dead in it would be read by every page.
TABLES = f"""
CREATE TABLE spend_journal (hour integer NOT NULL, {TEXTS}, {BIGINTS})
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_threshold = 5000);

CREATE TABLE spend_details (start timestamptz NOT NULL, {TEXTS}, {SUMS});
CREATE INDEX spend_details_start ON spend_details (start);
CREATE INDEX spend_details_user ON spend_details ("user", start);
CREATE INDEX spend_details_session ON spend_details (session, start);
CREATE INDEX spend_details_feature ON spend_details (feature, start);
CREATE INDEX spend_details_agent ON spend_details (agent, start);
CREATE INDEX spend_details_model ON spend_details (model, start);
CREATE INDEX spend_details_tool ON spend_details (tool, start);

CREATE VIEW spend_steps AS
SELECT * FROM spend_details
UNION ALL
SELECT to_timestamp(hour * 3600.0), {", ".join(KEYS)}, {", ".join(MEASURES)} FROM spend_journal;

CREATE TABLE spend_pairs (
    days smallint NOT NULL,
    pair smallint NOT NULL,
    start timestamptz NOT NULL,
    environment text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    other_key text COLLATE "C" NOT NULL,
    {SUMS},
    PRIMARY KEY (pair, days, start, key, other_key, environment, service)
) WITH (fillfactor = 90);
CREATE INDEX spend_pairs_other ON spend_pairs (pair, days, start, other_key, key);

CREATE TABLE spend_fold (id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1), folded_at timestamptz NOT NULL);
CREATE TABLE spend_closed (days smallint NOT NULL, start timestamptz NOT NULL, PRIMARY KEY (days, start));
"""
# What was booked before: folded like everything else, in its own time.
FILL = f"""
INSERT INTO spend_journal
SELECT s.start_ns / 3600000000000, coalesce(r.environment, 'production'), r.service, coalesce(r."user", ''),
    coalesce(r.feature, ''), coalesce(r.session, ''), coalesce(r.release, ''), coalesce(s.agent, ''),
    CASE WHEN s.kind IN (3, 4) THEN coalesce(nullif(s.response_model, ''), s.request_model, '') ELSE '' END,
    CASE WHEN s.kind = 5 THEN coalesce(s.tool, '') ELSE '' END,
    sum(coalesce(s.cost_nano, 0)),
    count(*) FILTER (WHERE s.kind IN (3, 4) AND s.cost_nano IS NULL AND (NOT s.is_error OR coalesce(s.input_tokens,
        s.output_tokens, s.cache_read_input_tokens, s.cache_creation_input_tokens, s.reasoning_output_tokens)
        IS NOT NULL)),
    count(*) FILTER (WHERE s.kind IN (3, 4)), count(*) FILTER (WHERE s.kind = 5), count(*),
    count(*) FILTER (WHERE s.is_error),
    {", ".join(f"coalesce(sum(s.{m}) FILTER (WHERE s.kind IN (3, 4)), 0)" for m in MEASURES[6:])}
FROM spans s JOIN runs r ON r.trace_id = s.trace_id AND r.service = s.service
WHERE s.kind IN (3, 4, 5, 6) AND s.merged_into IS NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
"""
DROP = "DROP VIEW spend_steps; DROP TABLE spend_closed, spend_fold, spend_pairs, spend_details, spend_journal;"


class Migration(migrations.Migration):
    """They fill up by themselves: see ``agentops.costs.fold``."""

    dependencies = [("costs", "0003_windows"), ("runs", "0001_initial")]
    operations = [migrations.RunSQL(TABLES, DROP), migrations.RunSQL(FILL, migrations.RunSQL.noop)]
