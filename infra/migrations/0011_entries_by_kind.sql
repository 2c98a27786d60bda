-- Entries by kind: not for deductions, which are most of them, and are found among all entries.

DROP INDEX entries_customer_id_kind_position_idx;

CREATE INDEX ON entries (customer_id, kind, position) WHERE kind <> 'deduction';
