"""A TLS server on libssl that answers Anthropic Messages, so that one exchange is seen from both
ends on one host.

    server.py LEAF KEY TAG

Takes certificate, key, and what all ids of its responses are to contain. Prints the port, then one
JSON line for each call that it served. The figures follow from the number of the call. Ends when
stdin ends.
"""

import http.server
import json
import sys
import threading

import tls_server

LEAF, KEY, TAG = sys.argv[1:]


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = 0
    lock = threading.Lock()

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with Answers.lock:
            number = Answers.served
            Answers.served += 1
        call = {
            "id": f"msg_{TAG}_{number:06}",
            "model": request["model"] + "-2026-11-01",
            "input_tokens": 1_000 + number,
            "output_tokens": 100 + number,
        }
        reply = {
            "id": call["id"],
            "type": "message",
            "role": "assistant",
            "model": call["model"],
            "content": [{"type": "text", "text": "seen from both ends"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": call["input_tokens"],
                "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": 0,
                "output_tokens": call["output_tokens"],
            },
        }
        with Answers.lock:
            print(json.dumps(call), flush=True)
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    tls_server.serve(Answers, LEAF, KEY)
