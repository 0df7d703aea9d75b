"""
A program for a pod: over HTTP/2 with a client's certificate, asks the server ADDRESS PORT, by its TLS name NAME, for
`GET /` of that name, then for a tunnel (CONNECT) to TARGET.

Prints JSON: the two statuses, 0 for one that did not come.
"""

import json
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

PATIENCE_SECONDS = 10


def statuses(connection: ssl.SSLSocket, name: str, target: str) -> list[int]:
    state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    state.initiate_connection()
    get = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", name)]
    tunnel = [(":method", "CONNECT"), (":authority", target)]
    found = {1: 0, 3: 0}
    for stream, headers in zip(found, (get, tunnel), strict=True):
        state.send_headers(stream, headers, end_stream=stream == 1)
        connection.sendall(state.data_to_send())
        while not found[stream]:
            data = connection.recv(65536)
            if not data:
                break
            for event in state.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    found[event.stream_id] = int(dict(event.headers)[":status"])
            connection.sendall(state.data_to_send())
    return list(found.values())


def main() -> int:
    """The certificate and its key are in the file CERTIFICATE."""
    address, port, name, certificate, target = sys.argv[1:]
    context = ssl.create_default_context()
    # Whoever the gateway is: this program is what its clients have to be.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate)
    plain = socket.create_connection((address, int(port)), timeout=PATIENCE_SECONDS)
    with context.wrap_socket(plain, server_hostname=name) as connection:
        print(json.dumps(statuses(connection, name, target)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
