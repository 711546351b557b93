"""What should be in the tables that `.ci/ingest` makes, found without lakegate; and files like the first system's.

    ingest.py make EXPORTS          small files in the same odd dress
    ingest.py compare WORK [LAKE]   tables against files, and against the same tables that somebody else made
    ingest.py formats WORK          Delta and Iceberg tables against the file that they are of
    ingest.py kill WORK BINARY      replaces those tables again and again, and kills that in the middle
"""

import csv
import datetime as dt
import io
import json
import pathlib
import shutil
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

UTC = dt.timezone.utc


def make(exports):
    """UTF-16 with semicolons, quotes here and there, line breaks in quotes, lists in braces, clients that come twice."""

    def utf16(name, text):
        (exports / name).write_bytes(b"\xfe\xff" + text.encode("utf-16-be"))

    utf16("country_table.csv", '"id";"name";"region";"prefixPhone";"currencyISO"\r\n1;PERÚ;PE;+51;PEN\r\n2;CHILE;CL;+56;CLP\r\n')
    header = '"id";"address";"businessName";"comercialName";"cityID";"serviceIDs";"enterpriseKey"\r\n'
    clients = [
        '7;Av. Simón Bolívar 1;"uno; dos";UNO;1;{258,259,5};"k-7"',
        '8;"Calle ""A""\r\nlote 2";ocho;OCHO;;{};"k-8"',
        "9;Leibnitz 117 – Local 6;nueve;;2;{1};k-9",
        '7;Av. Nueva 2;"uno; dos";UNO;1;{258};"k-7"',
    ]
    utf16("client_table.csv", header + "\r\n".join(clients) + "\r\n")
    header = '"id";"routeCode";"price";"priceOriginal";"priceIncentive";"incentive";"estimatedTotalDistance";"cityID"\r\n'
    routes = ['1;"4b3f051e";5.5;5.5;;;2605;1', "2;4068e556;;;1.25;;0;2", '3;"00123456";0.0;0.0;;;7;12']
    utf16("route_table.csv", header + "\r\n".join(routes) + "\r\n")
    times = ["2022-12-02 15:54:51.686 -0500", "2022-12-03 00:00:00.000 +0000", None, ""]
    order = {"trackcode_id": [1, 2, 3, None], "route_id": [1, 2, 3, 1], "id": [11, 12, 13, 14]}
    order |= {name: times[at:] + times[:at] for at, name in enumerate(["promise_time", "start_time", "end_time"])}
    pq.write_table(pa.table(order), exports / "order_table.parquet")
    city = {"name": ["lima", "cdmx"], "country_id": [1, 4], "timezone": ["America/Lima", "America/Mexico_City"], "id": [1, 2]}
    pq.write_table(pa.table(city), exports / "city_table.parquet")
    pq.write_table(pa.table({"name": ["regular"], "id": [1]}), exports / "service_table.parquet")
    size = {"id": [1], "name": ["xs"], "dim_x": [1.0], "dim_y": [2.0], "dim_z": [3.0]}
    pq.write_table(pa.table(size), exports / "product_size_table.parquet")


def rows_of_csv(path, columns):
    """The rows by the names of the table, each value made by a function of its own."""
    with open(path, encoding="utf-16", newline="") as file:
        for row in csv.DictReader(io.StringIO(file.read(), newline=""), delimiter=";"):
            yield {name: make(row[source]) for name, (source, make) in columns.items()}


def text(value):
    return value or None


def number(kind):
    return lambda value: kind(value) if value else None


def numbers(value):
    return [int(part) for part in value.strip("{}").split(",") if part] if value else None


def moment(value):
    """The same moment in UTC, without a zone."""
    if not value:
        return None
    return dt.datetime.strptime(value, "%Y-%m-%d %H:%M:%S.%f %z").astimezone(UTC).replace(tzinfo=None)


CSV = {
    "country": {
        "id": ("id", int), "name": ("name", text), "region": ("region", text),
        "prefix_phone": ("prefixPhone", number(int)), "currency_iso": ("currencyISO", text),
    },
    "client": {
        "id": ("id", int), "address": ("address", text), "business_name": ("businessName", text),
        "comercial_name": ("comercialName", text), "city_id": ("cityID", number(int)),
        "service_ids": ("serviceIDs", numbers), "enterprise_key": ("enterpriseKey", text),
    },
    "route": {
        "id": ("id", int), "code": ("routeCode", text), "price_official": ("price", number(float)),
        "price_original": ("priceOriginal", number(float)), "price_with_incentive": ("priceIncentive", number(float)),
        "distance": ("estimatedTotalDistance", number(int)), "city_id": ("cityID", number(int)),
    },
}


def expected(exports, table):
    if table in CSV:
        return list(rows_of_csv(exports / f"{table}_table.csv", CSV[table]))
    rows = pq.read_table(exports / f"{table}_table.parquet").to_pylist()
    rows = [{name: text(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
    if table == "order":
        for row in rows:
            row |= {name: moment(row[name]) for name in ("promise_time", "start_time", "end_time")}
    return rows


def by_id(rows):
    return sorted((tuple(sorted(row.items())) for row in rows), key=repr)


def same(what, got, wanted):
    got, wanted = by_id(got), by_id(wanted)
    if got == wanted:
        return
    # Values may be secrets of the files: only names and places are told.
    names = {name for one, other in zip(got, wanted) for (name, a), (_, b) in zip(one, other) if a != b}
    sys.exit(f"ingest: {what}: {len(got)} rows for {len(wanted)}; other values in {sorted(names)}")


def read(lake, table):
    found = sorted(lake.glob(f"{table}*.parquet")) + sorted((lake / table).glob("[!._]*.parquet"))
    return [row for path in found for row in pq.read_table(path).to_pylist()]


def compare(work, lake):
    exports, made = work / "project/exports", work / "project/lake"
    for table in ["country", "city", "service", "product_size", "client", "route", "order"]:
        wanted = expected(exports, table)
        report = [json.loads(line) for line in (work / f"{table}.rejects").read_text().splitlines()]
        summary = json.loads((work / f"{table}.json").read_text())
        rejected = [line for line in report if line["what"] == "rejected"]
        superseded = [line for line in report if line["what"] == "superseded"]
        if rejected:
            sys.exit(f"ingest: {table}: {len(rejected)} rows were rejected, such as {rejected[0]['why']}")
        if table == "client":
            wanted = list({row["id"]: row for row in wanted}.values())
        # Nothing is lost without being in the report.
        if summary["read"] != len(wanted) + len(superseded) or summary["superseded"] != len(superseded):
            sys.exit(f"ingest: {table}: {summary['read']} rows were read, and {len(wanted)} + {len(superseded)} are known")
        same(table, read(made, table), wanted)
        print(f"ingest: {table}: {len(wanted)} rows as in the files, {len(superseded)} superseded")
        if lake is None:
            continue
        # Somebody else's copy says '' where there is nothing, and keeps the first of clients that come twice.
        others = read(lake, table)
        others = [{name: text(value) if isinstance(value, str) else value for name, value in row.items()} for row in others]
        if table == "client":
            once = {line for line in {row["id"] for row in wanted}}
            same(f"{table} (ids of the other lake)", [{"id": id} for id in once], [{"id": row["id"]} for row in others])
            continue
        same(f"{table} (the other lake)", read(made, table), others)


def formats(work):
    import deltalake
    from pyiceberg.table import StaticTable

    exports = work / "project/exports"
    wanted = expected(exports, "order")
    wanted_once = list({row["id"]: row for row in wanted}.values())
    delta = deltalake.DeltaTable(str(work / "delta/lake/order"))
    rows = delta.to_pyarrow_table() if hasattr(delta, "to_pyarrow_table") else pa.table(delta.to_arrow())
    same("order as Delta", rows.to_pylist(), wanted_once)
    assert delta.version() == 3, delta.version()
    before = deltalake.DeltaTable(str(work / "delta/lake/order"), version=2)
    if before.to_pyarrow_dataset().count_rows() != 2 * len(wanted):
        sys.exit("ingest: order as Delta: version 2 has other rows than were appended")
    folder = work / "iceberg/lake/order"
    iceberg = StaticTable.from_metadata(str(folder / "metadata/v4.metadata.json"))
    same("order as Iceberg", iceberg.scan().to_arrow().to_pylist(), wanted_once)
    counts = [iceberg.scan(snapshot_id=each.snapshot_id).to_arrow().num_rows for each in sorted(iceberg.snapshots(), key=lambda each: each.sequence_number)]
    if counts != [len(wanted), len(wanted), 2 * len(wanted), len(wanted_once)]:
        sys.exit(f"ingest: order as Iceberg: snapshots of {counts} rows")
    some = wanted[0]["id"]
    found = iceberg.scan(row_filter=f"id == {some}").to_arrow().num_rows
    if found != len([row for row in wanted_once if row["id"] == some]):
        sys.exit("ingest: order as Iceberg: the bounds of a file leave out its rows")
    if (folder / "metadata/version-hint.text").read_text() != "4":
        sys.exit("ingest: order as Iceberg: the hint is of another version")
    print(f"ingest: {len(wanted_once)} orders as Delta and as Iceberg")


def kill(work, binary):
    """Whenever it ends, the table has the rows of one run, all of them."""
    import deltalake
    from pyiceberg.table import StaticTable

    rows = 30_000
    runs = {}
    for run in (1, 2):
        path = work / f"run{run}.csv"
        lines = (f"{run},{id},row {id} of run {run}" for id in range(rows))
        path.write_text("run,id,text\n" + "\n".join(lines) + "\n")
        runs[run] = path

    def read(form):
        folder = work / form / "lake/order"
        if form == "delta":
            return deltalake.DeltaTable(str(folder)).to_pyarrow_dataset().to_table(columns=["run"])
        versions = [int(path.name[1:].split(".")[0]) for path in (folder / "metadata").glob("v*.metadata.json")]
        metadata = folder / f"metadata/v{max(versions)}.metadata.json"
        return StaticTable.from_metadata(str(metadata)).scan(selected_fields=("run",)).to_arrow()

    for form in ("delta", "iceberg"):
        shutil.rmtree(work / form / "lake/order")
        command = [binary, "ingest", "--table", "order", "--project", work / form, "--into", form, "--mode", "replace"]
        subprocess.run([*command, "--from", runs[1]], check=True, stdout=subprocess.DEVNULL)
        killed = 0
        for step in range(12):
            child = subprocess.Popen([*command, "--from", runs[1 + (step + 1) % 2]], stdout=subprocess.DEVNULL)
            time.sleep(0.05 + 0.1 * step)
            child.kill()
            killed += child.wait() != 0
            found = read(form)["run"].to_pylist()
            if len(found) != rows or len(set(found)) != 1:
                sys.exit(f"ingest: a killed run left {len(found)} rows of the runs {set(found)} in {form}")
        subprocess.run([*command, "--from", runs[2]], check=True, stdout=subprocess.DEVNULL)
        found = read(form)["run"].to_pylist()
        left = [path.name for path in (work / form / "lake").iterdir() if path.name.endswith(".partial")]
        if set(found) != {2} or len(found) != rows or left:
            sys.exit(f"ingest: after a killed run the next one left {len(found)} rows, and {left} in {form}")
        print(f"ingest: {form} was killed {killed} times, and never had other rows than those of one run")


if __name__ == "__main__":
    command, folder, *more = sys.argv[1:]
    folder = pathlib.Path(folder)
    if command == "make":
        make(folder)
    elif command == "compare":
        compare(folder, pathlib.Path(more[0]) if more else None)
    elif command == "kill":
        kill(folder, more[0])
    else:
        formats(folder)
