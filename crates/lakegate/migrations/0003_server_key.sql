-- The key that all servers over this store seal cursors and validators with: what one of them gave out, another takes.
-- It is no change of access, so it makes no new version.
CREATE TABLE server_key (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    key BLOB NOT NULL CHECK (length(key) = 32)
) STRICT;
