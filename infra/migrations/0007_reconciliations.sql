-- How far each provider was reconciled; what one environment was told says nothing of the other.
CREATE TABLE reconciliations (
    provider text NOT NULL,
    environment text NOT NULL,
    -- The schedule looks no further back than this: what was sold before is taken over by hand.
    covered_from timestamptz NOT NULL,
    -- Up to when the last run that succeeded has looked.
    succeeded_at timestamptz,
    tried_at timestamptz,
    -- What went wrong with the last run, where something did.
    error text,
    objects_read bigint NOT NULL DEFAULT 0,
    objects_brought bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (provider, environment)
);

-- These come back to states in which they were before: what was told last decides.
CREATE INDEX webhook_deliveries_recurring ON webhook_deliveries (stream_key, sequence)
    WHERE type LIKE 'customer.subscription.%' OR type LIKE 'price.%' OR type LIKE 'product.%';
