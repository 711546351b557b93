"""Writes a table of the lake to standard output as CSV that PostgreSQL's COPY reads.

    rows.py LAKE TABLE
"""

import sys
from pathlib import Path

import duckdb

lake, table = Path(sys.argv[1]), sys.argv[2]
files = lake / table / "*.parquet" if (lake / table).is_dir() else lake / f"{table}.parquet"
rows = duckdb.sql(f"SELECT * FROM read_parquet('{files}')")
# A list as PostgreSQL writes arrays.
columns = [
    f"""'{{' || array_to_string("{name}", ',') || '}}' AS "{name}\""""
    if str(kind).endswith("[]")
    else f'"{name}"'
    for name, kind in zip(rows.columns, rows.types)
]
# Nulls are empty and unquoted, texts are quoted, so that an empty text is not null.
texts = ", ".join(f'"{name}"' for name, kind in zip(rows.columns, rows.types) if str(kind) == "VARCHAR")
quote = f", FORCE_QUOTE ({texts})" if texts else ""
duckdb.sql(
    f"COPY (SELECT {', '.join(columns)} FROM rows) TO '/dev/stdout' (FORMAT csv, HEADER false{quote})"
)
