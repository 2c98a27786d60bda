-- The log: events, the receipts that were stored with them, and snapshots.
--
-- Events keep the column names of the eventsourcing library, so that its applications can read
-- the log; everywhere else a notification_id is called a position.

CREATE TABLE ledger_events (
    originator_id      uuid        NOT NULL,
    originator_version bigint      NOT NULL,
    topic              text        NOT NULL,
    state              bytea       NOT NULL,
    notification_id    bigint      NOT NULL,
    recorded_at        timestamptz NOT NULL,
    CONSTRAINT ledger_events_pkey PRIMARY KEY (originator_id, originator_version),
    CONSTRAINT ledger_events_notification_id_key UNIQUE (notification_id)
);

CREATE TABLE receipts (
    receipt_id  uuid        NOT NULL,
    client_id   text        NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,
    command     text        NOT NULL,
    customer_id text,
    asset       text,
    outcome     text        NOT NULL,
    answer      bytea       NOT NULL,
    position    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT receipts_pkey PRIMARY KEY (receipt_id)
);

-- A customer's refusals, newest first.
CREATE INDEX receipts_refusals_idx
    ON receipts (customer_id, recorded_at DESC, receipt_id) WHERE outcome <> 'accepted';

-- Saved states of streams. `form` is the shape of the state: other forms are not read.
CREATE TABLE ledger_snapshots (
    originator_id      uuid        NOT NULL,
    form               integer     NOT NULL,
    originator_version bigint      NOT NULL,
    recorded_at        timestamptz NOT NULL,
    state              bytea       NOT NULL,
    CONSTRAINT ledger_snapshots_pkey PRIMARY KEY (originator_id, form, originator_version)
);

-- What was written stays as it is: this guards against accidents, not against the owner.
CREATE FUNCTION creditledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'Correct the ledger with a new command; it is kept for ever.';
END
$$;

CREATE TRIGGER ledger_events_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_events
    FOR EACH STATEMENT EXECUTE FUNCTION creditledger_refuse_change();

CREATE TRIGGER receipts_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts
    FOR EACH STATEMENT EXECUTE FUNCTION creditledger_refuse_change();

-- Append events and receipts in one go; the answer is the newest position before them.
--
-- The lock is taken inside the server and held to the end of the transaction, so positions are
-- without gaps, and none becomes visible before those that are smaller. A stream's expected
-- version says where the writer saw it: a stream that stands elsewhere is a conflict
-- (serialization_failure), as is a receipt or an event that exists (unique_violation). The n-th
-- event gets position base + n; a receipt's number says up to which event of the call it stands.
--
-- The planner's settings keep plans that were made while the tables were small from scanning
-- them when they are large. The search path is that of the migration, so that the function
-- writes to its own schema, whoever calls it.
CREATE FUNCTION creditledger_append(
    streams              uuid[],
    versions             bigint[],
    topics               text[],
    times                timestamptz[],
    states               bytea[],
    receipt_ids          uuid[],
    receipt_numbers      bigint[],
    receipt_clients      text[],
    receipt_keys         text[],
    receipt_fingerprints bytea[],
    receipt_commands     text[],
    receipt_customers    text[],
    receipt_assets       text[],
    receipt_outcomes     text[],
    receipt_answers      bytea[],
    receipt_times        timestamptz[],
    expected_streams     uuid[],
    expected_versions    bigint[]
) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET lock_timeout = '10s'
AS $$
DECLARE
    base  bigint;
    moved uuid;
BEGIN
    -- In any other level the newest position would be that of the transaction's first statement.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'creditledger_append needs READ COMMITTED, not %',
            current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state';
    END IF;

    PERFORM pg_advisory_xact_lock(1129071687, 'ledger_events'::regclass::oid::integer);

    SELECT e.stream INTO moved
      FROM unnest(expected_streams, expected_versions) AS e (stream, version)
     WHERE (SELECT coalesce(max(originator_version), 0)
              FROM ledger_events WHERE originator_id = e.stream) <> e.version
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'stream % does not stand where the writer saw it', moved
            USING ERRCODE = 'serialization_failure';
    END IF;

    SELECT coalesce(max(notification_id), 0) INTO base FROM ledger_events;

    IF cardinality(streams) > 0 THEN
        INSERT INTO ledger_events
               (originator_id, originator_version, topic, state, notification_id, recorded_at)
        SELECT e.stream, e.version, e.topic, e.state, base + e.number, e.recorded_at
          FROM unnest(streams, versions, topics, states, times) WITH ORDINALITY
               AS e (stream, version, topic, state, recorded_at, number);
        PERFORM pg_notify('ledger_events', '');
    END IF;

    IF cardinality(receipt_ids) > 0 THEN
        INSERT INTO receipts
               (receipt_id, client_id, key, fingerprint, command, customer_id, asset, outcome,
                answer, position, recorded_at)
        SELECT r.id, r.client_id, r.key, r.fingerprint, r.command, r.customer_id, r.asset,
               r.outcome, r.answer, base + r.number, r.recorded_at
          FROM unnest(receipt_ids, receipt_numbers, receipt_clients, receipt_keys,
                      receipt_fingerprints, receipt_commands, receipt_customers, receipt_assets,
                      receipt_outcomes, receipt_answers, receipt_times)
               AS r (id, number, client_id, key, fingerprint, command, customer_id, asset,
                     outcome, answer, recorded_at);
    END IF;

    RETURN base;
END
$$;

-- The lock of `creditledger_append`, held by the session from one of these to the other: for a
-- writer that was late once, so that faster ones cannot be first for ever.
CREATE FUNCTION creditledger_lock() RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET lock_timeout = '10s'
AS $$
BEGIN
    PERFORM pg_advisory_lock(1129071687, 'ledger_events'::regclass::oid::integer);
END
$$;

CREATE FUNCTION creditledger_unlock() RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN pg_advisory_unlock(1129071687, 'ledger_events'::regclass::oid::integer);
END
$$;

-- The version that a stream had at a position. Both grow together and versions have no gaps, so
-- some twenty probes of the primary key find it in a stream of a million events.
CREATE FUNCTION creditledger_version_at(stream uuid, log_position bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET enable_seqscan = off
AS $$
DECLARE
    low    bigint := 0;
    high   bigint := (SELECT coalesce(max(originator_version), 0)
                        FROM ledger_events WHERE originator_id = stream);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT notification_id FROM ledger_events
             WHERE originator_id = stream AND originator_version = middle) <= log_position THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- The log as people read it.
CREATE VIEW ledger_log AS
SELECT notification_id                            AS position,
       originator_id                              AS stream,
       originator_version                         AS version,
       topic,
       recorded_at,
       convert_from(state, 'UTF8')::jsonb         AS state
  FROM ledger_events;
