/*---
summary = "Things, by parameters of every type"
description = "Every parameter can be left out."

[params.ids]
type = "integer[]"
required = false
max_items = 5

[params.kinds]
type = "string[]"
required = false
enum = ["a", "b", "c"]

[params.days]
type = "date[]"
required = false

[params.least]
type = "integer"
default = 0
min = 0
max = 100

[params.score]
type = "number"
required = false
min = -1.5

[params.active]
type = "boolean"
required = false

[params.from]
type = "timestamp"
default = "2022-01-01"
example = "2022-03-01T12:00:00Z"

[params.to]
type = "timestamp"
required = false

[params.label]
type = "string"
required = false
max_length = 8
pattern = "[^,]*"

[params.trace]
type = "uuid"
required = false
example = "5ce7f90d-0000-4000-8000-000000000001"

[[rules]]
check = "$from <= $to"
message = "from must not be after to"
---*/
SELECT id, label, score, active, day, moment, kind, $trace AS trace
FROM thing
WHERE id >= $least
  AND CAST(moment AS TIMESTAMP) >= $from
  AND ($to IS NULL OR CAST(moment AS TIMESTAMP) <= $to)
  AND ($ids IS NULL OR id IN ($ids))
  AND ($kinds IS NULL OR kind IN ($kinds))
  AND ($days IS NULL OR day IN ($days))
  AND ($score IS NULL OR score >= $score)
  AND ($active IS NULL OR active = $active)
  AND ($label IS NULL OR label = $label)
ORDER BY id
