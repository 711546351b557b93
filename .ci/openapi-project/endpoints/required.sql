/*---
summary = "Things of a day, a code and a number, all of which must be given"

[params.day]
type = "date"
example = "2022-03-03"

[params.code]
type = "string"
pattern = "[A-Za-z]{1,4}"
example = "Red"

[params.number]
type = "integer"
min = 1
max = 40
example = 3

[params.numbers]
type = "integer[]"
example = [1, 2]
---*/
SELECT id, day, $code AS code FROM thing
WHERE day >= $day AND (id = $number OR id IN ($numbers))
