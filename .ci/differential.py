"""Generates queries over small tables full of NULLs and compares their answers with those of DuckDB.

    differential.py BINARY [--queries N] [--seed S] [--family NAME] [--show]

Each query becomes an endpoint of a project over shared tables. A query that `check` refuses is counted by its reason; one that
`check` accepts must answer 200 with DuckDB's rows, from files and from memory alike, or a 4xx error where DuckDB fails too.
The exit code is 1 when an answer differs, or when an accepted query is answered with a 5xx status.
`--engine datafusion` asks the bare engine from PyPI instead, to see what it does without lakegate.
"""

import argparse
import collections
import datetime
import decimal
import json
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from differential_queries import FAMILIES, tables  # noqa: E402


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


# Engines: each takes queries by name and gives `("rows", rows)`, `("refused", reason)` or `("failed", reason)`.


class DuckDb:
    def __init__(self, lake):
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        for path in sorted(pathlib.Path(lake).glob("*.parquet")):
            self.connection.execute(f"CREATE TABLE {path.stem} AS SELECT * FROM '{path}'")

    def ask(self, query):
        try:
            return "rows", rows_of(self.connection.execute(query.sql).to_arrow_table())
        except duckdb.Error as error:
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


class Lakegate:
    def __init__(self, lake, binary):
        self.binary, self.lake, self.server = binary, lake, None

    def load(self, queries):
        """Serves the queries that `check` takes; gives the others with the reason."""
        self.dir = tempfile.TemporaryDirectory(prefix="lakegate-differential-")
        project = pathlib.Path(self.dir.name)
        (project / "endpoints").mkdir()
        names = sorted(path.stem for path in pathlib.Path(self.lake).glob("*.parquet"))
        text = f'[lake]\nlocation = "{self.lake}"\n[server]\naudit = "off"\n[reload]\nproject_seconds = 0\ntables_seconds = 0\n'
        for name in names:
            text += f'[tables.{name}]\nlocation = "{name}.parquet"\nshared = true\n'
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
                return "rows", rows_of(pa.ipc.open_stream(answer.read()).read_all())
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--engine", choices=["lakegate", "datafusion"], default="lakegate")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", choices=sorted(FAMILIES))
    parser.add_argument("--batch", type=int, default=250, help="queries over one set of tables")
    parser.add_argument("--show", type=int, default=10, help="how many differences of each shape to print")
    options = parser.parse_args()

    counts, shapes, reasons, bad = collections.Counter(), collections.Counter(), collections.Counter(), 0
    differences = collections.defaultdict(list)
    asked, world = 0, 0
    while asked < options.queries:
        choice = random.Random(f"{options.seed}/{world}")
        world += 1
        with tempfile.TemporaryDirectory(prefix="lakegate-lake-") as lake:
            for name, table in tables(choice).items():
                pq.write_table(table, f"{lake}/{name}.parquet", row_group_size=choice.choice([1, 3, 7, 100]))
            count = min(options.batch, options.queries - asked)
            families = [options.family] if options.family else sorted(FAMILIES)
            queries = {f"q{at}": FAMILIES[choice.choice(families)](choice) for at in range(count)}
            asked += count
            right = DuckDb(lake)
            engine = DataFusion(lake) if options.engine == "datafusion" else Lakegate(lake, os.path.abspath(options.binary))
            try:
                refused = engine.load(queries)
                for name, query in queries.items():
                    wanted = right.ask(query)
                    if name in refused:
                        came = "refused", refused[name]
                    else:
                        came = engine.ask(name, query)
                        if came[0] == "rows":
                            # The second time, what the query reads is in memory.
                            again = engine.ask(name, query)
                            if again[0] != "rows" or not same(came[1], again[1], query.is_ordered):
                                differences["two answers"].append((query, came, again))
                                bad += 1
                    outcome = judge(query, wanted, came)
                    counts[outcome] += 1
                    shapes.update(f"{shape}: {outcome}" for shape in query.shapes)
                    if outcome == "refused":
                        reasons[re.sub(r"[0-9]+|`[^`]*`", "…", came[1])[:110]] += 1
                    if outcome in ("different", "broken"):
                        bad += 1
                        differences[" + ".join(sorted(query.shapes))].append((query, wanted, came))
                        print(f"{query.sql}\n   wanted {str(wanted)[:300]}\n   came   {str(came)[:300]}", file=sys.stderr, flush=True)
            finally:
                engine.stop()
        print(f"{asked} queries: " + ", ".join(f"{number} {name}" for name, number in sorted(counts.items())), file=sys.stderr, flush=True)

    for shape, found in sorted(differences.items(), key=lambda item: -len(item[1])):
        print(f"\n== {shape}: {len(found)}")
        for query, wanted, came in found[: options.show]:
            print(f"{query.sql}\n   wanted {str(wanted)[:300]}\n   came   {str(came)[:300]}")
    print("\nrefused:")
    for reason, number in reasons.most_common(40):
        print(f"  {number}: {reason}")
    print(f"\n{asked} queries: " + ", ".join(f"{number} {name}" for name, number in sorted(counts.items())))
    sys.exit(1 if bad else 0)


def judge(query, wanted, came):
    if came[0] in ("refused", "broken"):
        return came[0]
    if wanted[0] == "failed":
        return "both fail" if came[0] == "failed" else "no judge"
    if came[0] == "failed":
        return "refused at run" if query.may_fail else "different"
    return "equal" if same(wanted[1], came[1], query.is_ordered) else "different"


if __name__ == "__main__":
    main()
