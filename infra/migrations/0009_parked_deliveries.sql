-- Parked deliveries by the streams whose news they wait for. Not for those of one status alone:
-- a question that names no status can take no other index for a better one.
CREATE INDEX webhook_deliveries_awaiting ON webhook_deliveries USING gin (awaits)
    WITH (fastupdate = off) WHERE awaits <> '{}';
