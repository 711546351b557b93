/*---
summary = "A parameter of every type and with every constraint"

[params.text]
type = "string"
pattern = "[a-z ]*"
max_length = 12
required = false

[params.kind]
type = "string"
enum = ["small", "large"]
default = "small"

[params.id]
type = "integer"
min = -10
max = 1000000
required = false

[params.upto]
type = "integer"
required = false

[params.size]
type = "number"
min = 0.5
max = 1e6
required = false

[params.width]
type = "number"
required = false

[params.flag]
type = "boolean"
required = false

[params.day]
type = "date"
min = 2020-01-01
required = false

[params.last_day]
type = "date"
required = false

[params.start]
type = "timestamp"
required = true

[params.until]
type = "timestamp"
max = "2100-01-01"
required = false

[params.key]
type = "uuid"
required = false

[params.cities]
type = "string[]"
max_items = 4
max_length = 10
required = false

[params.ids]
type = "integer[]"
enum = [1, 2, 3, 4562]
required = false

[params.days]
type = "date[]"
max = 2030-12-31
default = [2022-10-01]
---*/
SELECT 1
