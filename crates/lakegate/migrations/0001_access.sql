-- Principals, tokens and grants. Times are microseconds since 1970, UTC.
--
-- Nothing here is ever deleted by lakegate: principals are disabled, tokens and grants are revoked, so that no name and
-- no id comes to stand for something else.

-- "lkgt": by this a store is told from any other SQLite file.
PRAGMA application_id = 1818978164;

CREATE TABLE principals (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- {"client_id": {"type": "integer", "value": 4562}}
    attributes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER
) STRICT;

CREATE TABLE principal_roles (
    principal_id TEXT NOT NULL REFERENCES principals (id),
    role TEXT NOT NULL,
    PRIMARY KEY (principal_id, role)
) STRICT;

CREATE INDEX principal_roles_by_role ON principal_roles (role);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    principal_id TEXT NOT NULL REFERENCES principals (id),
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    label TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER,
    successor TEXT REFERENCES tokens (id)
) STRICT;

CREATE INDEX tokens_by_principal ON tokens (principal_id);

CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    principal_id TEXT REFERENCES principals (id),
    role TEXT,
    -- A name, or * for every endpoint.
    endpoint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    CHECK ((principal_id IS NULL) <> (role IS NULL))
) STRICT;

CREATE INDEX grants_by_principal ON grants (principal_id) WHERE principal_id IS NOT NULL;
CREATE INDEX grants_by_role ON grants (role) WHERE role IS NOT NULL;

-- Counts every change that can turn a decision. Servers watch it to know when what they keep in memory is old. The
-- triggers do the counting, so that no statement can forget to; a token's last use turns no decision.
CREATE TABLE access_version (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;

INSERT INTO access_version (one, version) VALUES (1, 1);

CREATE TRIGGER principals_inserted AFTER INSERT ON principals
BEGIN UPDATE access_version SET version = version + 1; END;
CREATE TRIGGER principals_updated AFTER UPDATE ON principals
BEGIN UPDATE access_version SET version = version + 1; END;
CREATE TRIGGER principals_deleted AFTER DELETE ON principals
BEGIN UPDATE access_version SET version = version + 1; END;

CREATE TRIGGER principal_roles_inserted AFTER INSERT ON principal_roles
BEGIN UPDATE access_version SET version = version + 1; END;
CREATE TRIGGER principal_roles_updated AFTER UPDATE ON principal_roles
BEGIN UPDATE access_version SET version = version + 1; END;
CREATE TRIGGER principal_roles_deleted AFTER DELETE ON principal_roles
BEGIN UPDATE access_version SET version = version + 1; END;

CREATE TRIGGER tokens_inserted AFTER INSERT ON tokens
BEGIN UPDATE access_version SET version = version + 1; END;
CREATE TRIGGER tokens_updated AFTER UPDATE OF id, principal_id, hash, label, created_at, expires_at, revoked_at, successor ON tokens
BEGIN UPDATE access_version SET version = version + 1; END;
CREATE TRIGGER tokens_deleted AFTER DELETE ON tokens
BEGIN UPDATE access_version SET version = version + 1; END;

CREATE TRIGGER grants_inserted AFTER INSERT ON grants
BEGIN UPDATE access_version SET version = version + 1; END;
CREATE TRIGGER grants_updated AFTER UPDATE ON grants
BEGIN UPDATE access_version SET version = version + 1; END;
CREATE TRIGGER grants_deleted AFTER DELETE ON grants
BEGIN UPDATE access_version SET version = version + 1; END;
