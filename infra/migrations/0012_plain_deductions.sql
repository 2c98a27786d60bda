-- Entries: a deduction from one lot alone names it, and that is all: its `lots` and `details`
-- follow from the row, and it has none in `entry_subjects`. Rows of the older form are read as
-- they are, until a rebuild makes them anew.

ALTER TABLE entries ADD lot bigint, ALTER lots DROP NOT NULL, ALTER details DROP NOT NULL;

CREATE INDEX ON entries (account_id, lot, version) WHERE lot IS NOT NULL;
