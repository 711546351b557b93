"""Gets an OpenAPI document with the token in LAKEGATE_TOKEN, and makes one for schemathesis of it:
`openapi.py URL FILE FILE_FOR_SCHEMATHESIS`.

OpenAPI cannot say that parameters do not go together, nor that a cursor is one that was given out. So the second document
has parts by `GET`, pages by `POST`, and no cursor; tests/it has those.
"""

import json
import os
import sys
import urllib.request

url, path, path_for_schemathesis = sys.argv[1:]
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ["LAKEGATE_TOKEN"]})
with urllib.request.urlopen(request, timeout=30) as answer:
    document = json.load(answer)
with open(path, "w") as file:
    json.dump(document, file)

WITHOUT = {"get": {"cursor", "page_size"}, "post": {"cursor", "limit", "offset"}}
for operations in document["paths"].values():
    for method, operation in operations.items():
        parameters = operation.get("parameters", [])
        operation["parameters"] = [each for each in parameters if each["name"] not in WITHOUT[method]]
with open(path_for_schemathesis, "w") as file:
    json.dump(document, file)
