"""Spend rollups by hour and by day, one shape for both."""

from django.db import migrations

TABLE = """
CREATE TABLE {table} (
    dimension smallint NOT NULL,
    start timestamptz NOT NULL,
    environment text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    cost_nano numeric(38,0) NOT NULL DEFAULT 0,
    unpriced_calls bigint NOT NULL DEFAULT 0,
    llm_calls bigint NOT NULL DEFAULT 0,
    tool_calls bigint NOT NULL DEFAULT 0,
    steps bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    cache_read_input_tokens bigint NOT NULL DEFAULT 0,
    cache_creation_input_tokens bigint NOT NULL DEFAULT 0,
    reasoning_output_tokens bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (dimension, start, environment, service, key)
) WITH (fillfactor = 80);
"""
TABLES = ("spend_hourly", "spend_daily")


class Migration(migrations.Migration):
    """The first tables of this app."""

    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [migrations.RunSQL(TABLE.format(table=table), f"DROP TABLE {table}") for table in TABLES]
