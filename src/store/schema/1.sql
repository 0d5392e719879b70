-- The inventory, version 1. An index of what the store's files say; see docs/architecture.md.

-- Every layer of every disk. A layer with children cannot go.
CREATE TABLE layer (
    id      INTEGER PRIMARY KEY,
    uuid    TEXT    NOT NULL,
    parent  INTEGER REFERENCES layer (id) ON DELETE RESTRICT,   -- NULL: a base
    size    INTEGER NOT NULL CHECK (size >= 0)                  -- of the disk, bytes
) STRICT;
CREATE INDEX layer_by_parent ON layer (parent);

CREATE TABLE image (
    id      INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL UNIQUE,
    digest  TEXT    NOT NULL UNIQUE,                            -- names its directory
    base    INTEGER NOT NULL UNIQUE REFERENCES layer (id) ON DELETE RESTRICT,
    created INTEGER NOT NULL                                    -- milliseconds since 1970
) STRICT;

CREATE TABLE vm (
    id         TEXT    PRIMARY KEY,                             -- names its directory
    name       TEXT    NOT NULL UNIQUE,
    image      INTEGER NOT NULL REFERENCES image (id) ON DELETE RESTRICT,
    layer      INTEGER NOT NULL UNIQUE REFERENCES layer (id) ON DELETE RESTRICT,
    cpus       INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    notes      TEXT    NOT NULL,
    created    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE label (
    vm    TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (vm, key)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 1;
