"""Writes a project over a table of all types, and reads its answers with pyarrow, pandas, openpyxl and curl.

Called by .ci/formats. The values of every format must be those of the JSON answer, and those are held against the
table itself. Rows of another tenant, and a masked column, hold a canary that must be in no answer.
"""

import datetime as dt
import gzip
import io
import json
import math
import re
import subprocess
import sys
import urllib.error
import urllib.request
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import brotli
import numpy
import openpyxl
import pandas
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import zstandard
from openpyxl.utils.escape import unescape

CANARY = "CANARY-of-somebody-else"
BOGOTA = ZoneInfo("America/Bogota")
UTC = dt.timezone.utc
MANY = 20_000

CONFIG = """
[lake]
location = "lake/"
[tables.every_type]
location = "every_type.parquet"
row_filter = "tenant = principal('tenant')"
[tables.every_type.columns.secret]
mask = "redact"
[tables.every_type.columns.salary]
mask = "null"
[tables.many]
location = "many.csv"
shared = true
"""

EVERY_TYPE = '/*---\nsummary = "Every type"\n---*/\nSELECT * FROM every_type ORDER BY id\n'
NOTHING = '/*---\nsummary = "No rows"\n---*/\nSELECT * FROM every_type WHERE id < 0\n'
FAILS = f"""/*---
summary = "Rows, and at the end a failure"
[params.at]
type = "integer"
default = -1
---*/
SELECT n, text, CASE WHEN n = $at THEN 1 / (n - $at) ELSE n END AS checked FROM many
"""

STREAMED = ["json", "ndjson", "csv", "arrow"]


def table():
    """Columns with three rows each: values, NULL, values at an end of the type. Then the tenant's other texts."""
    item = pa.struct([("sku", pa.string()), ("price", pa.decimal128(12, 2)), ("tags", pa.list_(pa.string()))])
    moment = dt.datetime(2022, 10, 1, 8, 30, 0, 123456)
    least = dt.datetime(1970, 1, 1)
    columns = {
        "flag": (pa.bool_(), [True, None, False]),
        "tiny": (pa.int8(), [-128, None, 127]),
        "huge": (pa.int64(), [9007199254740993, None, -(2**63)]),
        "unsigned": (pa.uint64(), [2**64 - 1, None, 0]),
        "single": (pa.float32(), [0.1, None, math.nan]),
        "double": (pa.float64(), [0.1 + 0.2, None, -math.inf]),
        "price": (pa.decimal128(38, 10), [Decimal("1234567890123456789012345678.0123456789"), None, Decimal("-0.0000000001")]),
        "cents": (pa.decimal128(9, 2), [Decimal("10.50"), None, Decimal("-3.07")]),
        "bytes": (pa.binary(), [b"\x00\xff", None, b""]),
        "fixed": (pa.binary(2), [b"\x01\x02", None, b"\x00\x00"]),
        "day": (pa.date32(), [dt.date(2022, 10, 1), None, dt.date(1969, 12, 31)]),
        "clock": (pa.time64("us"), [dt.time(8, 30, 0, 5), None, dt.time(0, 0)]),
        "local": (pa.timestamp("us"), [moment, None, least]),
        "instant": (pa.timestamp("ms", "UTC"), [moment.replace(microsecond=123000, tzinfo=UTC), None, least.replace(tzinfo=UTC)]),
        "zoned": (pa.timestamp("us", "America/Bogota"), [moment.replace(tzinfo=BOGOTA), None, least.replace(tzinfo=UTC)]),
        "took": (pa.duration("ms"), [dt.timedelta(seconds=90, milliseconds=500), None, dt.timedelta(0)]),
        "coded": (pa.dictionary(pa.int32(), pa.string()), ["b", None, "a"]),
        "words": (pa.list_(pa.string()), [["a", None, ""], None, []]),
        "item": (item, [{"sku": "x,\"y\"", "price": Decimal("1.50"), "tags": ["t", None]}, None, {"sku": None, "price": None, "tags": None}]),
        "items": (pa.list_(item), [[{"sku": "=1", "price": Decimal("0.01"), "tags": []}, None], None, []]),
        "counts": (pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", None)], None, []]),
        "by_number": (pa.map_(pa.int32(), pa.string()), [[(-5, "five")], None, []]),
        "text": (pa.string(), ["plain", None, ""]),
    }
    texts = ["a\"b", "a,b", "a\r\nb\nc", " spaced ", "=1+1", "+1", "-1", "@x", "\tx", "  =1", "é 你好 🎈", "'quoted'", "NULL", "null", "NaN", "007", "1e5", "true"]
    fields, arrays = [], []
    rows = 3 + len(texts)
    for name, (kind, values) in columns.items():
        values = (values * rows)[:rows]
        if name == "text":
            values[3:] = texts
        # Every other row is somebody else's; they come between the rows of the tenant.
        foreign = {"text": CANARY, "coded": CANARY, "words": [CANARY], "item": {"sku": CANARY, "tags": [CANARY]}, "bytes": CANARY.encode()}
        mixed = [value for own in values for value in (own, foreign.get(name, own))]
        arrays.append(pa.array(mixed, kind) if not pa.types.is_dictionary(kind) else pa.array(mixed).dictionary_encode())
        fields.append(pa.field(name, arrays[-1].type, metadata={"comment": CANARY}))
    count = 2 * rows
    for name, column in [
        ("id", pa.array(range(count), pa.int64())),
        ("tenant", pa.array(["a", "b"] * rows)),
        ("secret", pa.array([CANARY] * count)),
        ("salary", pa.array([424242424242] * count, pa.int64())),
    ]:
        arrays.append(column)
        fields.append(pa.field(name, column.type))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata={"pandas": CANARY}))


def write(project):
    (project / "lake").mkdir(parents=True)
    (project / "endpoints").mkdir()
    (project / "lakegate.toml").write_text(CONFIG)
    (project / "endpoints/every_type.sql").write_text(EVERY_TYPE)
    (project / "endpoints/nothing.sql").write_text(NOTHING)
    (project / "endpoints/fails.sql").write_text(FAILS)
    pa.parquet.write_table(table(), project / "lake/every_type.parquet")
    lines = (f"{n},text {n * 0x9E3779B97F4A7C15 % 2**64:x} that makes the row longer\n" for n in range(MANY))
    (project / "lake/many.csv").write_text("n,text\n" + "".join(lines))


class Client:
    def __init__(self, url, token):
        self.url, self.token = url, token

    def get(self, endpoint, format, query="", accept_encoding=None):
        headers = {"Authorization": f"Bearer {self.token}"}
        if accept_encoding:
            headers["Accept-Encoding"] = accept_encoding
        request = urllib.request.Request(f"{self.url}/api/{endpoint}?format={format}{query}", headers=headers)
        with urllib.request.urlopen(request) as answer:
            return answer.read(), answer.headers


checks = 0


def check(holds, what):
    global checks
    checks += 1
    if not holds:
        sys.exit(f"formats: {what}")


def moment(text):
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def seconds(text):
    """An ISO 8601 duration of days and seconds."""
    found = re.fullmatch(r"(-?)P(?:(\d+)D)?(?:T([\d.]+)S)?", text)
    return Decimal(found[1] + "1") * (int(found[2] or 0) * 86400 + Decimal(found[3] or 0))


def same(value, got, kind):
    """Whether a value as JSON is the value that pyarrow has of this type."""
    if got is None or value is None:
        not_finite = isinstance(got, float) and not math.isfinite(got)
        return value is None and (got is None or not_finite)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_float32(kind):
        return numpy.float32(value) == numpy.float32(got)
    if pa.types.is_floating(kind):
        return float(value) == got
    if pa.types.is_decimal(kind):
        return Decimal(value) == got
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_large_binary(kind):
        return value == got.hex()
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return type(got).fromisoformat(value) == got
    if pa.types.is_timestamp(kind):
        return moment(value) == got and (moment(value).tzinfo is None) == (kind.tz is None)
    if pa.types.is_duration(kind):
        return seconds(value) == Decimal(got // dt.timedelta(microseconds=1)) / 1_000_000
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return len(value) == len(got) and all(same(a, b, kind.value_type) for a, b in zip(value, got))
    if pa.types.is_struct(kind):
        return list(value) == list(got) and all(same(value[f.name], got[f.name], f.type) for f in kind)
    if pa.types.is_map(kind):
        return list(value) == [str(key) for key, _ in got] and all(
            same(a, b, kind.item_type) for a, (_, b) in zip(value.values(), got)
        )
    return value == got and type(value) is type(got)


def compare(rows, got, what):
    """Rows of JSON with a table of pyarrow."""
    check(len(rows) == got.num_rows, f"{what}: {got.num_rows} rows, and {len(rows)} in JSON")
    for field, column in zip(got.schema, got.columns):
        for number, (row, value) in enumerate(zip(rows, column.to_pylist())):
            check(same(row[field.name], value, field.type), f"{what}, row {number}, {field}: {value!r} is {row[field.name]!r} in JSON")


def csv_text(value, kind):
    """A value of JSON as it stands in CSV; None where another way of writing is fine too."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def compare_csv(rows, body, source, is_guarded):
    frame = pandas.read_csv(io.BytesIO(body), dtype=str, keep_default_na=False)
    check(list(frame.columns) == list(rows[0]), "the header of CSV")
    check(len(frame) == len(rows), "rows of CSV")
    for name in frame.columns:
        kind = source.schema.field(name).type
        is_text = pa.types.is_string(kind) or pa.types.is_dictionary(kind)
        for row, cell in zip(rows, frame[name]):
            value, what = row[name], f"CSV, {name}: {cell!r} is {row[name]!r} in JSON"
            if is_guarded and is_text and value and (value.lstrip()[:1] in tuple("=+-@") or value[0] in "\t\r\n"):
                check(cell == "'" + value, what)
            elif value is None and pa.types.is_floating(kind):
                check(cell in ("", "NaN", "-Infinity"), what)
            elif isinstance(value, (list, dict)):
                check(json.loads(cell, parse_float=Decimal) == value, what)
            elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
                check(Decimal(cell) == value, what)
            else:
                check(cell == csv_text(value, kind), what)


def compare_xlsx(rows, body):
    sheet = openpyxl.load_workbook(io.BytesIO(body)).active
    header, *lines = sheet.iter_rows(values_only=True)
    check(list(header) == list(rows[0]) and len(lines) == len(rows), "the shape of XLSX")
    for row, line in zip(rows, lines):
        for (name, value), cell in zip(row.items(), line):
            what = f"XLSX, {name}: {cell!r} is {value!r} in JSON"
            if value in (None, ""):
                check(cell is None, what)
            elif isinstance(cell, dt.datetime):
                wanted = moment(value).replace(tzinfo=None) if "T" in value else dt.datetime.fromisoformat(value)
                check(abs(cell - wanted) < dt.timedelta(milliseconds=1), what)
            elif isinstance(value, (list, dict)):
                check(json.loads(cell, parse_float=Decimal) == value, what)
            elif isinstance(value, bool) or isinstance(cell, bool):
                check(cell is value, what)
            elif isinstance(value, (int, Decimal)):
                check((Decimal(cell) if isinstance(cell, str) else Decimal(repr(cell))) == value, what)
            else:
                # What XML does not carry is escaped; openpyxl leaves it so where a text is in its cell.
                check(unescape(cell) == value, what)
    for cells in sheet.iter_rows():
        check(all(cell.data_type != "f" for cell in cells), "a formula in XLSX")


def read(project, url, token):
    client = Client(url, token)
    body, _ = client.get("every_type", "json")
    rows = json.loads(body, parse_float=Decimal)
    source = table().filter(pa.compute.equal(table()["tenant"], "a"))
    visible = source.drop_columns(["secret", "salary"])
    compare(rows, visible, "the table")
    check(all(row["secret"] == "[redacted]" and row["salary"] is None for row in rows), "masked columns")

    lines, _ = client.get("every_type", "ndjson")
    check([json.loads(line, parse_float=Decimal) for line in lines.splitlines()] == rows, "NDJSON")
    arrow, _ = client.get("every_type", "arrow")
    read_arrow = pa.ipc.open_stream(arrow).read_all()
    compare(rows, read_arrow, "Arrow")
    parquet, _ = client.get("every_type", "parquet")
    read_parquet = pa.parquet.read_table(io.BytesIO(parquet))
    compare(rows, read_parquet, "Parquet")
    for name, got in [("Arrow", read_arrow), ("Parquet", read_parquet)]:
        check(not got.schema.metadata and all(not field.metadata for field in got.schema), f"metadata in {name}")
        for kept in ["huge", "unsigned", "price", "zoned", "took"]:
            check(got.schema.field(kept).type == source.schema.field(kept).type, f"the type of {kept} in {name}")
    for guard in ["on", "off"]:
        body, _ = client.get("every_type", "csv", f"&csv_guard={guard}")
        compare_csv(rows, body, source, guard == "on")
    body, headers = client.get("every_type", "xlsx")
    compare_xlsx(rows, body)
    check(headers["Content-Disposition"] == 'attachment; filename="every_type.xlsx"', "the file name")

    for format in ["json", "ndjson", "csv", "arrow", "parquet"]:
        body, _ = client.get("every_type", format)
        check(CANARY.encode() not in body and CANARY.encode().hex().encode() not in body, f"a canary in {format}")
        empty, _ = client.get("nothing", format)
        names = {
            "json": lambda body: list(rows[0]) if json.loads(body) == [] else None,
            "ndjson": lambda body: list(rows[0]) if body == b"" else None,
            "csv": lambda body: list(pandas.read_csv(io.BytesIO(body)).columns),
            "arrow": lambda body: pa.ipc.open_stream(body).read_all().schema.names,
            "parquet": lambda body: pa.parquet.read_table(io.BytesIO(body)).schema.names,
        }
        check(names[format](empty) == list(rows[0]), f"an empty answer as {format}")

    decoders = {
        "gzip": gzip.decompress,
        "br": brotli.decompress,
        "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    }
    for format in STREAMED:
        whole, _ = client.get("fails", format)
        for coding, decode in decoders.items():
            packed, headers = client.get("fails", format, accept_encoding=coding)
            check(headers["Content-Encoding"] == coding and len(packed) < len(whole), f"{format} as {coding}")
            check(decode(packed) == whole, f"{format} as {coding} is another answer")

    for format in STREAMED:
        for coding in ["identity", *decoders]:
            address = f"{url}/api/fails?format={format}&at="
            command = ["curl", "--fail", "--silent", "-H", f"Authorization: Bearer {token}", "-H", f"Accept-Encoding: {coding}"]
            whole = subprocess.run([*command, "--output", "/dev/null", address + "-1"], check=False)
            check(whole.returncode == 0, f"curl of a whole {format} as {coding}: {whole.returncode}")
            cut = subprocess.run([*command, "--output", "/dev/null", f"{address}{MANY - 1}"], check=False)
            # 22 where the failure came before the first byte, 18 where the connection was cut.
            check(cut.returncode in (18, 22), f"curl of a cut {format} as {coding}: {cut.returncode}")
            check(cut.returncode == 18 or coding != "identity", f"{format} was not long enough to be cut")
    print(f"formats: {len(rows)} rows of {len(rows[0])} columns are the same in every format ({checks} checks)")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        read(Path(sys.argv[2]), sys.argv[3], json.loads(Path(sys.argv[4]).read_text())["token"])
