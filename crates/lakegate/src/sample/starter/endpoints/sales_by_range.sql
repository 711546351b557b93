/*---
summary = "The caller's sales in a date range"

[params.start_date]
type = "timestamp"
description = "Start of the range, inclusive"
example = "2024-01-01"

[params.end_date]
type = "timestamp"
description = "End of the range, inclusive"
example = "2024-03-31T23:59:59Z"

[[rules]]
check = "$start_date <= $end_date"
message = "start_date must not be after end_date"
---*/
-- Nothing here says whose sales: the table's row_filter does, for every endpoint.
SELECT s.id, s.sold_at, p.name AS product, s.quantity, s.quantity * p.price AS amount
FROM sale AS s
JOIN product AS p ON p.id = s.product_id
WHERE s.sold_at BETWEEN $start_date AND $end_date
ORDER BY s.sold_at, s.id
