"""The sample's endpoints as people write them with FastAPI and DuckDB on Parquet files.

One process with FastAPI's thread pool. Each thread has its own cursor of one connection, the files are views, and
each endpoint filters by the caller's client in its SQL. Answers are written by orjson, past FastAPI's own encoder.

    BENCH_LAKE=folder BENCH_TOKENS=tokens.json uvicorn app:app
"""

import json
import os
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import duckdb
import orjson
from fastapi import Depends, FastAPI, Header, HTTPException, Response

TABLES = ["country", "city", "service", "product_size", "client", "route", "trackcode", "order"]

lake = Path(os.environ["BENCH_LAKE"])
clients_by_token = json.loads(Path(os.environ["BENCH_TOKENS"]).read_text())
database = duckdb.connect()
# The footers of the files are read once and not by every query.
database.execute("SET parquet_metadata_cache = true")
for table in TABLES:
    files = lake / table / "*.parquet" if (lake / table).is_dir() else lake / f"{table}.parquet"
    database.execute(f"""CREATE VIEW "{table}" AS SELECT * FROM read_parquet('{files}')""")

app = FastAPI()
of_thread = threading.local()


def cursor() -> duckdb.DuckDBPyConnection:
    if not hasattr(of_thread, "cursor"):
        of_thread.cursor = database.cursor()
    return of_thread.cursor


def client_of(authorization: Annotated[str, Header()]) -> int:
    client = clients_by_token.get(authorization.removeprefix("Bearer "))
    if client is None:
        raise HTTPException(401)
    return client


def utc(time: datetime) -> datetime:
    return time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time


def serve(name: str, sql: str) -> None:
    # Not `async`: FastAPI runs it in its pool of threads.
    def endpoint(start_datetime: datetime, end_datetime: datetime, client: Annotated[int, Depends(client_of)]):
        found = cursor().execute(sql, [client, utc(start_datetime), utc(end_datetime)])
        columns = [column[0] for column in found.description]
        rows = [dict(zip(columns, row)) for row in found.fetchall()]
        return Response(orjson.dumps(rows), media_type="application/json")

    app.get(f"/api/{name}")(endpoint)


for file in sorted((Path(__file__).parent.parent / "sql").glob("*.sql")):
    serve(file.stem, file.read_text())
