"""What logs tell of model calls."""

from django.db import migrations

TABLE = """
CREATE TABLE span_messages (
    received_on date NOT NULL,
    trace_id bytea NOT NULL CHECK (octet_length(trace_id) = 16),
    span_id bytea NOT NULL CHECK (octet_length(span_id) = 8),
    service text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    told_ns bigint NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (trace_id, span_id, service, digest)
);
CREATE INDEX span_messages_received ON span_messages (received_on);
"""


class Migration(migrations.Migration):
    """A table that no model manages."""

    dependencies = [("runs", "0004_rank_of_rules")]
    operations = [migrations.RunSQL(TABLE, "DROP TABLE span_messages")]
