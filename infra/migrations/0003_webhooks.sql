-- What providers delivered, with what came of it; the PostgreSQL stream takes its work from here.
CREATE TABLE webhook_deliveries (
    delivery_id text PRIMARY KEY,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    provider text NOT NULL,
    provider_delivery_id text NOT NULL,
    type text,
    stream_key text NOT NULL,
    body bytea NOT NULL,
    headers jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    status text NOT NULL
        CHECK (status IN ('received', 'done', 'ignored', 'parked', 'failed')),
    reason text,
    detail text,
    waits_for text,
    -- The streams whose news would free a parked delivery, and how far the log was then.
    awaits uuid[] NOT NULL DEFAULT '{}',
    seen_position bigint NOT NULL DEFAULT 0,
    -- The provider's id of the payment that it is about.
    payment text,
    -- Where in the log stands what it brought about.
    position bigint,
    tries integer NOT NULL DEFAULT 0,
    -- How many tries in a row failed by themselves.
    faults integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    settled_at timestamptz,
    UNIQUE (provider, provider_delivery_id)
);

CREATE UNIQUE INDEX webhook_deliveries_newest ON webhook_deliveries (sequence DESC);

CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (sequence)
    WHERE status = 'received';

CREATE INDEX webhook_deliveries_in_order ON webhook_deliveries (stream_key, sequence)
    WHERE status = 'received';

CREATE INDEX webhook_deliveries_parked ON webhook_deliveries (sequence)
    WHERE status = 'parked' AND awaits <> '{}';

-- What is not booked, to be counted.
CREATE INDEX webhook_deliveries_open ON webhook_deliveries (status)
    WHERE status IN ('received', 'parked', 'failed');

CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (settled_at)
    WHERE status IN ('done', 'ignored');

-- What the log says of payments, prices and links, for reading: as the tables of 0002, made from
-- the log alone, with indexes that carry the names that PostgreSQL gives them.

-- payments: one row for each payment at a provider.
CREATE TABLE payments (
    stream               uuid        NOT NULL PRIMARY KEY,
    position             bigint      NOT NULL,
    provider             text        NOT NULL,
    provider_id          text        NOT NULL,
    provider_customer_id text,
    customer_id          text,
    status               text        NOT NULL
                         CHECK (status IN ('parked', 'paid', 'partially_refunded', 'refunded')),
    paid                 bigint      NOT NULL,
    currency             text        NOT NULL,
    refunded             bigint      NOT NULL,
    lines                jsonb       NOT NULL,
    refunds              jsonb       NOT NULL,
    paid_at              timestamptz NOT NULL,
    recorded_at          timestamptz NOT NULL
);

CREATE UNIQUE INDEX ON payments (position);
CREATE INDEX ON payments (customer_id, position);
CREATE INDEX ON payments (provider, provider_id);
CREATE INDEX ON payments (status, position);

-- payments: what each payment granted, and how much of it is revoked, by whomever.
CREATE TABLE payment_grants (
    account_id uuid   NOT NULL,
    number     bigint NOT NULL,
    payment    uuid   NOT NULL,
    asset      text   NOT NULL,
    granted    bigint NOT NULL,
    revoked    bigint NOT NULL,
    PRIMARY KEY (account_id, number)
);

CREATE INDEX ON payment_grants (payment);

-- prices: what each price of a provider is worth now.
CREATE TABLE prices (
    provider           text        NOT NULL,
    price_id           text        NOT NULL,
    credits            bigint      NOT NULL,
    asset              text        NOT NULL,
    kind               text        NOT NULL,
    name               text,
    expires_after_days integer,
    plan_family        text,
    version            jsonb,
    origin             text        NOT NULL,
    position           bigint      NOT NULL,
    recorded_at        timestamptz NOT NULL,
    PRIMARY KEY (provider, price_id)
);

CREATE UNIQUE INDEX ON prices (position);

-- links: whose each customer of a provider is.
CREATE TABLE links (
    provider             text        NOT NULL,
    provider_customer_id text        NOT NULL,
    customer_id          text        NOT NULL,
    origin               text        NOT NULL,
    closed               boolean     NOT NULL,
    position             bigint      NOT NULL,
    recorded_at          timestamptz NOT NULL,
    PRIMARY KEY (provider, provider_customer_id)
);

CREATE UNIQUE INDEX ON links (position);
CREATE INDEX ON links (customer_id, position);
