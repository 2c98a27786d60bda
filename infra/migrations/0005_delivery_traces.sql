-- Where in the program the last try of a delivery failed.
ALTER TABLE webhook_deliveries ADD COLUMN trace text;

-- What is not booked is counted by its reason.
DROP INDEX webhook_deliveries_open;

CREATE INDEX webhook_deliveries_open ON webhook_deliveries (status, reason)
    WHERE status IN ('received', 'parked', 'failed');
