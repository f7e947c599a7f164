"""Windows, reservations and refusals: tables that no model manages."""

from django.db import migrations

FORWARD = """
CREATE TABLE budget_window (
    budget_id bigint NOT NULL,
    member text COLLATE "C" NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    service text COLLATE "C" NOT NULL DEFAULT '',
    spent_nano bigint NOT NULL DEFAULT 0,
    spent_tokens bigint NOT NULL DEFAULT 0,
    spent_steps bigint NOT NULL DEFAULT 0,
    reserved_nano bigint NOT NULL DEFAULT 0,
    reserved_tokens bigint NOT NULL DEFAULT 0,
    reserved_steps bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    refused_nano bigint NOT NULL DEFAULT 0,
    told_refused bigint NOT NULL DEFAULT 0,
    fired double precision NOT NULL DEFAULT 0,
    next_nano bigint,
    next_tokens bigint,
    next_steps bigint,
    is_due boolean NOT NULL DEFAULT false,
    exhausted_at timestamptz,
    fast_burn_at timestamptz,
    slow_burn_at timestamptz,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (budget_id, member, starts_at)
) WITH (fillfactor = 70);
CREATE INDEX budget_window_due ON budget_window (budget_id) WHERE is_due;
CREATE INDEX budget_window_latest ON budget_window (budget_id, starts_at DESC) WHERE ends_at IS NOT NULL;
CREATE INDEX budget_window_began ON budget_window (budget_id, began_at DESC) WHERE ends_at IS NULL;
CREATE INDEX budget_window_refused ON budget_window (budget_id) WHERE refused > 0;

CREATE TABLE budget_reservation (
    id uuid PRIMARY KEY,
    service text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C",
    body_hash bytea NOT NULL,
    environment text NOT NULL,
    run text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    "user" text COLLATE "C" NOT NULL,
    feature text COLLATE "C" NOT NULL,
    agent text NOT NULL,
    kind text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    tool text NOT NULL,
    is_final boolean NOT NULL,
    state smallint NOT NULL,
    held_nano bigint NOT NULL CHECK (held_nano >= 0),
    held_tokens bigint NOT NULL CHECK (held_tokens >= 0),
    held_steps bigint NOT NULL CHECK (held_steps >= 0),
    windows jsonb NOT NULL,
    answer jsonb NOT NULL,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    settled_at timestamptz,
    outcome text,
    spent_nano bigint,
    spent_tokens bigint,
    spent_steps bigint,
    is_late boolean NOT NULL DEFAULT false,
    is_counted boolean NOT NULL DEFAULT false,
    trace_id bytea,
    span_id bytea,
    answer_key bytea
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX budget_reservation_key ON budget_reservation (service, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX budget_reservation_held ON budget_reservation (expires_at) WHERE state = 0;
CREATE INDEX budget_reservation_span ON budget_reservation (trace_id, span_id, service)
    WHERE trace_id IS NOT NULL;
CREATE INDEX budget_reservation_answer ON budget_reservation (answer_key) WHERE answer_key IS NOT NULL;
CREATE INDEX budget_reservation_open ON budget_reservation (settled_at) WHERE state = 1 AND NOT is_counted;
CREATE INDEX budget_reservation_final ON budget_reservation (service, run) WHERE is_final;
CREATE INDEX budget_reservation_granted ON budget_reservation USING brin (granted_at) WITH (autosummarize = on);

CREATE TABLE budget_refusal (
    minute timestamptz NOT NULL,
    cause text COLLATE "C" NOT NULL,
    cause_id bigint NOT NULL,
    service text COLLATE "C" NOT NULL,
    step bytea NOT NULL,
    member text NOT NULL,
    run text COLLATE "C" NOT NULL,
    session text NOT NULL,
    "user" text NOT NULL,
    feature text NOT NULL,
    agent text NOT NULL,
    what text NOT NULL,
    count bigint NOT NULL,
    estimate_nano bigint NOT NULL,
    message text NOT NULL,
    latest_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (minute, cause, cause_id, service, step)
);
CREATE INDEX budget_refusal_cause ON budget_refusal (cause, cause_id, minute DESC);

CREATE TABLE budget_sample (
    budget_id bigint NOT NULL,
    member text COLLATE "C" NOT NULL,
    starts_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    spent_nano bigint NOT NULL,
    spent_tokens bigint NOT NULL,
    spent_steps bigint NOT NULL,
    PRIMARY KEY (budget_id, member, starts_at, at)
);
CREATE INDEX budget_sample_at ON budget_sample USING brin (at) WITH (autosummarize = on);

CREATE TABLE budget_habit (
    service text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    nano bigint NOT NULL,
    tokens bigint NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (service, kind, name)
);

CREATE FUNCTION budgets_decided() RETURNS void LANGUAGE sql AS $$
    INSERT INTO budgets_revision (id, revision) VALUES (1, (random() * 9e18)::bigint)
    ON CONFLICT (id) DO UPDATE SET revision = EXCLUDED.revision
$$;
-- Each statement of a volatile function sees what was committed before it: what is read here is of after the wait.
CREATE FUNCTION budgets_share(OUT at timestamptz, OUT revision bigint, OUT has_grants boolean)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4206902);
    SELECT r.revision INTO budgets_share.revision FROM budgets_revision r;
    SELECT EXISTS (SELECT FROM budget_reservation) INTO budgets_share.has_grants;
    -- The clock's time, not the transaction's: it is later than every decision that was waited for.
    budgets_share.at := clock_timestamp();
END $$;
CREATE FUNCTION budgets_team_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM budgets_decided();
    RETURN NULL;
END $$;
CREATE TRIGGER budgets_team_changed AFTER UPDATE OF team_id ON catalog_service
    FOR EACH ROW WHEN (OLD.team_id IS DISTINCT FROM NEW.team_id) EXECUTE FUNCTION budgets_team_changed();
"""
BACK = """
DROP TRIGGER budgets_team_changed ON catalog_service;
DROP FUNCTION budgets_team_changed();
DROP FUNCTION budgets_decided();
DROP FUNCTION budgets_share();
DROP TABLE budget_habit;
DROP TABLE budget_sample;
DROP TABLE budget_refusal;
DROP TABLE budget_reservation;
DROP TABLE budget_window;
"""


class Migration(migrations.Migration):
    """The tables, and a trigger: budgets of teams follow their services."""

    dependencies = [("budgets", "0001_initial"), ("catalog", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACK)]
