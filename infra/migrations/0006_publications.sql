-- How far the log has been published: one row for each topic that it goes to. What stands at
-- `position` and before it has been acknowledged.

CREATE TABLE publications (
    topic      text        NOT NULL PRIMARY KEY,
    position   bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
