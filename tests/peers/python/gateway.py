"""A gateway on libssl: what it is asked over TLS it asks $BPFTOK_ENDPOINT over TLS, whose authority is
$SSL_CERT_FILE, and gives the answer back as it comes.

    gateway.py LEAF KEY

Takes certificate and key, and prints the port. Ends when stdin ends.
"""

import http.client
import http.server
import os
import ssl
import sys
import urllib.parse

import tls_server

LEAF, KEY = sys.argv[1:]
ENDPOINT = urllib.parse.urlsplit(os.environ["BPFTOK_ENDPOINT"])


class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        upstream = http.client.HTTPSConnection(ENDPOINT.hostname, ENDPOINT.port, context=context)
        upstream.request("POST", self.path, body, {"content-type": "application/json"})
        answer = upstream.getresponse()
        self.send_response(answer.status)
        self.send_header("content-type", answer.headers["content-type"])
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while piece := answer.read1(65_536):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
        upstream.close()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    tls_server.serve(Gateway, LEAF, KEY)
