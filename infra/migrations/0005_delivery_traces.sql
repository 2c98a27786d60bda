-- Where in the program the last try of a delivery failed.
ALTER TABLE webhook_deliveries ADD COLUMN trace text;

-- What is not booked is counted by its reason.
DROP INDEX webhook_deliveries_open;

CREATE INDEX webhook_deliveries_open ON webhook_deliveries (status, reason)
    WHERE status IN ('received', 'parked', 'failed');

-- Keys of which one waits for its next try.
CREATE INDEX webhook_deliveries_later ON webhook_deliveries (due_at, stream_key)
    WHERE status = 'received';
