"""Where days go when they are over, for dimensions with many keys, and their sums over the usual windows."""

from django.db import migrations

TABLES = """
CREATE TABLE spend_past (LIKE spend_daily INCLUDING DEFAULTS, PRIMARY KEY (dimension, key, start, environment, service));
CREATE INDEX spend_past_start ON spend_past (dimension, start);
CREATE VIEW spend_days AS SELECT * FROM spend_daily UNION ALL SELECT * FROM spend_past;

CREATE TABLE spend_window_range (
    days smallint PRIMARY KEY,
    begins timestamptz NOT NULL,
    ends timestamptz NOT NULL
);
CREATE TABLE spend_window (
    days smallint NOT NULL,
    LIKE spend_daily INCLUDING DEFAULTS,
    PRIMARY KEY (days, dimension, environment, key)
);
ALTER TABLE spend_window DROP COLUMN start, DROP COLUMN service;
CREATE INDEX spend_window_cost ON spend_window (days, dimension, environment, cost_nano DESC, steps DESC, key)
    WHERE steps <> 0 OR cost_nano <> 0;
CREATE TABLE spend_window_keys (
    days smallint NOT NULL,
    dimension smallint NOT NULL,
    environment text COLLATE "C" NOT NULL,
    keys bigint NOT NULL,
    PRIMARY KEY (days, dimension, environment)
);
"""
BACK = """
INSERT INTO spend_daily AS d SELECT * FROM spend_past
ON CONFLICT (dimension, start, environment, service, key) DO UPDATE SET {sums};
DROP TABLE spend_window_keys, spend_window, spend_window_range;
DROP VIEW spend_days;
DROP TABLE spend_past;
"""
MEASURES = (
    "cost_nano", "unpriced_calls", "llm_calls", "tool_calls", "steps", "errors", "input_tokens", "output_tokens",
    "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_output_tokens",
)
SUMS = ", ".join(f"{m} = d.{m} + EXCLUDED.{m}" for m in MEASURES)


class Migration(migrations.Migration):
    """They fill up by themselves: see ``agentops.costs.windows``."""

    dependencies = [("costs", "0002_models")]
    operations = [migrations.RunSQL(TABLES, BACK.format(sums=SUMS))]
