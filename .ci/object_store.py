"""The parts of .ci/object-store that are not shell: `upload STORE FOLDER`, `compare CALLERS LOCAL REMOTE`, `away CALLERS URL`.

CALLERS is what `lakegate demo --json` printed. Tokens are never printed.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

RANGES = [("2022-10-01", "2022-10-31"), ("2022-11-15T12:00:00Z", "2022-11-16T11:59:59Z")]


def call(url, token, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=120) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, json.load(refused)


def upload(store, folder):
    import boto3

    client = boto3.client("s3", endpoint_url=store)
    client.create_bucket(Bucket="sample")
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    for path in files:
        client.upload_file(str(path), "sample", f"a/lake/{path.relative_to(folder)}")
    print(f"object-store: {len(files)} files are in the store")


def in_any_order(rows):
    return sorted(json.dumps(row, sort_keys=True) for row in rows) if isinstance(rows, list) else rows


def without_id(body):
    return {key: value for key, value in body.items() if key != "request_id"} if isinstance(body, dict) else body


def compare(callers, local, remote):
    compared, rows = 0, 0
    for caller in json.loads(Path(callers).read_text())["principals"]:
        _, _, offered = call(local, caller["token"], "/api")
        offered = offered["endpoints"] if isinstance(offered, dict) else offered
        for endpoint in offered:
            for start, end in RANGES:
                names = [parameter["name"] for parameter in endpoint["parameters"]]
                given = {"start_datetime": start, "end_datetime": end}
                body = {name: value for name, value in given.items() if name in names}
                answers = [call(url, caller["token"], f"/api/{endpoint['name']}", body) for url in (local, remote)]
                (here, _, mine), (there, _, theirs) = answers
                if here != there or in_any_order(without_id(mine)) != in_any_order(without_id(theirs)):
                    sys.exit(f"object-store: {caller['name']}, {endpoint['name']}, {body}: {here} and {there}, other answers")
                compared += 1
                rows += len(mine) if isinstance(mine, list) else 0
    if rows == 0:
        sys.exit("object-store: no rows were compared")
    print(f"object-store: {compared} answers with {rows} rows are the same from both places")


def away(callers, url):
    token = next(one["token"] for one in json.loads(Path(callers).read_text())["principals"] if one["roles"] == ["operator"])
    body = {"start_datetime": "2022-10-01", "end_datetime": "2022-10-31"}
    began = time.monotonic()
    status, headers, problem = call(url, token, "/api/count_orders_by_range", body)
    if (status, problem.get("code")) != (503, "lake_unavailable") or "Retry-After" not in headers:
        sys.exit(f"object-store: {status} {problem} while the store is away")
    print(f"object-store: 503 after {time.monotonic() - began:.1f} s while the store is away")


if __name__ == "__main__":
    {"upload": upload, "compare": compare, "away": away}[sys.argv[1]](*sys.argv[2:])
