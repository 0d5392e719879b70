-- The inventory, version 4: VMs' network addresses. Two VMs have one only where people wanted it
-- (`clone --keep-identity`), so the index does not refuse it.

ALTER TABLE vm ADD COLUMN mac TEXT;                             -- NULL: of an older store
CREATE INDEX vm_by_mac ON vm (mac);

PRAGMA user_version = 4;
