/*---
summary = "The items that were ordered in a range of dates"

[params.from]
type = "date"

[params.until]
type = "date"
---*/
SELECT o.o_orderkey, o.o_orderdate, l.l_linenumber, p.p_name, l.l_quantity, l.l_extendedprice
FROM orders AS o
JOIN lineitem AS l ON l.l_orderkey = o.o_orderkey
JOIN part AS p ON p.p_partkey = l.l_partkey
WHERE o.o_orderdate BETWEEN $from AND $until
ORDER BY o.o_orderdate, o.o_orderkey, l.l_linenumber
