"""The engines that `differential.py` asks, and their values as something that compares alike.

Each takes queries by name and gives `("rows", rows)`, `("refused", reason)` or `("failed", reason)`.
"""

import collections
import datetime
import decimal
import json
import math
import os
import pathlib
import re
import subprocess
import tempfile
import urllib.error
import urllib.request

import duckdb
import pyarrow as pa

# Values and rows.


def plain(value):
    """A value as something that compares alike whatever type an engine gives to it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, decimal.Decimal)):
        return float(value) if abs(value) < 2**53 and value == value.__class__(float(value)) else str(decimal.Decimal(value).normalize())
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value
    if isinstance(value, datetime.datetime):
        if value.tzinfo:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return value.isoformat()
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day).isoformat()
    if isinstance(value, dict):
        return tuple(sorted((key, plain(inner)) for key, inner in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(plain(inner) for inner in value)
    return str(value)


def key(value):
    """A place for every plain value in one order; numbers that are nearly alike sort alike."""
    if value is None:
        return (0, "")
    if isinstance(value, float):
        return (1, f"{value + 0.0:.8e}")
    return (2, repr(value))


def rows_of(table):
    return [tuple(plain(value) for value in row.values()) for row in table.rename_columns([f"c{at}" for at in range(table.num_columns)]).to_pylist()]


def alike(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(alike(a, b) for a, b in zip(one, other))
    return one == other


def same(one, other, is_ordered):
    if len(one) != len(other):
        return False
    if not is_ordered:
        one, other = (sorted(rows, key=lambda row: [key(value) for value in row]) for rows in (one, other))
    return all(alike(a, b) for a, b in zip(one, other))


# Engines.


class DuckDb:
    """Of a table with a row filter it has the rows for which the filter is true."""

    def __init__(self, lake, filters):
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        paths = {path.stem: path for path in pathlib.Path(lake).glob("*.parquet")}
        for name in sorted(paths, key=lambda name: (name in filters, list(filters).index(name) if name in filters else 0)):
            where = f" WHERE {filters[name]}" if name in filters else ""
            self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM '{paths[name]}' AS {name}{where}")

    def ask(self, query):
        try:
            # The one type whose name differs.
            sql = query.sql.replace("BIGINT UNSIGNED", "UBIGINT")
            return "rows", rows_of(self.connection.execute(sql).to_arrow_table())
        except (duckdb.Error, OverflowError, ValueError) as error:  # such as a date that is infinite
            return "failed", str(error).split("\n")[0]


class Postgres:
    """The tables of DuckDB in a PostgreSQL server, as temporary ones."""

    TYPES = {"DOUBLE": "DOUBLE PRECISION", "VARCHAR": 'VARCHAR COLLATE "C"'}

    def __init__(self, duck, address):
        import psycopg

        self.error = psycopg.Error
        self.connection = psycopg.connect(address, autocommit=True)
        self.connection.execute("SET TimeZone = 'UTC'")
        for (name,) in duck.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            table = duck.connection.execute(f"SELECT * FROM {name}").to_arrow_table()
            types = [row[1] for row in duck.connection.execute(f"DESCRIBE {name}").fetchall()]
            columns = [f'"{column}" {self.TYPES.get(kind, kind)}' for column, kind in zip(table.column_names, types)]
            self.connection.execute(f"CREATE TEMPORARY TABLE {name} ({', '.join(columns)})")
            places = ", ".join(["%s"] * len(columns))
            for row in table.to_pylist():
                self.connection.execute(f"INSERT INTO {name} VALUES ({places})", list(row.values()))

    def ask(self, query):
        sql = re.sub(r"\bAS DOUBLE\)", "AS DOUBLE PRECISION)", query.sql)
        try:
            rows = self.connection.execute(sql.replace("%", "%%"), []).fetchall()
            return "rows", [tuple(plain(value) for value in row) for row in rows]
        except self.error as error:
            return "failed", str(error).split("\n")[0]


class DataFusion:
    def __init__(self, lake):
        import datafusion

        self.context = datafusion.SessionContext()
        for path in sorted(pathlib.Path(lake).glob("*.parquet")):
            self.context.register_parquet(path.stem, str(path))

    def load(self, queries):
        return {}

    def ask(self, name, query):
        try:
            batches = self.context.sql(query.sql).collect()
            return "rows", rows_of(pa.Table.from_batches(batches)) if batches else []
        except BaseException as error:  # noqa: BLE001
            text = str(error).split("\n")[0]
            is_plan = any(word in text for word in ("Error during planning", "not implemented", "not support", "Schema error", "optimize"))
            return ("refused" if is_plan else "failed"), text

    def stop(self):
        pass


class PolicyRefused(Exception):
    """`check` does not take the row filters of these tables."""


class Lakegate:
    def __init__(self, lake, binary, filters):
        self.binary, self.lake, self.filters, self.server = binary, lake, filters, None

    def load(self, queries):
        """Serves the queries that `check` takes; gives the others with the reason."""
        self.dir = tempfile.TemporaryDirectory(prefix="lakegate-differential-")
        project = pathlib.Path(self.dir.name)
        (project / "endpoints").mkdir()
        names = sorted(path.stem for path in pathlib.Path(self.lake).glob("*.parquet"))
        text = f'[lake]\nlocation = "{self.lake}"\n[server]\naudit = "off"\n[reload]\nproject_seconds = 0\ntables_seconds = 0\n'
        for name in names:
            policy = f"row_filter = {json.dumps(self.filters[name])}" if name in self.filters else "shared = true"
            text += f'[tables.{name}]\nlocation = "{name}.parquet"\n{policy}\n'
        (project / "lakegate.toml").write_text(text)
        for name, query in queries.items():
            (project / "endpoints" / f"{name}.sql").write_text(f'/*---\nsummary = "s"\ncache_seconds = 0\n---*/\n{query.sql}\n')
        refused, self.ended = {}, {}
        while True:
            ran = self.run("check", "--json")
            if ran.returncode == 0:
                break
            if not ran.stdout:
                name = self.what_ends_check(sorted(path.stem for path in (project / "endpoints").iterdir()), queries)
                self.ended[name] = f"check ends with {ran.returncode}: {ran.stderr[:300]}"
                (project / "endpoints" / f"{name}.sql").unlink()
                continue
            found = json.loads(ran.stdout)["findings"]
            fresh = {pathlib.Path(finding["path"]).stem: finding["message"] for finding in found if finding["path"].startswith("endpoints/")}
            lines = text.splitlines()
            policies = {line.split("]")[0].removeprefix("[tables.") for finding in found for line in lines[: finding.get("line") or 0][-3:] if line.startswith("[tables.")}
            if policies:
                raise PolicyRefused(policies)
            if not fresh:
                raise SystemExit(f"check fails: {ran.stdout} {ran.stderr}")
            for name in fresh:
                (project / "endpoints" / f"{name}.sql").unlink()
            refused.update(fresh)
        self.run("principal", "add", "all")
        self.run("grant", "add", "--principal", "all", "--endpoint", "*")
        self.token = self.run("token", "issue", "all").stdout.strip()
        self.log = open(project / "serve.log", "wb")
        self.server = subprocess.Popen(
            [self.binary, "serve", "--project", str(project), "--listen", "127.0.0.1:0", "--json"],
            stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ, "LAKEGATE_LOG": "error"},
        )
        line = self.server.stdout.readline()
        if not line:
            raise SystemExit("the server does not start: " + (project / "serve.log").read_text()[-2000:])
        self.base = json.loads(line)["url"].rstrip("/")
        return refused

    def what_ends_check(self, names, queries):
        """The query without which `check` would not end without an answer: found by halves."""
        endpoints = pathlib.Path(self.dir.name) / "endpoints"
        kept = {name: (endpoints / f"{name}.sql").read_text() for name in names}
        while len(names) > 1:
            half = names[: len(names) // 2]
            for name in kept:
                (endpoints / f"{name}.sql").unlink(missing_ok=True)
            for name in half:
                (endpoints / f"{name}.sql").write_text(kept[name])
            names = names[len(names) // 2 :] if self.run("check", "--json").stdout else half
        for name, text in kept.items():
            (endpoints / f"{name}.sql").write_text(text)
        return names[0]

    def run(self, *arguments):
        return subprocess.run([self.binary, *arguments, "--project", self.dir.name], capture_output=True, text=True, timeout=600)

    def ask(self, name, query):
        if name in self.ended:
            return "broken", self.ended[name]
        request = urllib.request.Request(f"{self.base}/api/{name}?format=arrow", headers={"token": self.token})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                table = pa.ipc.open_stream(answer.read()).read_all()
                try:
                    return "rows", rows_of(table)
                except (OverflowError, ValueError) as error:
                    return "broken", f"{error}: {table}"
        except urllib.error.HTTPError as error:
            body = json.loads(error.read())
            if error.code < 500:
                return "failed", f"{error.code} {body.get('code')} {body.get('detail')}"
            return "broken", f"{error.code} {body.get('code')} {self.cause(name)}"
        except (OSError, urllib.error.URLError) as error:
            return "broken", f"no answer: {error}"

    def cause(self, name):
        """What the server's log says of the last failure of an endpoint."""
        lines = (pathlib.Path(self.dir.name) / "serve.log").read_text(errors="replace").splitlines()
        lines = [line for line in lines if f'endpoint.name="{name}"' in line]
        found = re.search(r'error\.cause="(.*)"', lines[-1]) if lines else None
        return found[1] if found else (lines or ["nothing"])[-1]

    def stop(self):
        if self.server:
            self.server.terminate()
            self.server.wait(30)
            self.server = None
        self.dir.cleanup()
