"""What schemathesis must know beside the documents. JSON Schema cannot say any of it; docs/openapi.md says it in words."""

import datetime

import schemathesis
from hypothesis import strategies as st

# The project compares with nanoseconds, which end in 2262; a time that they cannot hold is refused as out of their range.
EARLIEST, LATEST = datetime.datetime(1700, 1, 1), datetime.datetime(2250, 1, 1)

schemathesis.openapi.format("date", st.dates(EARLIEST.date(), LATEST.date()).map(lambda day: day.isoformat()))
schemathesis.openapi.format(
    "date-time",
    st.tuples(st.datetimes(EARLIEST, LATEST), st.sampled_from(["Z", "+05:30", "-11:00"])).map(
        lambda moment: moment[0].isoformat() + moment[1]
    ),
)


@schemathesis.hook
def map_body(context, body):
    """For JSON Schema `5.0` is an integer, for lakegate it is none."""
    return whole(body)


def whole(value):
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [whole(item) for item in value]
        case dict():
            return {name: whole(item) for name, item in value.items()}
        case _:
            return value
