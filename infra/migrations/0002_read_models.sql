-- Read models: made from the log alone, so each can be made again from nothing.
--
-- A rebuild makes copies of these tables (LIKE ... INCLUDING ALL) and puts them in their places.
-- Indexes therefore carry the names that PostgreSQL gives them, which the copies get, too; and no
-- table has foreign keys, serial columns or triggers.

-- How far each projection has come. A stopped one says at which event, and why.
CREATE TABLE projections (
    name           text        NOT NULL PRIMARY KEY,
    version        integer     NOT NULL,
    position       bigint      NOT NULL DEFAULT 0,
    status         text        NOT NULL DEFAULT 'running'
                               CHECK (status IN ('running', 'stopped')),
    error          text,
    error_position bigint,
    error_event_id text,
    updated_at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- balances: one row for each customer's holding of one asset, as its last event left it.
CREATE TABLE accounts (
    account_id     uuid        NOT NULL PRIMARY KEY,
    customer_id    text        NOT NULL,
    asset          text        NOT NULL,
    version        bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    overage_limit  bigint      DEFAULT 0,
    overage_period text        NOT NULL DEFAULT 'month',
    overage_since  timestamptz,
    overage_used   bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX ON accounts (customer_id, asset);

-- balances: one row for each grant, for ever; `number` is the version of its event.
--
-- `remaining` is free, `held` pinned. `open` is a column of its own, so that an update that leaves
-- it as it is changes no index.
CREATE TABLE lots (
    account_id      uuid        NOT NULL,
    number          bigint      NOT NULL,
    customer_id     text        NOT NULL,
    asset           text        NOT NULL,
    source          text        NOT NULL,
    priority        integer     NOT NULL,
    granted         bigint      NOT NULL,
    effective_at    timestamptz NOT NULL,
    expires_at      timestamptz,
    cost_amount     bigint,
    cost_currency   text,
    payment_id      text,
    origin_grant_id text,
    transfer_id     text,
    reference       text,
    happened_at     timestamptz,
    recorded_at     timestamptz NOT NULL,
    metadata        jsonb,
    debt_repaid     bigint      NOT NULL,
    remaining       bigint      NOT NULL,
    held            bigint      NOT NULL,
    revoked         bigint      NOT NULL,
    written_off     bigint      NOT NULL,
    debt            bigint      NOT NULL,
    open            boolean     NOT NULL GENERATED ALWAYS AS (remaining > 0 OR held > 0) STORED,
    PRIMARY KEY (account_id, number)
) WITH (fillfactor = 80);

-- What an account's balance is made of.
CREATE INDEX ON lots (account_id) WHERE open OR debt > 0;
-- What the sweeper looks for.
CREATE INDEX ON lots (expires_at) WHERE open;

-- balances: holds that are open, with what they pin as [[number of the lot, amount], ...].
CREATE TABLE open_holds (
    account_id uuid        NOT NULL,
    number     bigint      NOT NULL,
    expires_at timestamptz NOT NULL,
    feature    text,
    pins       jsonb       NOT NULL,
    PRIMARY KEY (account_id, number)
);

CREATE INDEX ON open_holds (expires_at);

-- holds: one row for each hold, for ever.
CREATE TABLE holds (
    account_id     uuid        NOT NULL,
    number         bigint      NOT NULL,
    customer_id    text        NOT NULL,
    asset          text        NOT NULL,
    position       bigint      NOT NULL,
    amount         bigint      NOT NULL,
    pinned         bigint      NOT NULL,
    captured       bigint      NOT NULL,
    released       bigint      NOT NULL,
    lots           jsonb       NOT NULL,
    feature        text,
    expires_at     timestamptz NOT NULL,
    status         text        NOT NULL
                               CHECK (status IN ('open', 'captured', 'released', 'lapsed')),
    happened_at    timestamptz,
    recorded_at    timestamptz NOT NULL,
    closed_at      timestamptz,
    metadata       jsonb,
    PRIMARY KEY (account_id, number)
) WITH (fillfactor = 80);

CREATE INDEX ON holds (customer_id, position);
CREATE INDEX ON holds (customer_id, position, expires_at) WHERE status = 'open';

-- entries: one row for each event of an account, as people read it.
CREATE TABLE entries (
    account_id      uuid        NOT NULL,
    version         bigint      NOT NULL,
    position        bigint      NOT NULL,
    customer_id     text        NOT NULL,
    asset           text        NOT NULL,
    kind            text        NOT NULL,
    amount          bigint      NOT NULL,
    total_after     bigint      NOT NULL,
    available_after bigint      NOT NULL,
    feature         text,
    lots            jsonb       NOT NULL,
    details         jsonb       NOT NULL,
    actor           text        NOT NULL,
    causation_id    text        NOT NULL,
    correlation_id  text        NOT NULL,
    happened_at     timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL,
    metadata        jsonb,
    PRIMARY KEY (account_id, version)
);

CREATE INDEX ON entries (customer_id, position);
CREATE INDEX ON entries (customer_id, kind, position);

-- entries: the entry at `version` concerns the grant, hold or deduction at `number`.
CREATE TABLE entry_subjects (
    account_id uuid   NOT NULL,
    number     bigint NOT NULL,
    version    bigint NOT NULL,
    PRIMARY KEY (account_id, number, version)
);
