"""Makes one LLM API call for every line on stdin, all on one connection, and says when it is over."""

import http.client
import json
import os
import ssl
import sys
import urllib.parse

endpoint = urllib.parse.urlsplit(os.environ["BPFTOK_ENDPOINT"])
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
connection = http.client.HTTPSConnection(endpoint.hostname, endpoint.port, context=context)
body = json.dumps(
    {
        "model": "stays",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    }
)
for line in sys.stdin:
    connection.request("POST", "/v1/messages", body, {"content-type": "application/json"})
    reply = json.load(connection.getresponse())
    print(reply["id"], flush=True)
