"""A program for a pod: connects to HOST PORT, says a line, and prints the first line that the server says."""

import socket
import sys


def main() -> int:
    """Prints the line, or what went wrong; the exit code is 1 then."""
    host, port = sys.argv[1], int(sys.argv[2])
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(b"hello\n")
            line = connection.makefile("rb").readline()
    except OSError as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    print(line.decode().strip() or "closed without a word")
    return 0 if line else 1


if __name__ == "__main__":
    sys.exit(main())
