"""Gets an OpenAPI document with the token in LAKEGATE_TOKEN: `openapi.py URL FILE`."""

import os
import sys
import urllib.request

url, path = sys.argv[1:]
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ["LAKEGATE_TOKEN"]})
with urllib.request.urlopen(request, timeout=30) as answer, open(path, "wb") as file:
    file.write(answer.read())
