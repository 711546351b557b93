"""Generates queries over small tables full of NULLs and compares their answers with those of DuckDB.

    differential.py BINARY [--queries N] [--seed S] [--family NAME] [--governed] [--postgres ADDRESS] [--show N]

Each query becomes an endpoint of a project over shared tables. A query that `check` refuses is counted by its reason; one that
`check` accepts must answer 200 with DuckDB's rows, from files and from memory alike, or a 4xx error where DuckDB fails too.
The exit code is 1 when an answer differs, or when an accepted query is answered with a 5xx status.
With `--governed`, tables have generated row filters with subqueries, and DuckDB has the rows for which they are true. A PostgreSQL
server is a judge beside DuckDB with `--postgres`: a query on which the two differ has no judge, and is counted.
`--engine datafusion` asks the bare engine from PyPI instead, to see what it does without lakegate.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import sys
import tempfile

import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from differential_engines import DataFusion, DuckDb, Lakegate, PolicyRefused, Postgres, same  # noqa: E402
from differential_queries import FAMILIES, Query, filters, tables  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--engine", choices=["lakegate", "datafusion"], default="lakegate")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", choices=sorted(FAMILIES))
    parser.add_argument("--governed", action="store_true")
    parser.add_argument("--postgres", help="address of a server, such as `host=/tmp user=postgres dbname=postgres`")
    parser.add_argument("--batch", type=int, default=250, help="queries over one set of tables")
    parser.add_argument("--show", type=int, default=10, help="how many differences of each shape to print; above 10 a query for each reason of a refusal too")
    options = parser.parse_args()

    counts, shapes, reasons, bad = collections.Counter(), collections.Counter(), collections.Counter(), 0
    shortest = {}
    differences = collections.defaultdict(list)
    asked, world, filtered, judged = 0, 0, 0, collections.Counter()
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
            policies = usable(lake, options.binary, filters(choice)) if options.governed else {}
            filtered += len(policies)
            right = DuckDb(lake, policies)
            other = Postgres(right, options.postgres) if options.postgres else None
            engine = DataFusion(lake) if options.engine == "datafusion" else Lakegate(lake, os.path.abspath(options.binary), policies)
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
                    if other and outcome in ("equal", "different"):
                        second = other.ask(query)
                        agree = second[0] == wanted[0] and (second[0] != "rows" or same(second[1], wanted[1], query.is_ordered))
                        judged[f"PostgreSQL {'says as DuckDB' if agree else 'has no such query' if second[0] == 'failed' else 'differs'}"] += 1
                        if second[0] == "rows" and not agree:
                            outcome = "no judge" if judge(query, second, came) == "equal" or outcome == "equal" else outcome
                            if options.show > 10:
                                print(f"{query.sql}\n   DuckDB     {str(wanted)[:300]}\n   PostgreSQL {str(second)[:300]}", file=sys.stderr)
                    counts[outcome] += 1
                    shapes.update(f"{shape}: {outcome}" for shape in query.shapes)
                    if outcome == "refused":
                        reason = re.sub(r"[0-9]+|`[^`]*`", "…", came[1])[:110]
                        reasons[reason] += 1
                        shortest[reason] = min(shortest.get(reason, query.sql), query.sql, key=len)
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
        print(f"  {number}: {reason}" + (f"\n    {shortest[reason]}" if options.show > 10 else ""))
    for name, number in sorted(judged.items()):
        print(f"{name}: {number}")
    print(f"\n{asked} queries" + (f", {filtered} row filters: " if filtered else ": ") + ", ".join(f"{number} {name}" for name, number in sorted(counts.items())))
    sys.exit(1 if bad else 0)


def usable(lake, binary, policies):
    """The row filters that `check` takes."""
    while policies:
        gate = Lakegate(lake, os.path.abspath(binary), policies)
        try:
            gate.load({"all": Query("SELECT id FROM t", frozenset())})
            return policies
        except PolicyRefused as error:
            policies = {name: sql for name, sql in policies.items() if name not in error.args[0]}
        finally:
            gate.stop()
    return policies


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
