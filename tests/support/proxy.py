"""A TCP proxy that can lose replies: what was asked is done, and who asked never hears of it."""

from __future__ import annotations

import selectors
import socket
import threading

HOST = "127.0.0.1"


class LossyProxy:
    """Stands before a server; `lose_replies` times a connection is cut instead of given its reply.

    With `to`, only replies to requests that hold these bytes are lost.
    """

    def __init__(self, server_port: int, *, to: bytes = b"") -> None:
        self._server_port = server_port
        self._to = to
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.lose_replies = 0
        self.lost = 0
        self._open: set[socket.socket] = set()
        self._doomed: set[socket.socket] = set()
        self._is_closing = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_closing = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in list(self._open):
            _cut(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._server_port))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        self._open |= {client, server}
        with selectors.DefaultSelector() as selector, client, server:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            try:
                while not self._is_closing:
                    for key, _ in selector.select():
                        if not self._pass_on(
                            key.fileobj, key.data, from_server=key.fileobj is server
                        ):
                            return
            except OSError:
                return
            finally:
                self._open -= {client, server}
                self._doomed -= {client, server}

    def _pass_on(self, source: object, target: socket.socket, *, from_server: bool) -> bool:
        assert isinstance(source, socket.socket)
        data = source.recv(65536)
        if not from_server and self._to in data and self.lose_replies > 0:
            self.lose_replies -= 1
            self._doomed.add(target)
        elif data and source in self._doomed:
            self.lost += 1
            return False
        target.sendall(data)
        return bool(data)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
