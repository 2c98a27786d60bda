-- Parked deliveries by the streams whose news they wait for.
CREATE INDEX webhook_deliveries_awaiting ON webhook_deliveries USING gin (awaits)
    WITH (fastupdate = off) WHERE status = 'parked';
