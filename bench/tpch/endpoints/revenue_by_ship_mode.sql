/*---
summary = "What was sold in a range of dates, by the way in which it was shipped"

[params.from]
type = "date"

[params.until]
type = "date"
---*/
SELECT l.l_shipmode, count(*) AS items, sum(l.l_extendedprice * (1 - l.l_discount)) AS revenue
FROM orders AS o
JOIN lineitem AS l ON l.l_orderkey = o.o_orderkey
WHERE o.o_orderdate BETWEEN $from AND $until
GROUP BY l.l_shipmode
ORDER BY l.l_shipmode
