-- The inventory, version 5: a VM that boots its own kernel needs no image. SQLite cannot take a
-- NOT NULL away, so `vm` and what refers to it are made again.

CREATE TABLE vm_5 (
    id         TEXT    PRIMARY KEY,                             -- names its directory
    name       TEXT    NOT NULL UNIQUE,
    image      INTEGER REFERENCES image (id) ON DELETE RESTRICT,  -- NULL: it needs none
    layer      INTEGER NOT NULL UNIQUE REFERENCES layer (id) ON DELETE RESTRICT,
    cpus       INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    notes      TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    protected  INTEGER NOT NULL DEFAULT FALSE,
    mac        TEXT                                             -- NULL: of an older store
) STRICT, WITHOUT ROWID;
INSERT INTO vm_5
    SELECT id, name, image, layer, cpus, memory_mib, notes, created, protected, mac
    FROM vm;

CREATE TABLE label_5 (
    vm    TEXT NOT NULL REFERENCES vm_5 (id) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (vm, key)
) STRICT, WITHOUT ROWID;
INSERT INTO label_5 SELECT vm, key, value FROM label;

CREATE TABLE snapshot_5 (
    layer   INTEGER PRIMARY KEY REFERENCES layer (id) ON DELETE CASCADE,
    vm      TEXT    REFERENCES vm_5 (id) ON DELETE SET NULL,    -- NULL: it was removed
    origin  TEXT    NOT NULL,                                   -- that VM's name
    name    TEXT,                                               -- NULL: nobody named it
    notes   TEXT    NOT NULL,
    created INTEGER NOT NULL,                                   -- milliseconds since 1970
    UNIQUE (vm, name)
) STRICT;
INSERT INTO snapshot_5 SELECT layer, vm, origin, name, notes, created FROM snapshot;

-- Those that refer to `vm` first: dropping it deletes its rows, and theirs with them.
DROP TABLE label;
DROP TABLE snapshot;
DROP TABLE vm;
-- Renaming a table renames it in what refers to it, too.
ALTER TABLE vm_5 RENAME TO vm;
ALTER TABLE label_5 RENAME TO label;
ALTER TABLE snapshot_5 RENAME TO snapshot;
CREATE INDEX vm_by_mac ON vm (mac);

PRAGMA user_version = 5;
