-- What a grant gives of an endpoint, and what of a principal's access a token carries.

-- A denial takes away what its terms name; without any, the endpoint.
ALTER TABLE grants ADD COLUMN effect TEXT NOT NULL DEFAULT 'allow' CHECK (effect IN ('allow', 'deny'));
-- {"columns": ["id"], "unmask": ["tag:pii"], "parameters": {…}, "spans": […], "max_rows": 1000}
ALTER TABLE grants ADD COLUMN terms TEXT NOT NULL DEFAULT '{}';

-- {"endpoints": ["orders"], "masked": true}
ALTER TABLE tokens ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tokens ADD COLUMN admin INTEGER NOT NULL DEFAULT 0 CHECK (admin IN (0, 1));

DROP TRIGGER tokens_updated;
CREATE TRIGGER tokens_updated AFTER UPDATE OF id, principal_id, hash, label, created_at, expires_at, revoked_at, successor, scope, admin ON tokens
BEGIN UPDATE access_version SET version = version + 1; END;

-- Every change to principals, tokens and grants, written in the change's own transaction, with who made it. `exported` is
-- set once the audit log has it.
CREATE TABLE changes (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    -- JSON; never a secret.
    detail TEXT NOT NULL,
    exported INTEGER NOT NULL DEFAULT 0 CHECK (exported IN (0, 1))
) STRICT;

CREATE INDEX changes_to_export ON changes (id) WHERE exported = 0;
