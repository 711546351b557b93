"""The tables and the queries of `differential.py`: valid SQL that DuckDB and lakegate understand alike, around what engines get
wrong: subqueries in every position, NULL on either side, DISTINCT with windows, set operations, orders over every type, casts,
dates and time zones.

Where the two dialects differ by design (division of integers, the place of NULL in an order), a query says what it means.
"""

import dataclasses
import datetime
import decimal

import pyarrow as pa

NAMES = ["x", "y", "z", "", "q"]


@dataclasses.dataclass
class Query:
    sql: str
    shapes: frozenset
    is_ordered: bool = False
    # An error of the caller's (4xx) is a right answer too.
    may_fail: bool = False


def tables(choice):
    """Three tables of few values, so that joins find something; one is often empty, and one has no NULLs."""

    def table(rows, nulls):
        def some(make):
            return [None if choice.random() < nulls else make() for _ in range(rows)]

        day = lambda: datetime.date(2024, choice.randint(1, 4), choice.randint(1, 28))  # noqa: E731
        instant = lambda: datetime.datetime(2024, choice.choice([3, 10, 11]), choice.choice([3, 10, 27, 31][:3]), choice.randint(0, 23), 30)  # noqa: E731
        return pa.table({
            "id": pa.array(range(rows), pa.int64()),
            "k": pa.array(some(lambda: choice.randint(0, 5)), pa.int64()),
            "n": pa.array(some(lambda: choice.randint(-2, 6)), pa.int64()),
            "name": pa.array(some(lambda: choice.choice(NAMES)), pa.string()),
            "open": pa.array(some(lambda: choice.random() < 0.5), pa.bool_()),
            "day": pa.array(some(day), pa.date32()),
            "moment": pa.array(some(instant), pa.timestamp("us")),
            "price": pa.array(some(lambda: decimal.Decimal(choice.randint(-50, 400) * 25).scaleb(-2)), pa.decimal128(10, 2)),
            "score": pa.array(some(lambda: choice.randint(-8, 20) / 4), pa.float64()),
        })

    sizes = [choice.choice([0, 3, 9, 14]), choice.choice([1, 4, 8]), choice.choice([0, 2, 5])]
    return {"t": table(max(sizes[0], 1), 0.25), "s": table(sizes[1], choice.choice([0.0, 0.3])), "u": table(sizes[2], 0.3)}


TYPES = {"n": "int", "k": "int", "id": "int", "name": "text", "open": "bool", "day": "date", "moment": "time", "price": "dec", "score": "float"}
OF_TYPE = {}
for column, kind in TYPES.items():
    OF_TYPE.setdefault(kind, []).append(column)


class Maker:
    def __init__(self, choice, inner="ssut", may_compute=True):
        """`inner` are the tables that subqueries read; without `may_compute` there is nothing that can fail."""
        self.choice, self.inner, self.may_compute, self.shapes, self.names, self.may_fail = choice, inner, may_compute, set(), 0, False

    def note(self, shape):
        self.shapes.add(shape)

    def chance(self, percent):
        return self.choice.random() * 100 < percent

    def pick(self, *items):
        return self.choice.choice(items)

    def alias(self, letter):
        self.names += 1
        return f"{letter}{self.names}"

    def query(self, sql, is_ordered=False):
        return Query(sql, frozenset(self.shapes), is_ordered, self.may_fail)

    # Values.

    def constant(self, kind):
        if self.chance(5):
            return {"int": "CAST(NULL AS BIGINT)", "text": "CAST(NULL AS VARCHAR)", "bool": "CAST(NULL AS BOOLEAN)", "date": "CAST(NULL AS DATE)",
                    "time": "CAST(NULL AS TIMESTAMP)", "dec": "CAST(NULL AS DECIMAL(10, 2))", "float": "CAST(NULL AS DOUBLE)"}[kind]
        return {
            "int": lambda: str(self.choice.randint(-1, 6)),
            "text": lambda: f"'{self.choice.choice(NAMES)}'",
            "bool": lambda: self.pick("true", "false"),
            "date": lambda: f"DATE '2024-0{self.choice.randint(1, 4)}-1{self.choice.randint(0, 9)}'",
            "time": lambda: f"TIMESTAMP '2024-{self.pick('03', '10', '11')}-10 0{self.choice.randint(0, 9)}:30:00'",
            "dec": lambda: f"CAST({self.choice.randint(-5, 90)}.25 AS DECIMAL(10, 2))",
            "float": lambda: f"CAST({self.choice.randint(-2, 5)}.5 AS DOUBLE)",
        }[kind]()

    def column(self, kind, scope):
        return f"{self.choice.choice(scope)}.{self.choice.choice(OF_TYPE[kind])}"

    def value(self, kind, scope, depth=1):
        if not scope or self.chance(10):
            return self.constant(kind)
        plain = self.column(kind, scope)
        if depth == 0 or self.chance(70):
            return plain
        other = self.value(kind, scope, depth - 1)
        more = [f"coalesce({plain}, {other})", f"CASE WHEN {self.simple(scope)} THEN {plain} ELSE {other} END", f"nullif({plain}, {other})"]
        computed = {"int": [f"{plain} + {other}", f"{plain} % 3", f"abs({plain})"], "text": [f"upper({plain})", f"{plain} || {other}", f"substr({plain}, 1, 1)"],
                 "dec": [f"{plain} + {other}"], "float": [f"{plain} * 2"], "bool": [f"NOT {plain}"]}
        return self.choice.choice(more + (computed.get(kind, []) if self.may_compute else []))

    def simple(self, scope):
        kind = self.pick("int", "int", "text", "date", "dec", "float", "time")
        value = self.column(kind, scope)
        return self.pick(
            f"{value} {self.pick('=', '<>', '<', '<=', '>', '>=')} {self.constant(kind)}",
            f"{value} IS NULL", f"{value} IS NOT NULL", self.column("bool", scope),
            f"{value} {self.pick('IN', 'NOT IN')} ({self.constant(kind)}, {self.constant(kind)})",
            f"{value} BETWEEN {self.constant(kind)} AND {self.constant(kind)}",
            f"({value} IS {self.pick('DISTINCT', 'NOT DISTINCT')} FROM {self.column(kind, scope)})",
            f"{value} = {self.column(kind, scope)}",
        )

    # Subqueries.

    def correlation(self, inner, outer):
        kind = self.pick("int", "int", "text", "dec", "date")
        one, other = self.column(kind, [inner]), self.column(kind, outer)
        way = self.choice.choices(["equality", "inequality", "both", "not distinct", "or", "expression", "of the outer alone"], [8, 3, 2, 1, 1, 2, 1])[0]
        self.note(f"correlated by {way}")
        if way == "equality":
            return f"{one} = {other}"
        if way == "inequality":
            return f"{one} {self.pick('<', '<=', '>', '<>')} {other}"
        if way == "both":
            return f"{one} = {other} AND {self.column('int', [inner])} {self.pick('<', '>', '<>')} {self.column('int', outer)}"
        if way == "not distinct":
            return f"({one} IS NOT DISTINCT FROM {other})"
        if way == "or":
            return f"({one} = {other} OR {self.simple([inner])})"
        if way == "expression" and self.may_compute:
            return f"{self.column('int', [inner])} + 1 = {self.column('int', outer)}"
        return self.simple(outer)

    def rows(self, kind, outer, depth, one_row=False):
        """A subquery of one column; `one_row` where it must have at most one row."""
        table, name = self.pick(*self.inner), self.alias("i")
        conditions = []
        if outer and self.chance(55):
            conditions.append(self.correlation(name, outer))
        if self.chance(45):
            conditions.append(self.simple([name]))
        if depth > 0 and self.chance(20):
            self.note("nested")
            conditions.append(self.atom([name], depth - 1))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        source = f"{table} AS {name}"
        if self.chance(10):
            self.note("subquery over a join")
            other = self.alias("j")
            source += f" {self.pick('JOIN', 'LEFT JOIN')} u AS {other} ON {other}.k = {name}.k"
        column = self.column(kind, [name])
        if one_row:
            if kind in ("int",) and self.chance(40):
                self.note("scalar count")
                return f"SELECT {self.pick('count(*)', f'count({column})')} FROM {source}{where}"
            self.note("scalar aggregate")
            if kind == "bool":
                return f"SELECT bool_or({column}) FROM {source}{where}"
            sql = f"SELECT {self.pick('min', 'max')}({column}) FROM {source}{where}"
            if self.chance(10):
                self.note("scalar HAVING")
                sql += f" HAVING count(*) > {self.choice.randint(0, 2)}"
            return sql
        way = self.choice.choices(["plain", "grouped", "aggregate", "distinct", "limit", "union", "window", "having"], [12, 2, 2, 2, 1, 1, 1, 1])[0]
        if way != "plain":
            self.note(f"subquery with {way}")
        if way == "grouped":
            return f"SELECT max({column}) FROM {source}{where} GROUP BY {self.column('int', [name])}" if kind != "bool" else f"SELECT {column} FROM {source}{where} GROUP BY {column}"
        if way == "aggregate":
            if kind == "int" and self.chance(50):
                return f"SELECT count(*) FROM {source}{where}"
            return f"SELECT {'bool_and' if kind == 'bool' else 'min'}({column}) FROM {source}{where}"
        if way == "distinct":
            return f"SELECT DISTINCT {column} FROM {source}{where}"
        if way == "limit":
            return f"SELECT {column} FROM {source}{where} ORDER BY {name}.id LIMIT {self.choice.randint(0, 2)}"
        if way == "union":
            return f"SELECT {column} FROM {source}{where} {self.pick('UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT')} SELECT {self.choice.choice(OF_TYPE[kind])} FROM u"
        if way == "window" and kind == "int":
            return f"SELECT row_number() OVER (ORDER BY {name}.id) FROM {source}{where}"
        if way == "having":
            return f"SELECT {column} FROM {source}{where} GROUP BY {column} HAVING count(*) > {self.choice.randint(0, 1)}"
        return f"SELECT {column} FROM {source}{where}"

    def atom(self, scope, depth=1):
        """A condition with a subquery."""
        kind = self.pick("int", "int", "text", "dec", "date", "bool", "time")
        way = self.choice.choices(["in", "not in", "exists", "not exists", "any", "all", "scalar"], [6, 6, 3, 3, 1, 1, 3])[0]
        self.note(way)
        if way in ("in", "not in"):
            return f"{self.value(kind, scope)} {way.upper()} ({self.rows(kind, scope, depth)})"
        if way in ("exists", "not exists"):
            return f"{way.upper()} ({self.rows(kind, scope, depth)})"
        operator = self.pick("=", "<>", "<", "<=", ">", ">=")
        if way in ("any", "all"):
            return f"{self.value(kind, scope)} {operator} {way.upper()} ({self.rows(kind, scope, depth)})"
        return f"{self.value(kind, scope)} {operator} ({self.rows(kind, scope, depth, one_row=True)})"

    def condition(self, scope, depth=2):
        way = self.choice.choices(["atom", "simple", "and", "or", "not", "is", "case", "coalesce", "compare"], [6, 2, 3, 4, 3, 3, 2, 1, 1] if depth else [6, 2] + [0] * 7)[0]
        if way == "atom":
            return self.atom(scope)
        if way == "simple":
            return self.simple(scope)
        self.note(f"under {way.upper()}")
        inner = lambda: self.condition(scope, depth - 1)  # noqa: E731
        return {
            "and": lambda: f"({inner()} AND {inner()})",
            "or": lambda: f"({inner()} OR {inner()})",
            "not": lambda: f"NOT ({inner()})",
            "is": lambda: f"({inner()}) IS {self.pick('TRUE', 'FALSE', 'NULL', 'NOT TRUE', 'NOT FALSE', 'NOT NULL')}",
            "case": lambda: self.pick(
                f"CASE WHEN {inner()} THEN {inner()} ELSE {self.simple(scope)} END",
                f"CASE WHEN {inner()} THEN {self.pick('false', 'true')} WHEN {self.simple(scope)} THEN {inner()} END",
            ),
            "coalesce": lambda: f"coalesce({inner()}, {self.pick('true', 'false')})",
            "compare": lambda: f"({inner()}) {self.pick('=', '<>')} ({self.simple(scope)})",
        }[way]()

    def source(self):
        """A FROM clause and the names in it."""
        if self.chance(75):
            return "t", ["t"]
        way = self.pick("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        self.note(way)
        on = self.pick("t.k = s.k", "t.k = s.k AND t.n = s.n", "t.name = s.name")
        return f"t {way} s ON {on}", ["t", "s"]


def filters(choice):
    """Row filters by table: none reads a table that has one after it."""
    found = {}
    if choice.random() < 0.5:
        found["s"] = Maker(choice, inner="u", may_compute=False).condition(["s"])
    found["t"] = Maker(choice, inner="ssu", may_compute=False).condition(["t"])
    return found


def in_where(choice):
    maker = Maker(choice)
    source, scope = maker.source()
    maker.note("WHERE")
    columns = ", ".join(f"{name}.id AS {name}_id" for name in scope)
    return maker.query(f"SELECT {columns} FROM {source} WHERE {maker.condition(scope)}")


def in_select(choice):
    maker = Maker(choice)
    source, scope = maker.source()
    maker.note("SELECT")
    item = maker.condition(scope) if maker.chance(60) else None
    if item is None:
        kind = maker.pick("int", "text", "dec", "date")
        maker.note("scalar in SELECT")
        item = f"({maker.rows(kind, scope, 1, one_row=True)})"
    columns = ", ".join(f"{name}.id AS {name}_id" for name in scope)
    return maker.query(f"SELECT {columns}, {item} AS v FROM {source}")


def in_having(choice):
    maker = Maker(choice)
    maker.note("HAVING")
    key = maker.pick("k", "name", "n")
    kind = TYPES[key]
    scope = maker.pick(f"t.{key}", "count(*)")
    rows = maker.rows("int" if scope == "count(*)" else kind, [], 1)
    atom = f"{scope} {maker.pick('IN', 'NOT IN')} ({rows})"
    if maker.chance(50):
        atom = maker.pick(f"NOT ({atom})", f"({atom}) IS FALSE", f"({atom}) OR count(*) > 2", f"({atom}) IS NULL")
    return maker.query(f"SELECT t.{key} AS g, count(*) AS c FROM t GROUP BY t.{key} HAVING {atom}")


def in_on(choice):
    maker = Maker(choice)
    maker.note("ON")
    way = maker.pick("JOIN", "LEFT JOIN")
    maker.note(way)
    return maker.query(f"SELECT t.id AS t_id, s.id AS s_id FROM t {way} s ON t.k = s.k AND {maker.condition(maker.pick(['t'], ['s']), 1)}")


def in_aggregate(choice):
    maker = Maker(choice)
    maker.note("in an aggregate")
    condition = maker.condition(["t"], 1)
    aggregate = maker.pick(f"count(*) FILTER (WHERE {condition})", f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)", f"count(CASE WHEN {condition} THEN 1 END)")
    return maker.query(f"SELECT {aggregate} AS c FROM t" if maker.chance(50) else f"SELECT t.name AS g, {aggregate} AS c FROM t GROUP BY t.name")


def from_derived(choice):
    """The subquery's condition over a derived table or a CTE with aggregates, DISTINCT, windows."""
    maker = Maker(choice)
    maker.note("over a derived table")
    inner = maker.pick(
        "SELECT max(id) AS id, k, count(*) AS n, max(name) AS name, bool_or(open) AS open, max(day) AS day, max(moment) AS moment, max(price) AS price, max(score) AS score FROM t GROUP BY k",
        "SELECT DISTINCT id, k, n, name, open, day, moment, price, score FROM t",
        "SELECT id, row_number() OVER (ORDER BY id) AS k, n, name, open, day, moment, price, score FROM t",
        "SELECT id, k, n, name, open, day, moment, price, score FROM t UNION ALL SELECT id + 100, k, n, name, open, day, moment, price, score FROM s",
        "SELECT id, k, n, name, open, day, moment, price, score FROM t ORDER BY id LIMIT 4",
    )
    way = maker.pick("derived", "cte")
    condition = maker.condition(["d"], 1)
    if way == "cte":
        return maker.query(f"WITH d AS ({inner}) SELECT d.id AS id FROM d WHERE {condition}")
    return maker.query(f"SELECT d.id AS id FROM ({inner}) AS d WHERE {condition}")


def distinct(choice):
    """DISTINCT, windows, the same column twice, and limits."""
    maker = Maker(choice)
    maker.note("DISTINCT")
    scope = ["t"]
    count = choice.randint(1, 3)
    kinds = [maker.pick("int", "text", "dec", "date", "bool", "float") for _ in range(count)]
    items = [maker.value(kind, scope) for kind in kinds]
    if maker.chance(30):
        maker.note("the same column twice")
        items.append(items[0])
    if maker.chance(50):
        maker.note("window")
        by = maker.value(maker.pick("int", "text"), scope, 0)
        over = f"PARTITION BY {by}" if maker.chance(60) else ""
        items.append(maker.pick(f"count(*) OVER ({over})", f"sum(t.n) OVER ({over})", f"max(t.price) OVER ({over})", f"rank() OVER ({over} ORDER BY t.k NULLS LAST)",
                                f"dense_rank() OVER ({over} ORDER BY t.name NULLS FIRST)", f"row_number() OVER ({over} ORDER BY t.id)"))
    columns = ", ".join(f"{item} AS c{at}" for at, item in enumerate(items))
    where = f" WHERE {maker.simple(scope)}" if maker.chance(40) else ""
    sql = f"SELECT DISTINCT {columns} FROM t{where}"
    if maker.chance(60):
        maker.note("ORDER BY LIMIT")
        order = ", ".join(f"{at + 1} {maker.pick('ASC', 'DESC')} NULLS {maker.pick('FIRST', 'LAST')}" for at in range(len(items)))
        sql += f" ORDER BY {order}"
        if maker.chance(70):
            sql += f" LIMIT {maker.pick(0, 1, 2, 5, 30)}"
            if maker.chance(30):
                sql += f" OFFSET {maker.pick(0, 1, 3)}"
        return maker.query(sql, is_ordered=True)
    if maker.chance(30):
        maker.note("LIMIT of more than all")
        sql += " LIMIT 1000"
    return maker.query(sql)


def set_operations(choice):
    maker = Maker(choice)
    kinds = [maker.pick("int", "text", "dec", "date", "bool") for _ in range(choice.randint(1, 3))]

    def arm():
        table = maker.pick("t", "s", "u")
        items = ", ".join(f"{maker.value(kind, [table])} AS c{at}" for at, kind in enumerate(kinds))
        where = f" WHERE {maker.simple([table])}" if maker.chance(40) else ""
        distinct = "DISTINCT " if maker.chance(15) else ""
        return f"SELECT {distinct}{items} FROM {table}{where}"

    sql = arm()
    for _ in range(choice.randint(1, 2)):
        operator = maker.pick("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL")
        maker.note(operator)
        sql = f"({sql}) {operator} ({arm()})"
    if maker.chance(40):
        maker.note("over a set operation")
        sql = f"SELECT c0, count(*) AS n FROM ({sql}) AS d GROUP BY c0"
    return maker.query(sql)


def order(choice):
    """Top-k over every type."""
    maker = Maker(choice)
    maker.note("top-k")
    source, scope = maker.source()
    kinds = [maker.pick("int", "text", "dec", "date", "bool", "float", "time") for _ in range(choice.randint(1, 3))]
    keys = [f"{maker.value(kind, scope)} {maker.pick('ASC', 'DESC')} NULLS {maker.pick('FIRST', 'LAST')}" for kind in kinds]
    keys += [f"{name}.id ASC NULLS LAST" for name in scope]
    columns = ", ".join(f"{name}.id AS {name}_id" for name in scope)
    where = f" WHERE {maker.simple(scope)}" if maker.chance(40) else ""
    limit = f" LIMIT {maker.pick(0, 1, 3, 7)}" if maker.chance(80) else ""
    offset = f" OFFSET {maker.pick(0, 1, 4)}" if limit and maker.chance(30) else ""
    return maker.query(f"SELECT {columns} FROM {source}{where} ORDER BY {', '.join(keys)}{limit}{offset}", is_ordered=True)


def aggregates(choice):
    maker = Maker(choice)
    maker.note("aggregates")
    source, scope = maker.source()
    keys = [maker.value(maker.pick("int", "text", "date", "bool"), scope) for _ in range(choice.randint(0, 2))]
    calls = []
    for _ in range(choice.randint(1, 3)):
        kind = maker.pick("int", "dec", "float")
        any_kind = maker.pick("int", "dec", "float", "text", "date")
        call = maker.pick("count(*)", f"count({maker.value(any_kind, scope)})", f"count(DISTINCT {maker.value(any_kind, scope)})", f"sum({maker.value(kind, scope)})",
                          f"sum(DISTINCT {maker.value('int', scope)})", f"min({maker.value(any_kind, scope)})", f"max({maker.value(any_kind, scope)})",
                          f"avg({maker.value('int', scope)})", f"avg({maker.value('float', scope)})", f"bool_or({maker.value('bool', scope)})", f"bool_and({maker.value('bool', scope)})")
        if maker.chance(25):
            maker.note("FILTER")
            call += f" FILTER (WHERE {maker.simple(scope)})"
        calls.append(call)
    items = [f"{item} AS c{at}" for at, item in enumerate(keys + calls)]
    where = f" WHERE {maker.simple(scope)}" if maker.chance(40) else ""
    groups = f" GROUP BY {', '.join(str(at + 1) for at in range(len(keys)))}" if keys else ""
    if len(keys) == 2 and maker.chance(25):
        maker.note("GROUPING SETS")
        groups = f" GROUP BY {maker.pick('ROLLUP', 'CUBE')} ({', '.join(keys)})"
    having = f" HAVING count(*) > {maker.pick(0, 1)}" if maker.chance(20) else ""
    return maker.query(f"SELECT {', '.join(items)} FROM {source}{where}{groups}{having}")


CASTS = {
    "int": ["BIGINT", "INTEGER", "SMALLINT", "DOUBLE", "DECIMAL(12, 2)", "VARCHAR", "BOOLEAN"],
    "text": ["VARCHAR"],
    "bool": ["BOOLEAN", "BIGINT", "VARCHAR"],
    "date": ["DATE", "TIMESTAMP", "VARCHAR"],
    "time": ["TIMESTAMP", "DATE"],
    "dec": ["DECIMAL(14, 3)", "DOUBLE"],
    "float": ["DOUBLE", "DECIMAL(12, 3)"],
}


def casts(choice):
    maker = Maker(choice)
    maker.note("casts")
    kind = maker.pick(*CASTS)
    to = maker.pick(*CASTS[kind])
    maker.note(f"{kind} to {to}")
    value = f"CAST({maker.value(kind, ['t'])} AS {to})"
    if maker.chance(40):
        back = maker.pick(*CASTS[kind])
        value = f"CAST({maker.value(kind, ['t'])} AS {back})"
    maker.may_fail = True
    return maker.query(f"SELECT t.id AS id, {value} AS v FROM t WHERE {maker.simple(['t'])}")


# No time with an offset: DuckDB drops the offset, and here the time is moved to UTC.
TEXTS = [
    "12", " 7", "7 ", "+5", "-0", "1e3", "1_000", "0x1F", "2.5", "2.50", ".5", "5.", "", " ", "nan", "inf", "-Infinity", "true", "T", "yes", "off", "1", "0", "-5",
    "2024-02-29", "2023-02-29", "2024-2-3", "20240203", "2024-01-01 05:06:07", "2024-01-01T05:06:07", "2024-01-01T05:06:07.123456",
    "2024-01-01T05:06:07Z", "2024-01-01 24:00:00", "2024-01-01 05:06", "99999-01-01", "0001-01-01", "9999-12-31 23:59:59", "12:34:56", "25:00:00",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "32768", "99999999999.995", "0.005", "-0.005", "1e400", "1e-400", "9007199254740993",
]
EVERY_TYPE = ["BIGINT", "INTEGER", "SMALLINT", "TINYINT", "BIGINT UNSIGNED", "DOUBLE", "REAL", "DECIMAL(12, 2)", "DECIMAL(38, 10)", "VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP", "TIME"]


def every_cast(choice):
    """Casts of every type to every other, of one row, so that one value that cannot be cast hides no other."""
    maker = Maker(choice)
    maker.note("every cast")
    maker.may_fail = True
    to = maker.pick(*EVERY_TYPE)
    if maker.chance(60):
        text = maker.pick(*TEXTS)
        maker.note(f"{text!r} to {to}")
        value = f"CASE WHEN t.id >= 0 THEN '{text}' END"
    else:
        kind = maker.pick(*CASTS)
        maker.note(f"{kind} to {to}")
        value = maker.value(kind, ["t"], 0)
        # A cast to a whole number rounds in DuckDB, and here it drops the fraction.
        if kind in ("dec", "float") and "INT" in to:
            value = f"trunc({value})"
        # What stands between the day and the hour is a `T` here.
        if kind == "time" and to == "VARCHAR":
            return maker.query(f"SELECT t.id AS id, replace(CAST({value} AS VARCHAR), 'T', ' ') AS v FROM t WHERE t.id = 0")
    return maker.query(f"SELECT t.id AS id, CAST({value} AS {to}) AS v FROM t WHERE t.id = 0")


def nested(choice):
    """Lists as values: told apart, grouped, compared and taken apart."""
    maker = Maker(choice)
    maker.note("nested")
    maker.may_fail = True
    kind = maker.pick("int", "text", "dec", "date", "float")
    one, other = maker.value(kind, ["t"], 0), maker.value(kind, ["t"], 0)
    items = f"[{one}, {other}]"
    return maker.query(maker.pick(
        f"SELECT {items} AS v, count(*) AS n FROM t GROUP BY {items}",
        f"SELECT DISTINCT {items} AS v FROM t",
        f"SELECT t.id AS id, {items} = [{other}, {one}] AS v FROM t",
        f"SELECT t.id AS id, {items}[{maker.pick(1, 2, 3)}] AS v FROM t",
        f"SELECT {items} AS v FROM t {maker.pick('UNION', 'INTERSECT', 'EXCEPT')} SELECT [{other}, {one}] FROM t",
        f"SELECT t.k AS k, array_agg({one} ORDER BY t.id) AS v FROM t GROUP BY t.k",
        f"SELECT t.id AS id FROM t WHERE {items} IN ([{other}, {one}], [{one}, {one}])",
        f"SELECT t.id AS id, s.id AS s_id FROM t JOIN s ON {items} = [s.{OF_TYPE[kind][0]}, s.{OF_TYPE[kind][0]}]",
        f"SELECT count(DISTINCT {items}) AS v FROM t",
    ))


def dates(choice):
    """Date arithmetic, also over changes of daylight saving time."""
    maker = Maker(choice)
    maker.note("dates")
    day, at = maker.value("date", ["t"], 0), maker.value("time", ["t"], 0)
    unit = maker.pick("year", "quarter", "month", "week", "day", "hour")
    step = f"INTERVAL '{choice.randint(-3, 14)} {maker.pick('day', 'month', 'year', 'hour')}'"
    zone = maker.pick("Europe/Berlin", "America/New_York", "UTC", "Asia/Kathmandu")
    value = maker.pick(
        f"date_trunc('{unit}', {at})", f"date_trunc('{unit if unit != 'hour' else 'day'}', {day})", f"{at} + {step}", f"CAST({day} AS TIMESTAMP) + {step}", f"{day} + {step}",
        f"extract({maker.pick('year', 'quarter', 'month', 'week', 'day', 'hour', 'minute', 'dow', 'doy', 'isodow')} FROM {at})", f"date_part('{unit}', {day})",
        f"CAST({at} AS DATE)", f"date_trunc('day', {at}) + {step}", f"({at} AT TIME ZONE '{zone}')", f"{day} - {maker.value('date', ['t'], 0)}",
        # The hour and the day in a zone of a time that is one of UTC. Truncated in a zone, lakegate's times stay in that zone.
        f"extract(hour FROM {at} AT TIME ZONE 'UTC' AT TIME ZONE '{zone}')", f"CAST({at} AT TIME ZONE 'UTC' AT TIME ZONE '{zone}' AS DATE)",
    )
    # An hour that a change of daylight saving time leaves out is refused, where DuckDB takes the next.
    maker.may_fail = "AT TIME ZONE" in value
    where = maker.pick(f" WHERE {at} < {maker.constant('time')}", f" WHERE {day} >= {maker.constant('date')}", f" WHERE {at} - {step} > {maker.constant('time')}", "")
    return maker.query(f"SELECT t.id AS id, {value} AS v FROM t{where}")


def windows(choice):
    maker = Maker(choice)
    maker.note("windows")
    scope = ["t"]
    partition = f"PARTITION BY {maker.value(maker.pick('int', 'text', 'bool'), scope)} " if maker.chance(60) else ""
    by = f"{maker.value(maker.pick('int', 'text', 'dec', 'date'), scope)} {maker.pick('ASC', 'DESC')} NULLS {maker.pick('FIRST', 'LAST')}, t.id"
    frame = maker.pick("", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", " ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING")
    kind = maker.pick("int", "dec", "text", "date")
    value = maker.value(kind, scope)
    function = maker.pick(f"lag({value})", f"lead({value}, 2)", f"first_value({value})", f"last_value({value})", "row_number()", "rank()", "dense_rank()", "ntile(3)", f"count({value})",
                          f"max({value})", f"min({value})", f"sum({maker.value('int', scope)})", "percent_rank()", "cume_dist()", f"nth_value({value}, 2)")
    if not function.startswith(("first", "last", "count", "max", "min", "sum", "nth")):
        frame = ""
    sql = f"SELECT t.id AS id, {function} OVER ({partition}ORDER BY {by}{frame}) AS v FROM t"
    if maker.chance(30):
        maker.note("a condition on a window")
        sql = f"SELECT id, v FROM ({sql}) AS d WHERE v IS NOT NULL"
    return maker.query(sql)


FAMILIES = {
    "aggregates": aggregates, "casts": casts, "dates": dates, "derived": from_derived, "distinct": distinct, "every-cast": every_cast, "having": in_having, "in-aggregate": in_aggregate,
    "nested": nested, "on": in_on, "order": order, "select": in_select, "set-operations": set_operations, "where": in_where, "windows": windows,
}
