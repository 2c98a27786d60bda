-- What providers tell of subscriptions, disputes and their catalogue, for reading: as the tables
-- of 0002, made from the log alone.

-- subscriptions: one row for each subscription at a provider, as its newest report says.
CREATE TABLE subscriptions (
    stream               uuid        NOT NULL PRIMARY KEY,
    position             bigint      NOT NULL,
    provider             text        NOT NULL,
    provider_id          text        NOT NULL,
    provider_customer_id text,
    customer_id          text        NOT NULL,
    status               text        NOT NULL,
    price_id             text,
    quantity             bigint      NOT NULL,
    cancel_at_period_end boolean     NOT NULL,
    current_period_start timestamptz,
    current_period_end   timestamptz,
    started_at           timestamptz,
    trial_ends_at        timestamptz,
    ends_at              timestamptz,
    ended                boolean     NOT NULL,
    ended_at             timestamptz,
    pending_product_id   text,
    as_of                timestamptz NOT NULL,
    recorded_at          timestamptz NOT NULL
);

CREATE UNIQUE INDEX ON subscriptions (position);
CREATE INDEX ON subscriptions (customer_id, position);
CREATE INDEX ON subscriptions (provider, provider_id);
CREATE INDEX ON subscriptions (status, position);

-- subscriptions: every report; `newness` has the order in which reports stand.
CREATE TABLE subscription_reports (
    stream   uuid   NOT NULL,
    number   bigint NOT NULL,
    newness  text   NOT NULL COLLATE "C",
    report   jsonb  NOT NULL,
    PRIMARY KEY (stream, number)
);

-- payments: which subscription they pay for, and what banks took back.
ALTER TABLE payments
    ADD COLUMN subscription uuid,
    ADD COLUMN disputed bigint NOT NULL DEFAULT 0,
    ADD COLUMN disputes jsonb NOT NULL DEFAULT '[]',
    DROP CONSTRAINT payments_status_check,
    ADD CHECK (status IN ('parked', 'paid', 'partially_refunded', 'refunded', 'disputed',
                          'charged_back'));
ALTER TABLE payments
    ALTER COLUMN disputed DROP DEFAULT,
    ALTER COLUMN disputes DROP DEFAULT;

CREATE INDEX ON payments (subscription, position) WHERE subscription IS NOT NULL;

-- Until now no line paid for a period, and refunds stood in the order in which they were told.
UPDATE payments SET
    lines = (
        SELECT coalesce(jsonb_agg(line || '{"period": null, "proration": false}' ORDER BY place),
                        '[]')
        FROM jsonb_array_elements(lines) WITH ORDINALITY AS each (line, place)
    ),
    refunds = (
        SELECT coalesce(jsonb_agg(refund ORDER BY refund ->> 'refund_id' COLLATE "C"), '[]')
        FROM jsonb_array_elements(refunds) AS each (refund)
    );

-- payments: how much of a grant went to another payment of its period.
ALTER TABLE payment_grants ADD COLUMN withdrawn bigint NOT NULL DEFAULT 0;
ALTER TABLE payment_grants ALTER COLUMN withdrawn DROP DEFAULT;

-- prices: those, too, of which the provider's catalogue tells and nobody knows what they are worth.
ALTER TABLE prices
    ALTER COLUMN credits DROP NOT NULL,
    ALTER COLUMN asset DROP NOT NULL,
    ALTER COLUMN kind DROP NOT NULL,
    ALTER COLUMN origin DROP NOT NULL,
    ADD COLUMN product_id text,
    ADD COLUMN active boolean,
    ADD COLUMN internal_id text;

-- prices: the products of the providers' catalogues.
CREATE TABLE products (
    provider    text        NOT NULL,
    product_id  text        NOT NULL,
    name        text,
    active      boolean     NOT NULL,
    plan_family text,
    version     text,
    as_of       timestamptz NOT NULL,
    position    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (provider, product_id)
);

CREATE UNIQUE INDEX ON products (position);
