-- A writer's turn, where others write to the log, too: until this transaction ends, nobody else
-- appends. The answer is what was written past the position that the writer has `seen`, in order;
-- or one row that tells the newest position alone, where it has seen nothing yet, more than is
-- there (a backup was restored), or where more than `most` events follow.
--
-- Whoever falls silent in his turn loses his session, and the next one gets his: that is far less
-- than the others wait for.
CREATE FUNCTION creditledger_turn(seen bigint, most bigint)
RETURNS TABLE (log_position bigint, stream uuid, version bigint, topic text, state bytea)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET enable_seqscan = off
SET lock_timeout = '10s'
AS $$
DECLARE
    newest bigint;
BEGIN
    -- In any other level the newest position would be that of the transaction's first statement.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'creditledger_turn needs READ COMMITTED, not %',
            current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state';
    END IF;

    PERFORM pg_advisory_xact_lock(1129071687, 'ledger_events'::regclass::oid::integer);
    PERFORM set_config('idle_in_transaction_session_timeout', '3s', true);

    SELECT coalesce(max(notification_id), 0) INTO newest FROM ledger_events;

    IF seen IS NULL OR newest < seen OR newest - seen > most THEN
        RETURN QUERY SELECT newest, NULL::uuid, NULL::bigint, NULL::text, NULL::bytea;
    ELSE
        RETURN QUERY
        SELECT e.notification_id, e.originator_id, e.originator_version, e.topic, e.state
          FROM ledger_events AS e
         WHERE e.notification_id > seen
         ORDER BY e.notification_id;
    END IF;
END
$$;

-- What the turn replaces.
DROP FUNCTION creditledger_lock();
DROP FUNCTION creditledger_unlock();
