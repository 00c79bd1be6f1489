"""A server on the system's libssl, for the peers that answer."""

import http.server
import ssl
import sys
import threading


def serve(handler, leaf, key):
    """Serves with certificate and key on a port of its own, which it prints, until stdin ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
