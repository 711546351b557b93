/*---
summary = "What the caller sold most, best first"

[params.at_least]
type = "integer"
description = "Leave out products of which fewer were sold"
default = 1
min = 0
---*/
SELECT p.name AS product, sum(s.quantity) AS sold
FROM sale AS s
JOIN product AS p ON p.id = s.product_id
GROUP BY p.name
HAVING sum(s.quantity) >= $at_least
ORDER BY sold DESC, product
