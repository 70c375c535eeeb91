"""Asks the service in this container whether it is ready: exit status 0 if /ready answers 200.

Runs every few seconds, so it imports next to nothing. Its argument is the variable with the port.
"""

import os
import socket
import sys

TIMEOUT_SECONDS = 2.0
REQUEST = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def main() -> int:
    address = ("127.0.0.1", int(os.environ[sys.argv[1]]))
    try:
        with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
            connection.sendall(REQUEST)
            answer = b""
            while received := connection.recv(4_096):
                answer += received
    except OSError as error:
        print(error)
        return 1
    print(answer.decode(errors="replace"))
    return 0 if answer.split(b" ")[1:2] == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
