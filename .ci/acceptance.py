"""Compares the answers of a running lakegate with what DuckDB computes from the same files, client by client.

Called by .ci/acceptance: URL, lake, and the two reports of the access import. It calls as clients of the first system
do: POST, the key in the header `token`, a JSON object, a JSON array back. Keys of clients are never printed.
"""

import datetime
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import duckdb

RANGES = [
    ("2022-09-01", "2023-01-31"),
    ("2022-10-01", "2022-10-31T23:59:59.999999Z"),
    ("2022-11-15T12:00:00Z", "2022-11-16T11:59:59Z"),
    ("2030-01-01", "2030-12-31"),
]

# What each endpoint answers, in words of this script: t is one client's trackcodes in a range, o their orders.
# The second value says whether the order of the rows is part of the answer.
EXPECTED = {
    "all_orders_by_range": (
        """SELECT t.id AS trackcode_id, t.creation, t.crossdocking, t.pickup_address, t.drop_address,
                  t.product_description, t.product_price, t.product_weight,
                  (SELECT business_name FROM client WHERE id = $client) AS business_name,
                  (SELECT comercial_name FROM client WHERE id = $client) AS comercial_name,
                  service.name AS service_name,
                  (SELECT city.name FROM client JOIN city ON city.id = city_id WHERE client.id = $client) AS city_name
           FROM t LEFT JOIN service ON service.id = t.service_id""",
        False,
    ),
    "get_money_from_routes_by_range": (
        """SELECT DISTINCT route.id AS route_id, route.code AS route_code, t.id AS trackcode_id,
                  ifnull(route.price_official, 10.0) AS price, route.distance, t.pickup_address, t.drop_address,
                  service.name AS service_name, t.creation
           FROM o JOIN t ON t.id = o.trackcode_id JOIN route ON route.id = o.route_id
           LEFT JOIN service ON service.id = t.service_id""",
        False,
    ),
    "most_visited_location_from_trackcode_by_range": (
        """SELECT date_creation, name, count(*) AS amount FROM (
             SELECT DISTINCT strftime(t.creation, '%Y-%m-%d') AS date_creation, city.name, t.id
             FROM o JOIN t ON t.id = o.trackcode_id JOIN route ON route.id = o.route_id JOIN city ON city.id = route.city_id)
           GROUP BY ALL ORDER BY amount DESC, date_creation, name""",
        True,
    ),
    "count_trackcode_by_range": (
        "SELECT strftime(creation, '%Y-%m-%d') AS date_creation, count(*) AS counting FROM t GROUP BY ALL ORDER BY 1",
        True,
    ),
    "count_orders_by_range": ("SELECT count(*) AS count FROM o", True),
    "count_trackcode_lost_by_range": (
        "SELECT count(*) AS count FROM t WHERE id IN (SELECT trackcode_id FROM o WHERE start_time IS NULL)",
        True,
    ),
    "trackcodes_lost_by_range": (
        "SELECT id AS trackcode_id FROM t WHERE id IN (SELECT trackcode_id FROM o WHERE start_time IS NULL) ORDER BY id",
        True,
    ),
    "most_required_service_by_range": (
        """SELECT service.name, count(*) AS counting FROM t JOIN service ON service.id = t.service_id
           GROUP BY ALL ORDER BY counting DESC, service.name""",
        True,
    ),
    "count_delivered_trackcode_before_promise_time_by_range": (
        """SELECT coalesce(sum(CASE WHEN end_time <= promise_time THEN 1 ELSE 0 END), 0) AS counting_delivered_orders,
                  count(*) AS total_orders FROM o""",
        True,
    ),
}

TABLES = ["country", "city", "client", "service", "product_size", "route", "order", "trackcode"]

failures = []


def main():
    url, lake, import_report, import_again = sys.argv[1:]
    db = duckdb.connect()
    for table in TABLES:
        db.execute(f"CREATE VIEW \"{table}\" AS SELECT * FROM read_parquet('{quoted(Path(lake) / table)}.parquet')")
    db.execute(f"CREATE TABLE access AS SELECT * FROM read_parquet('{quoted(Path(lake) / 'access_control_table')}.parquet')")
    granted = [row[0] for row in db.execute("DESCRIBE access").fetchall() if row[0] not in ("id", "enterpriseKey")]
    keys = {row[0] for row in db.execute("SELECT enterpriseKey FROM access WHERE enterpriseKey IS NOT NULL").fetchall()}

    check_imports(db, json.loads(Path(import_report).read_text()), json.loads(Path(import_again).read_text()))
    compared = rows = 0
    for endpoint in granted:
        for client, key in callers(db, endpoint):
            for start, end in RANGES:
                status, body = call(url, endpoint, key, start, end)
                if status != 200:
                    failures.append(f"{endpoint}, client {client}: status {status}: {body[:300]}")
                    continue
                if any(text in body for text in keys):
                    failures.append(f"{endpoint}, client {client}: a key of a client is in the answer")
                answer = json.loads(body)
                compare(db, endpoint, client, start, end, answer)
                compared += 1
                rows += len(answer)
    refused = check_refusals(db, url, granted)
    if failures:
        print("\n".join(failures[:50]), file=sys.stderr)
        sys.exit(f"acceptance: failed, {len(failures)} differences")
    if compared == 0 or rows == 0:
        sys.exit("acceptance: failed, there was nothing to compare")
    print(f"acceptance: passed, {compared} answers with {rows} rows equal DuckDB's, {refused} calls refused as they must be")


def callers(db, endpoint):
    """Clients that have the endpoint and a key of their own: the biggest two, one in the middle, the smallest."""
    rows = db.execute(
        f"""SELECT a.id, a.enterpriseKey FROM access AS a
            JOIN (SELECT client_id, count(*) AS n FROM trackcode GROUP BY client_id) ON client_id = a.id
            WHERE a."{endpoint}" AND a.enterpriseKey IN (SELECT enterpriseKey FROM access GROUP BY 1 HAVING count(*) = 1)
            ORDER BY n DESC, a.id"""
    ).fetchall()
    places = sorted({0, 1, len(rows) // 2, len(rows) - 1})
    return [rows[place] for place in places if 0 <= place < len(rows)]


def compare(db, endpoint, client, start, end, answer):
    query, ordered = EXPECTED[endpoint]
    # In one statement, with the client's id written out: this is what the row filters must come to.
    text = f"""WITH t AS (SELECT * FROM trackcode WHERE client_id = {int(client)} AND creation BETWEEN $start AND $end),
               o AS (SELECT * FROM "order" WHERE trackcode_id IN (SELECT id FROM t))
               {query.replace("$client", str(int(client)))}"""
    cursor = db.execute(text, {"start": moment(start), "end": moment(end)})
    names = [column[0] for column in cursor.description]
    expected = [tuple(plain(value) for value in row) for row in cursor.fetchall()]
    for record in answer[:1]:
        if list(record) != names:
            failures.append(f"{endpoint}: columns {list(record)}, expected {names}")
            return
    got = [tuple(plain(value) for value in record.values()) for record in answer]
    if not ordered:
        expected.sort(key=repr)
        got.sort(key=repr)
    if got != expected:
        first = next((pair for pair in zip(got, expected) if pair[0] != pair[1]), ("-", "-"))
        failures.append(
            f"{endpoint}, client {client}, {start} to {end}: {len(got)} rows, expected {len(expected)}; "
            f"first difference: {first[0]} is not {first[1]}"
        )


def check_imports(db, first, again):
    """The first run made what the table says; the second changed nothing; neither report has a key."""
    columns = [row[0] for row in db.execute("DESCRIBE access").fetchall() if row[0] not in ("id", "enterpriseKey")]
    grants = " + ".join(f'coalesce("{column}", false)::INTEGER' for column in columns)
    expected = {
        "principals_added": db.execute("SELECT count(DISTINCT id) FROM access").fetchall()[0][0],
        "tokens_added": db.execute(
            "SELECT count(*) FROM (SELECT enterpriseKey FROM access WHERE enterpriseKey IS NOT NULL GROUP BY 1 HAVING count(*) = 1)"
        ).fetchall()[0][0],
        "grants_added": db.execute(f"SELECT sum({grants}) FROM access").fetchall()[0][0],
        "changed": True,
    }
    for name, value in expected.items():
        if first.get(name) != value:
            failures.append(f"the import reports {name} {first.get(name)}, expected {value}")
        if again.get(name) != (False if name == "changed" else 0):
            failures.append(f"the second import reports {name} {again.get(name)}")
    shared = db.execute("SELECT list(id ORDER BY id) FROM access WHERE enterpriseKey IS NOT NULL GROUP BY enterpriseKey HAVING count(*) > 1").fetchall()
    reported = sorted(sorted(conflict["clients"]) for conflict in first.get("conflicts", []) if conflict["kind"] == "shared_key")
    if reported != sorted(ids for (ids,) in shared):
        failures.append(f"keys of several clients: the import reports {reported}")
    text = json.dumps([first, again])
    if any(key in text for (key,) in db.execute("SELECT enterpriseKey FROM access WHERE enterpriseKey IS NOT NULL").fetchall()):
        failures.append("a key is in the report of the import")


def check_refusals(db, url, granted):
    """Nobody, a stranger, a client without the grant, a key of two clients, and arguments that are none."""
    refused = 0
    start, end = RANGES[0]

    def expect(what, status, code, endpoint, key, arguments=None):
        nonlocal refused
        got, body = call(url, endpoint, key, start, end, arguments)
        try:
            got_code = json.loads(body).get("code")
        except (json.JSONDecodeError, AttributeError):
            got_code = None
        if (got, got_code) != (status, code):
            failures.append(f"{what} at {endpoint}: {got} {got_code}, expected {status} {code}")
        refused += 1

    shared = db.execute("SELECT enterpriseKey FROM access WHERE enterpriseKey IS NOT NULL GROUP BY 1 HAVING count(*) > 1").fetchall()
    for endpoint in granted:
        expect("nobody", 401, "access_token_missing", endpoint, None)
        expect("a stranger", 401, "access_token_unknown", endpoint, "00000000-0000-4000-8000-000000000000")
        for (key,) in shared:
            expect("a key of several clients", 401, "access_token_unknown", endpoint, key)
        without = db.execute(
            f"""SELECT enterpriseKey FROM access WHERE NOT coalesce("{endpoint}", false) AND enterpriseKey IS NOT NULL
                GROUP BY 1 HAVING count(*) = 1 ORDER BY min(id) LIMIT 1"""
        ).fetchall()
        for (key,) in without:
            expect("a client without the grant", 403, "access_not_granted", endpoint, key)
        for _, key in callers(db, endpoint)[:1]:
            expect("no arguments", 400, "arguments_invalid", endpoint, key, {})
            expect("an inverted range", 422, "rule_violated", endpoint, key, {"start_datetime": end, "end_datetime": start})
            expect("SQL", 400, "arguments_invalid", endpoint, key, {"start_datetime": "2022-01-01' OR 1=1 --", "end_datetime": end})
    return refused


def call(url, endpoint, key, start, end, arguments=None):
    if arguments is None:
        arguments = {"start_datetime": start, "end_datetime": end}
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["token"] = key
    request = urllib.request.Request(f"{url}/api/{endpoint}", json.dumps(arguments).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def moment(text):
    """A bound as DuckDB takes it: the lake's timestamps have no zone and mean UTC."""
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time.replace(tzinfo=None)


def plain(value):
    """Times as times and numbers as floats, so that two spellings of one value are equal."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return round(float(value), 9)
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, str) and len(value) > 10 and value[:4].isdigit() and value[10] == "T":
        try:
            return moment(value).isoformat()
        except ValueError:
            return value
    return value


def quoted(path):
    return str(path).replace("'", "''")


if __name__ == "__main__":
    main()
