/*---
summary = "Every trackcode created in a date range, with what was sent, from where and to where"
description = """
One row a trackcode, with or without orders. `business_name`, `comercial_name` and `city_name` are those of the
client that sent it; what is not known is null. The rows come in no particular order.
"""

[params.start_datetime]
type = "timestamp"
description = "Start of the range, inclusive. A date alone means its midnight, UTC"
example = "2022-10-01"

[params.end_datetime]
type = "timestamp"
description = "End of the range, inclusive. A date alone means its midnight, UTC: the day itself is then left out"
example = "2022-10-31T23:59:59.999999Z"

[[rules]]
check = "$start_datetime <= $end_datetime"
message = "start_datetime must not be after end_datetime"
---*/
SELECT
    t.id AS trackcode_id,
    t.creation,
    t.crossdocking,
    t.pickup_address,
    t.drop_address,
    t.product_description,
    t.product_price,
    t.product_weight,
    c.business_name,
    c.comercial_name,
    s.name AS service_name,
    ci.name AS city_name
FROM trackcode AS t
LEFT JOIN client AS c ON c.id = t.client_id
LEFT JOIN city AS ci ON ci.id = c.city_id
LEFT JOIN service AS s ON s.id = t.service_id
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
