/*---
summary = "Orders of a range of dates, by status"

[params.from]
type = "date"

[params.until]
type = "date"
---*/
SELECT o_orderstatus, count(*) AS orders, sum(o_totalprice) AS total
FROM orders
WHERE o_orderdate BETWEEN $from AND $until
GROUP BY o_orderstatus
ORDER BY o_orderstatus
