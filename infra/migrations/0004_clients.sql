-- Who may call: clients own idempotency keys and hold API keys, of which only a hash is kept.

CREATE TABLE clients (
    client_id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    client_id text NOT NULL REFERENCES clients,
    -- SHA-256 of the whole key. Keys are random, so a fast hash cannot be searched.
    key_hash bytea NOT NULL UNIQUE,
    -- The first characters, by which a person tells keys apart.
    hint text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- From here on the key is refused; in the future where a rotation leaves an overlap.
    ends_at timestamptz
);

CREATE INDEX api_keys_of_client ON api_keys (client_id);
