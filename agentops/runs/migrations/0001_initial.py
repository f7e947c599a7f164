"""Runs, spans (partitioned by the day of receipt) and the ledger that counts each span once."""

from django.db import migrations

TABLES = """
CREATE TABLE runs (
    trace_id bytea NOT NULL CHECK (octet_length(trace_id) = 16),
    service text COLLATE "C" NOT NULL,
    environment text, session text, "user" text, feature text, release text,
    environment_order bigint, session_order bigint, user_order bigint, feature_order bigint, release_order bigint,
    was_environment text, was_session text, was_user text, was_feature text, was_release text,
    name text,
    agents text[] NOT NULL DEFAULT '{}',
    has_root boolean NOT NULL DEFAULT false,
    root_error boolean NOT NULL DEFAULT false,
    last_ended_ns bigint NOT NULL DEFAULT 0,
    last_error boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL,
    latest_at timestamptz NOT NULL,
    first_received_at timestamptz NOT NULL,
    last_received_at timestamptz NOT NULL,
    cost_nano bigint NOT NULL DEFAULT 0,
    unpriced_calls integer NOT NULL DEFAULT 0,
    llm_calls integer NOT NULL DEFAULT 0,
    tool_calls integer NOT NULL DEFAULT 0,
    steps integer NOT NULL DEFAULT 0,
    errors integer NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    cache_read_input_tokens bigint NOT NULL DEFAULT 0,
    cache_creation_input_tokens bigint NOT NULL DEFAULT 0,
    reasoning_output_tokens bigint NOT NULL DEFAULT 0,
    spans integer NOT NULL DEFAULT 0,
    needs_tree boolean NOT NULL DEFAULT false,
    open_parents text[] NOT NULL DEFAULT '{}',
    llm_scopes text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (trace_id, service)
) WITH (fillfactor = 70);
CREATE INDEX runs_started ON runs (started_at DESC, trace_id DESC);
CREATE INDEX runs_service_started ON runs (service, started_at DESC, trace_id DESC);
CREATE INDEX runs_user_started ON runs ("user", started_at DESC) WHERE "user" IS NOT NULL;
CREATE INDEX runs_session_started ON runs (session, started_at DESC) WHERE session IS NOT NULL;
CREATE INDEX runs_feature_started ON runs (feature, started_at DESC) WHERE feature IS NOT NULL;
CREATE INDEX runs_open ON runs (last_received_at) WHERE NOT has_root;

CREATE TABLE span_ledger (
    trace_id bytea NOT NULL CHECK (octet_length(trace_id) = 16),
    span_id bytea NOT NULL CHECK (octet_length(span_id) = 8),
    service text COLLATE "C" NOT NULL,
    fingerprint integer NOT NULL,
    received_on date NOT NULL,
    is_llm boolean NOT NULL,
    PRIMARY KEY (trace_id, span_id, service)
);

CREATE TABLE spans (
    received_on date NOT NULL,
    service text COLLATE "C" NOT NULL,
    trace_id bytea NOT NULL,
    span_id bytea NOT NULL,
    parent_span_id bytea,
    kind smallint NOT NULL,
    is_error boolean NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    own_agent text, agent text, provider text, request_model text, response_model text, response_id text,
    tool text, error_type text,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    input_tokens bigint, output_tokens bigint, cache_read_input_tokens bigint,
    cache_creation_input_tokens bigint, reasoning_output_tokens bigint,
    cost_nano bigint CHECK (cost_nano BETWEEN 0 AND 1000000000000000),
    price_source smallint,
    price_id text,
    merged_into bytea,
    content text
) PARTITION BY RANGE (received_on);
CREATE INDEX spans_run ON spans (trace_id, start_ns);
CREATE TABLE spans_default PARTITION OF spans DEFAULT;
DO $$
DECLARE day date;
BEGIN
    FOR day IN SELECT generate_series(CURRENT_DATE - 1, CURRENT_DATE + 7, interval '1 day') LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF spans FOR VALUES FROM (%L) TO (%L)',
            'spans_p' || to_char(day, 'YYYYMMDD'), day, day + 1);
    END LOOP;
END $$;
"""

DROP = "DROP TABLE spans; DROP TABLE span_ledger; DROP TABLE runs;"


class Migration(migrations.Migration):
    """The first tables of this app."""

    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [migrations.RunSQL(TABLES, DROP)]
