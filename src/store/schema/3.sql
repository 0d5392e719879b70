-- The inventory, version 3: images have notes, too, and what is protected is not removed.

ALTER TABLE image ADD COLUMN notes TEXT NOT NULL DEFAULT '';
ALTER TABLE image ADD COLUMN protected INTEGER NOT NULL DEFAULT FALSE;
ALTER TABLE vm ADD COLUMN protected INTEGER NOT NULL DEFAULT FALSE;

PRAGMA user_version = 3;
