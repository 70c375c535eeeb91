"""/users: people who own links."""

from __future__ import annotations

from typing import Any

import falcon
from peewee import SQL, IntegrityError

from services.api import errors, parameters, read_cache
from services.api.bodies import read_object
from services.api.change_publisher import ChangePublisher
from services.api.connections import Connections
from services.api.models import User
from services.api.pagination import Listing, Lists
from services.api.read_cache import ReadCache
from services.api.resources import Readable
from services.api.schemas import NewUser, UserChanges, UserObject, to_json

COLUMNS = (User.id, User.username, User.email, User.created_at)
LISTING = Listing(User, COLUMNS, read_cache.USERS, UserObject.model_validate)

_FIELD_OF_INDEX = {"users_username": "username", "users_email": "email"}
_LOCK_LINKS = "SELECT FROM urls WHERE user_id = %s ORDER BY id FOR NO KEY UPDATE"
_DELETE = "DELETE FROM users WHERE id = %s"


class Users:
    """Users in PostgreSQL. All methods raise HTTP errors: 404 no such user, 409 taken."""

    def __init__(self, connections: Connections, publisher: ChangePublisher) -> None:
        self._connections = connections
        self._publisher = publisher

    def get(self, user_id: int) -> UserObject:
        query = User.select(*COLUMNS).where(User.id == user_id)
        with self._connections.lend() as database:
            return _one(query.dicts().execute(database))

    def create(self, user: NewUser) -> UserObject:
        query = User.insert(**user.model_dump(), created_at=SQL("now()"))
        created = self._write(query)
        self._publisher.publish([read_cache.USERS])
        return created

    def update(self, user_id: int, changes: UserChanges) -> UserObject:
        query = User.update(**changes.model_dump(exclude_unset=True)).where(User.id == user_id)
        updated = self._write(query)
        self._publisher.publish([read_cache.USERS, read_cache.user(user_id)])
        return updated

    def delete(self, user_id: int) -> None:
        """The user's links and events stay, without an owner."""
        with self._connections.lend() as database, database.atomic():
            # Whoever changes a link locks it before its owner; so must this.
            database.execute_sql(_LOCK_LINKS, (user_id,))
            deleted = database.execute_sql(_DELETE, (user_id,)).rowcount
        if not deleted:
            raise errors.not_found("user")
        self._publisher.publish(
            [
                read_cache.USERS,
                read_cache.user(user_id),
                read_cache.LINKS,
                read_cache.EVENTS,
                read_cache.USER_DELETIONS,
            ]
        )

    def _write(self, query: Any) -> UserObject:
        with self._connections.lend() as database:
            try:
                return _one(query.returning(*COLUMNS).dicts().execute(database))
            except IntegrityError as error:
                raise errors.taken(_FIELD_OF_INDEX[errors.constraint(error)]) from None


def _one(rows: Any) -> UserObject:
    for row in rows:
        return UserObject.model_validate(row)
    raise errors.not_found("user")


class UserList(Readable):
    """/users"""

    def __init__(self, users: Users, lists: Lists, max_body_bytes: int) -> None:
        self._users = users
        self._lists = lists
        self._max_body_bytes = max_body_bytes

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._lists.send(req, resp, LISTING)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        user = self._users.create(NewUser.model_validate(read_object(req, self._max_body_bytes)))
        resp.status = falcon.HTTP_201
        resp.set_header("Location", f"/users/{user.id}")
        resp.data = to_json(user)


class UserItem(Readable):
    """/users/<id>"""

    def __init__(self, users: Users, cache: ReadCache, max_body_bytes: int) -> None:
        self._users = users
        self._cache = cache
        self._max_body_bytes = max_body_bytes

    def on_get(self, _req: falcon.Request, resp: falcon.Response, user_id: int) -> None:
        subject = read_cache.user(user_id)
        resp.data = self._cache.answer(
            subject, [subject], lambda: to_json(self._users.get(user_id))
        )

    def on_put(self, req: falcon.Request, resp: falcon.Response, user_id: int) -> None:
        changes = UserChanges.model_validate(read_object(req, self._max_body_bytes))
        if not changes.model_fields_set:
            raise errors.bad_request("body", "holds nothing to update: username or email")
        resp.data = to_json(self._users.update(user_id, changes))

    def on_delete(self, _req: falcon.Request, resp: falcon.Response, user_id: int) -> None:
        self._users.delete(user_id)
        resp.data = to_json({"message": "deleted"})


class UserLinks(Readable):
    """/users/<id>/urls"""

    def __init__(self, users: Users, lists: Lists, links: Listing) -> None:
        self._users = users
        self._lists = lists
        self._links = links

    def on_get(self, req: falcon.Request, resp: falcon.Response, user_id: int) -> None:
        if not self._lists.send(
            req, resp, self._links, user_id=user_id, is_active=parameters.boolean(req, "is_active")
        ):
            self._users.get(user_id)
