"""/health and /ready: whether this process lives, and whether it can work."""

from __future__ import annotations

import socket

import falcon
import psycopg2
from peewee import PeeweeException
from playhouse.pool import MaxConnectionsExceeded

from services.api.connections import Connections
from services.api.redis_gate import RedisGate, RedisUnavailable
from services.api.resources import Readable
from services.api.schemas import to_json


class Health(Readable):
    """/health: touches no store."""

    def __init__(self) -> None:
        self._answer = to_json({"status": "ok", "hostname": socket.gethostname()})

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = self._answer


class Ready(Readable):
    """/ready: 503 while PostgreSQL does not answer. Redis is only reported, not needed."""

    def __init__(self, connections: Connections, redis: RedisGate) -> None:
        """`connections` are of its own: all others may be in use without PostgreSQL being down."""
        self._connections = connections
        self._redis = redis

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        database = self._database_is_up()
        if not database:
            resp.status = falcon.HTTP_503
            resp.retry_after = 1
        resp.data = to_json(
            {
                "status": "ok" if database else "unavailable",
                "database": "up" if database else "down",
                "redis": "up" if self._redis_is_up() else "down",
            }
        )

    def _database_is_up(self) -> bool:
        try:
            with self._connections.lend() as database:
                database.execute_sql("SELECT 1")
        except (PeeweeException, psycopg2.Error, MaxConnectionsExceeded):
            return False
        return True

    def _redis_is_up(self) -> bool:
        try:
            self._redis.call("PING")
        except RedisUnavailable:
            return False
        return True
