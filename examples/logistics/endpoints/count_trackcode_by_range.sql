/*---
summary = "Number of trackcodes created on each day of a date range"
description = """
One row a date, in order. A day without trackcodes has no row.
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
    CAST(t.creation AS DATE) AS date_creation,
    count(*) AS counting
FROM trackcode AS t
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
GROUP BY CAST(t.creation AS DATE)
ORDER BY date_creation
