"""
A program for a pod: goes to the gateway ADDRESS PORT with the certificate in CERTIFICATE, by the TLS name NAME, and
says nothing.

Prints JSON: `heard`, what a server said first, and `error`. It needs no package.
"""

import json
import socket
import ssl
import sys

PATIENCE_SECONDS = 5


def main() -> int:
    """Whoever the gateway is: this program is what its clients have to be."""
    address, port, name, certificate = sys.argv[1:]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["istio"])
    context.load_cert_chain(certificate)
    heard, error = b"", ""
    try:
        plain = socket.create_connection((address, int(port)), timeout=PATIENCE_SECONDS)
        with context.wrap_socket(plain, server_hostname=name) as connection:
            heard = connection.recv(65536)
    except OSError as fault:
        error = f"{type(fault).__name__}: {fault}"
    print(json.dumps({"heard": heard.decode(errors="replace"), "error": error}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
