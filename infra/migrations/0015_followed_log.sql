-- A writer says up to which position it has followed the log, and when the event there was recorded:
-- by that it is told whether this is another log, of a backup or a standby that had lost the newest
-- events, whatever was written to it since. And where the log still ends there, every stream stands
-- where the writer saw it, and the append need not look at each.
DROP FUNCTION creditledger_append(
    uuid[], bigint[], text[], timestamptz[], bytea[],
    uuid[], bigint[], text[], text[], bytea[], text[], text[], text[], text[], bytea[],
    timestamptz[], uuid[], bigint[]
);

-- How a writer begins: it keeps all others from appending until this transaction ends, and learns
-- where the log ends, and whether it is `another` than the one that the writer has followed to
-- `seen`. It runs with the settings of the functions that call it.
CREATE FUNCTION creditledger_begin(
    seen          bigint,
    seen_at       timestamptz,
    OUT newest    bigint,
    OUT newest_at timestamptz,
    OUT another   boolean
)
LANGUAGE plpgsql
AS $$
BEGIN
    -- In any other level the newest position would be that of the transaction's first statement.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'writing to the log needs READ COMMITTED, not %',
            current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state';
    END IF;

    PERFORM pg_advisory_xact_lock(1129071687, 'ledger_events'::regclass::oid::integer);

    SELECT notification_id, recorded_at INTO newest, newest_at
      FROM ledger_events ORDER BY notification_id DESC LIMIT 1;
    newest := coalesce(newest, 0);
    another := coalesce(seen, 0) > 0 AND NOT EXISTS (
        SELECT FROM ledger_events WHERE notification_id = seen AND recorded_at = seen_at);
END
$$;

-- Append events and receipts in one go; the answer is the newest position before them.
--
-- The lock is taken inside the server and held to the end of the transaction, so positions are
-- without gaps, and none becomes visible before those that are smaller. A stream's expected
-- version says where the writer saw it: a stream that stands elsewhere is a conflict
-- (serialization_failure), as is a receipt or an event that exists (unique_violation), and a log
-- that is not the one that the writer has followed to `seen`. Where it ends there, no stream can
-- stand elsewhere. The n-th event gets position base + n; a receipt's number says up to which event
-- of the call it stands.
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
    expected_versions    bigint[],
    seen                 bigint DEFAULT NULL,
    seen_at              timestamptz DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET lock_timeout = '10s'
AS $$
DECLARE
    base    bigint;
    another boolean;
    moved   uuid;
BEGIN
    SELECT log.newest, log.another INTO base, another
      FROM creditledger_begin(seen, seen_at) AS log;

    IF another THEN
        RAISE EXCEPTION 'the log is not the one that the writer has followed to position %', seen
            USING ERRCODE = 'serialization_failure';
    END IF;

    IF base IS DISTINCT FROM seen THEN
        SELECT e.stream INTO moved
          FROM unnest(expected_streams, expected_versions) AS e (stream, version)
         WHERE (SELECT coalesce(max(originator_version), 0)
                  FROM ledger_events WHERE originator_id = e.stream) <> e.version
         LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'stream % does not stand where the writer saw it', moved
                USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;

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

-- A writer's turn, where others write to the log, too: until this transaction ends, nobody else
-- appends. The answer is what was written past the position that the writer has `seen`, in order;
-- or one row that tells alone where the log ends, and whether it is `another` than the one that the
-- writer has followed: where it has seen nothing yet, or where more than `most` events follow.
--
-- Whoever falls silent in his turn loses his session, and the next one gets his: that is far less
-- than the others wait for.
--
-- The planner takes any range of the log for a third of it, so the few rows of a turn seemed worth
-- a plan of their own each time, which took longer than reading them, while the others waited.
DROP FUNCTION creditledger_turn(bigint, bigint);

CREATE FUNCTION creditledger_turn(seen bigint, seen_at timestamptz, most bigint)
RETURNS TABLE (
    log_position bigint,
    written_at   timestamptz,
    another      boolean,
    stream       uuid,
    topic        text,
    state        bytea
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
SET lock_timeout = '10s'
AS $$
DECLARE
    log record;
BEGIN
    SELECT * INTO log FROM creditledger_begin(seen, seen_at);
    PERFORM set_config('idle_in_transaction_session_timeout', '3s', true);

    IF seen IS NULL OR log.another OR log.newest - seen > most THEN
        RETURN QUERY
        SELECT log.newest, log.newest_at, log.another, NULL::uuid, NULL::text, NULL::bytea;
    ELSE
        RETURN QUERY
        SELECT e.notification_id, e.recorded_at, false, e.originator_id, e.topic, e.state
          FROM ledger_events AS e
         WHERE e.notification_id > seen
         ORDER BY e.notification_id;
    END IF;
END
$$;
