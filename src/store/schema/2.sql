-- The inventory, version 2: frozen layers, which have a directory of their own in layers/.

CREATE UNIQUE INDEX layer_by_uuid ON layer (uuid);

-- A frozen layer: a snapshot, or what a clone of a VM stands on. Its `layer` row stays as long as
-- others have it as their parent.
CREATE TABLE snapshot (
    layer   INTEGER PRIMARY KEY REFERENCES layer (id) ON DELETE CASCADE,
    vm      TEXT    REFERENCES vm (id) ON DELETE SET NULL,      -- NULL: it was removed
    origin  TEXT    NOT NULL,                                   -- that VM's name
    name    TEXT,                                               -- NULL: nobody named it
    notes   TEXT    NOT NULL,
    created INTEGER NOT NULL,                                   -- milliseconds since 1970
    UNIQUE (vm, name)
) STRICT;

PRAGMA user_version = 2;
