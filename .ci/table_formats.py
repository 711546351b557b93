"""Tables written by pyiceberg and deltalake, served governed, and held against what these libraries read.

Called by .ci/table-formats. Every table has rows of the tenants 1 and 2; the caller is tenant 1. Rows of the other tenant and
deleted rows hold a canary that must be in no answer.
"""

import datetime as dt
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from decimal import Decimal
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    DateType,
    DecimalType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

CANARY = "CANARY-of-somebody-else"
DAY = dt.date(2024, 2, 29)
TIME = dt.datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=dt.timezone.utc)


def note(tenant, at):
    return f"note {at}" if tenant == 1 else f"{CANARY} {at}"


def batch(ids, columns=(), tenant_name="tenant", id_type=None):
    """Rows whose tenants take turns: even ids are of tenant 2."""
    tenants = [1 if at % 2 else 2 for at in ids]
    table = {
        "id": pa.array(ids, id_type or pa.int32()),
        tenant_name: pa.array(tenants, pa.int64()),
        "note": pa.array([note(tenant, at) for tenant, at in zip(tenants, ids)], pa.string()),
        "price": pa.array([Decimal(at).scaleb(-2) for at in ids], pa.decimal128(9, 2)),
        "day": pa.array([DAY + dt.timedelta(days=at % 3) for at in ids], pa.date32()),
        "made": pa.array([TIME + dt.timedelta(hours=at) for at in ids], pa.timestamp("us", "UTC")),
    }
    table.update(columns)
    return pa.table(table)


# --- Iceberg


def iceberg(lake):
    catalog = SqlCatalog("main", uri=f"sqlite:///{lake.parent}/catalog.db", warehouse=f"file://{lake}/iceberg")
    catalog.create_namespace("sales")
    schema = Schema(
        NestedField(1, "id", IntegerType(), required=False),
        NestedField(2, "tenant", LongType(), required=False),
        NestedField(3, "note", StringType(), required=False),
        NestedField(4, "price", DecimalType(9, 2), required=False),
        NestedField(5, "day", DateType(), required=False),
        NestedField(6, "made", TimestamptzType(), required=False),
    )
    evolve(catalog, schema)
    partitioned(catalog, schema)
    deleted(catalog, schema)
    return catalog


def evolve(catalog, schema):
    """Renamed, dropped and added again, widened, added: the old files stay as they are."""
    table = catalog.create_table("sales.evolved", schema)
    table.append(batch(range(1, 9)))
    with table.update_schema() as update:
        # The name of the tenant's column becomes that of another one, whose values are all the caller's.
        update.rename_column("tenant", "client")
        update.update_column("id", LongType())
        update.update_column("price", DecimalType(18, 2))
        update.delete_column("day")
    with table.update_schema() as update:
        update.add_column("tenant", LongType())
        update.add_column("day", StringType())
    more = batch(range(9, 13), tenant_name="client", id_type=pa.int64())
    more = more.drop_columns(["day"]).append_column("tenant", pa.array([1] * 4, pa.int64()))
    more = more.append_column("day", pa.array(["monday"] * 4))
    table.append(more.cast(more_schema(table, more)))


def more_schema(table, data):
    """The data's columns in the types that the table has now."""
    types = {field.name: field.type for field in table.schema().as_arrow()}
    return pa.schema([pa.field(name, plain(types[name])) for name in data.column_names])


def plain(kind):
    return pa.string() if pa.types.is_large_string(kind) else kind


def partitioned(catalog, schema):
    spec = PartitionSpec(
        PartitionField(2, 1000, IdentityTransform(), "tenant"),
        PartitionField(1, 1001, BucketTransform(4), "id_bucket"),
        PartitionField(6, 1002, DayTransform(), "made_day"),
        spec_id=0,
    )
    table = catalog.create_table("sales.partitioned", schema, partition_spec=spec)
    table.append(batch(range(1, 41)))
    table.append(batch(range(41, 61)))
    table.delete(EqualTo("id", 7))


def deleted(catalog, schema):
    """Deletes of the second version of the format, which pyiceberg reads (by position) and does not write."""
    table = catalog.create_table("sales.deleted", schema, properties={"format-version": "2"})
    table.append(batch(range(1, 21)))
    path = next(iter(table.scan().plan_files())).file.file_path
    rows = pa.table(
        {"file_path": pa.array([path] * 4), "pos": pa.array([0, 1, 10, 19], pa.int64())},
        schema=pa.schema([
            pa.field("file_path", pa.string(), False, {"PARQUET:field_id": "2147483546"}),
            pa.field("pos", pa.int64(), False, {"PARQUET:field_id": "2147483545"}),
        ]),
    )
    commit_deletes(table, rows, DataFileContent.POSITION_DELETES, None)


def commit_deletes(table, rows, content, equality_ids):
    """Adds a file of deletes in a snapshot of its own."""
    table.refresh()
    sequence, identity = table.metadata.last_sequence_number + 1, int(time.time_ns() % 10**15)
    folder = f"{table.location()}"
    file = f"{folder}/data/deletes-{identity}.parquet"
    local = file.removeprefix("file://")
    pq.write_table(rows, local)
    data_file = DataFile.from_args(
        _table_format_version=2,
        content=content,
        file_path=file,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=rows.num_rows,
        file_size_in_bytes=os.path.getsize(local),
        equality_ids=equality_ids,
    )
    data_file.spec_id = 0
    manifest_path = f"{folder}/metadata/deletes-{identity}-m0.avro"

    # Its own writer says `data`; a manifest of deletes says so.
    writer = write_manifest(2, table.spec(), table.schema(), table.io.new_output(manifest_path), identity, "null")
    said = dict(type(writer)._meta.fget(writer), content="deletes")
    writer.__class__ = type("Deletes", (type(writer),), {"content": lambda _: ManifestContent.DELETES, "_meta": said})
    with writer as manifest:
        manifest.add_entry(
            ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=identity, sequence_number=None,
                file_sequence_number=None, data_file=data_file,
            )
        )
    added = writer.to_manifest_file()
    current = table.current_snapshot()
    list_path = f"{folder}/metadata/snap-{identity}.avro"
    with write_manifest_list(
        2, table.io.new_output(list_path), identity, current.snapshot_id, sequence, "null"
    ) as manifests:
        manifests.add_manifests([*current.manifests(table.io), added])
    snapshot = Snapshot(
        snapshot_id=identity, parent_snapshot_id=current.snapshot_id, sequence_number=sequence,
        manifest_list=list_path, summary=Summary(Operation.DELETE), schema_id=table.schema().schema_id,
        timestamp_ms=int(time.time() * 1000),
    )
    table.catalog.commit_table(
        table, (),
        (AddSnapshotUpdate(snapshot=snapshot),
         SetSnapshotRefUpdate(ref_name="main", type="branch", snapshot_id=identity)),
    )
    table.refresh()


# --- Delta


def delta(lake):
    plain_table = str(lake / "delta/plain")
    deltalake.write_deltalake(plain_table, batch(range(1, 21)))
    deltalake.write_deltalake(plain_table, batch(range(21, 31)), mode="append")
    deltalake.DeltaTable(plain_table).delete("id = 5 OR id = 6")
    more = batch(range(31, 35), {"extra": pa.array(["x"] * 4)})
    deltalake.write_deltalake(plain_table, more, mode="append", schema_mode="merge")
    partitioned_table = str(lake / "delta/partitioned")
    deltalake.write_deltalake(partitioned_table, batch(range(1, 31)), partition_by=["tenant", "day"])
    deltalake.DeltaTable(partitioned_table).optimize.compact()
    deltalake.write_deltalake(partitioned_table, batch(range(31, 41)), mode="append")
    deltalake.DeltaTable(partitioned_table).create_checkpoint()
    vectors(lake)


Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def vectors(lake):
    """A vector of deleted rows, as writers of other languages leave it in the log."""
    table = lake / "delta/vectors"
    deltalake.write_deltalake(str(table), batch(range(1, 11)))
    log = table / "_delta_log/00000000000000000000.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    add = next(action["add"] for action in actions if "add" in action)
    deleted_rows = [0, 1, 8]
    bitmap = (1681511377).to_bytes(4, "little") + (1).to_bytes(8, "little")
    for word in (0, 12346, 1):
        bitmap += word.to_bytes(4, "little")
    bitmap += (0).to_bytes(2, "little") + (len(deleted_rows) - 1).to_bytes(2, "little") + (16).to_bytes(4, "little")
    for row in deleted_rows:
        bitmap += row.to_bytes(2, "little")
    bitmap += b"\0" * (-len(bitmap) % 4)
    text = ""
    for at in range(0, len(bitmap), 4):
        value = int.from_bytes(bitmap[at : at + 4], "big")
        text += "".join(Z85[value // 85**power % 85] for power in (4, 3, 2, 1, 0))
    vector = {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(bitmap), "cardinality": len(deleted_rows)}
    features = ["deletionVectors"]
    commit = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}},
        {"remove": {"path": add["path"], "dataChange": True, "deletionTimestamp": add["modificationTime"]}},
        {"add": {**add, "deletionVector": vector}},
    ]
    path = table / "_delta_log/00000000000000000001.json"
    path.write_text("".join(json.dumps(action) + "\n" for action in commit))


# --- What Python reads


def rows_of(table):
    """The caller's rows as JSON has them, sorted by id."""
    tenant = "client" if "client" in table.column_names else "tenant"
    rows = [row for row in table.to_pylist() if row[tenant] == 1]
    return sorted(([as_json(value) for value in row.values()] for row in rows), key=lambda row: row[0])


def as_json(value):
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.timezone.utc).timestamp()
    if isinstance(value, dt.date):
        return value.isoformat()
    return value


def delta_rows(path, version=None):
    table = deltalake.DeltaTable(str(path), version=version)
    return rows_of(pa.table(table.to_pyarrow_table()))


# --- The server


class Rest(http.server.BaseHTTPRequestHandler):
    """A REST catalog in front of pyiceberg's own."""

    catalog = None
    asked = []

    def do_GET(self):
        self.asked.append(self.path)
        if self.headers.get("authorization") != "Bearer granted":
            return self.answer(401, {})
        if self.path.startswith("/v1/config"):
            return self.answer(200, {"defaults": {}, "overrides": {"prefix": "main"}})
        found = re.fullmatch(r"/v1/main/namespaces/([^/]+)/tables/([^/]+)", self.path)
        if not found:
            return self.answer(404, {})
        table = self.catalog.load_table(f"{found[1]}.{found[2]}")
        return self.answer(200, {"metadata-location": table.metadata_location, "metadata": {}})

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        fits = self.rfile.read(length).decode() == "grant_type=client_credentials&client_id=me&client_secret=hush&scope=catalog"
        return self.answer(200, {"access_token": "granted", "token_type": "bearer"}) if fits else self.answer(401, {})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


TABLES = {
    "sql_evolved": ('format = "iceberg"\ncatalog = "sql"\ntable = "sales.evolved"', "client"),
    "rest_partitioned": ('format = "iceberg"\ncatalog = "rest"\ntable = "sales.partitioned"', "tenant"),
    "deleted": ('format = "iceberg"\nlocation = "iceberg/sales/deleted"', "tenant"),
    "delta_plain": ('format = "delta"\nlocation = "delta/plain"', "tenant"),
    "delta_partitioned": ('format = "delta"\nlocation = "delta/partitioned"', "tenant"),
    "delta_vectors": ('format = "delta"\nlocation = "delta/vectors"', "tenant"),
}


def project(work, rest):
    config = '[lake]\nlocation = "lake/"\n[reload]\ntables_seconds = 1\n'
    config += '[catalogs.sql]\ntype = "sql"\nuri = "sqlite:catalog.db"\n'
    config += f'[catalogs.rest]\ntype = "rest"\nuri = "{rest}"\ncredential = "env:CATALOG_SECRET"\n'
    for name, (declared, tenant) in TABLES.items():
        config += f"[tables.{name}]\n{declared}\nrow_filter = \"{tenant} = principal('tenant')\"\n"
        endpoint = work / f"endpoints/{name}.sql"
        endpoint.parent.mkdir(exist_ok=True)
        endpoint.write_text(f'/*---\nsummary = "Rows"\nas_of = true\n---*/\nSELECT * FROM {name} ORDER BY id\n')
        count = work / f"endpoints/{name}_count.sql"
        count.write_text(f'/*---\nsummary = "Count"\n---*/\nSELECT count(*) AS n, min(id) AS low, max(id) AS high FROM {name}\n')
    (work / "lakegate.toml").write_text(config)


class Server:
    def __init__(self, binary, work):
        environment = {**os.environ, "CATALOG_SECRET": "me:hush"}
        run = lambda *arguments: subprocess.run(
            [binary, *arguments], cwd=work, env=environment, check=True, capture_output=True, text=True
        ).stdout
        print(run("check").strip())
        run("principal", "add", "one", "--attribute", "tenant=1")
        run("grant", "add", "--principal", "one", "--endpoint", "*")
        issued = json.loads(run("token", "issue", "one", "--json"))
        self.token = issued["token"] if isinstance(issued, dict) else issued[0]["token"]
        self.log = open(work / "serve.log", "w+")
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0"], cwd=work, env=environment, stdout=self.log, stderr=self.log
        )
        self.url = None
        deadline = time.time() + 60
        while not self.url:
            text = (work / "serve.log").read_text()
            found = re.search(r"http://127\.0\.0\.1:[0-9]+", text)
            self.url = found and found[0]
            if self.process.poll() is not None or time.time() > deadline:
                raise SystemExit(f"table-formats: the server did not start:\n{text}")
            time.sleep(0.1)

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        if CANARY in text:
            raise SystemExit(f"table-formats: {path} shows rows of somebody else:\n{text}")
        return json.loads(text)

    def rows(self, name, query=""):
        rows = []
        for row in self.get(f"/api/{name}{query}"):
            rows.append([served(key, value) for key, value in row.items()])
        return rows

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def served(key, value):
    """Times as seconds, so that two ways to write one are equal; decimals as text."""
    if key == "made" and value is not None:
        return dt.datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    if key == "price" and value is not None:
        return str(Decimal(str(value)).quantize(Decimal("0.01")))
    return value


def same(what, served_rows, expected):
    if served_rows != expected:
        only = [row for row in served_rows if row not in expected]
        lacks = [row for row in expected if row not in served_rows]
        raise SystemExit(
            f"table-formats: {what}: {len(served_rows)} rows and not {len(expected)}; "
            f"only served: {only[:3]}, only expected: {lacks[:3]}"
        )
    print(f"table-formats: {what}: {len(expected)} rows are the same")


def wait_for(what, read, expected):
    deadline = time.time() + 60
    while (found := read()) != expected and time.time() < deadline:
        time.sleep(0.3)
    same(what, found, expected)


def main():
    binary, work = sys.argv[1], Path(sys.argv[2]).resolve()
    lake = work / "lake"
    lake.mkdir()
    catalog = iceberg(lake)
    delta(lake)
    Rest.catalog = catalog
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rest)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    project(work, f"http://127.0.0.1:{rest.server_port}")
    # `deleted` is served from its folder, where the newest metadata is found by its name.
    server = Server(binary, work)
    try:
        checks(server, catalog, lake)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"table-formats: {error.url}: {error.code} {error.read().decode()}\n{(work / 'serve.log').read_text()}")
    finally:
        server.stop()


def checks(server, catalog, lake):
    load = lambda name: catalog.load_table(f"sales.{name}")
    scan = lambda name, **options: rows_of(load(name).scan(**options).to_arrow())
    same("evolved", server.rows("sql_evolved"), scan("evolved"))
    same("partitioned", server.rows("rest_partitioned"), scan("partitioned"))
    same("deleted by position", server.rows("deleted"), scan("deleted"))
    for name in ("plain", "partitioned"):
        same(f"delta {name}", server.rows(f"delta_{name}"), delta_rows(lake / f"delta/{name}"))
    # `deltalake` reads no vectors into pyarrow; the rows are known.
    expected = [row for row in rows_of(batch(range(1, 11))) if row[0] not in (1, 2, 9)]
    same("delta with a vector", server.rows("delta_vectors"), expected)
    for name in TABLES:
        rows = server.rows(name)
        counted = server.get(f"/api/{name}_count")[0]
        same(f"{name} counted", [list(counted.values())], [[len(rows), rows[0][0], rows[-1][0]]])

    # How it was.
    for snapshot in load("deleted").snapshots():
        query = f"?as_of={snapshot.snapshot_id}"
        same(f"deleted as of {snapshot.snapshot_id}", server.rows("deleted", query), scan("deleted", snapshot_id=snapshot.snapshot_id))
    for version in (0, 1, 2):
        past = delta_rows(lake / "delta/plain", version)
        # The columns are those of now.
        same(f"delta plain as of {version}", [row[:-1] for row in server.rows("delta_plain", f"?as_of={version}")], past)

    # While it is served.
    load("partitioned").append(batch(range(61, 65)))
    wait_for("partitioned after an append", lambda: server.rows("rest_partitioned"), scan("partitioned"))
    keys = pa.table(
        {"id": pa.array([3, 4, 5], pa.int32())},
        schema=pa.schema([pa.field("id", pa.int32(), True, {"PARQUET:field_id": "1"})]),
    )
    before = scan("deleted")
    commit_deletes(load("deleted"), keys, DataFileContent.EQUALITY_DELETES, [1])
    gone = [row for row in before if row[0] not in (3, 4, 5)]
    wait_for("deleted by values", lambda: server.rows("deleted"), gone)
    deltalake.DeltaTable(str(lake / "delta/plain")).delete("id = 11")
    wait_for("delta plain after a delete", lambda: server.rows("delta_plain"), delta_rows(lake / "delta/plain"))


main()
