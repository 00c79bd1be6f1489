"""Takes what a Collector exports by OTLP over HTTP in protobuf, and says it in OTLP's JSON.

    otlp_receiver.py

Prints the port, then for each message its path and itself as a line. Ends when stdin ends.
"""

import base64
import gzip
import http.server
import json
import sys
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

MESSAGES = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


def in_hex(value):
    """Ids as OTLP has them: protobuf's own mapping has them in base64."""
    if isinstance(value, list):
        return [in_hex(entry) for entry in value]
    if isinstance(value, dict):
        return {
            key: base64.b64decode(entry).hex() if key in ("traceId", "spanId") else in_hex(entry)
            for key, entry in value.items()
        }
    return value


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = MESSAGES[self.path].FromString(body)
        said = json_format.MessageToDict(message, use_integers_for_enums=True)
        with Receiver.lock:
            print(json.dumps([self.path, in_hex(said)]), flush=True)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
