"""The tables of users, links and events. Columns, types and indexes: shared/migrations."""

from __future__ import annotations

from peewee import BigAutoField, BooleanField, CharField, ForeignKeyField, Model, TextField
from playhouse.postgres_ext import DateTimeTZField


class User(Model):
    """Somebody who owns links."""

    id = BigAutoField()
    username = CharField(max_length=64)
    email = CharField(max_length=320)
    created_at = DateTimeTZField()

    class Meta:
        table_name = "users"


class Url(Model):
    """A link: a short code and what it redirects to. Never deleted, only made inactive."""

    id = BigAutoField()
    user = ForeignKeyField(User, null=True, on_delete="SET NULL")
    short_code = CharField(max_length=32)
    original_url = CharField(max_length=2048)
    title = CharField(max_length=255, null=True)
    is_active = BooleanField(default=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        table_name = "urls"


class Event(Model):
    """An entry of a link's audit log. Never changed."""

    id = BigAutoField()
    url = ForeignKeyField(Url)
    user = ForeignKeyField(User, null=True, on_delete="SET NULL")
    event_type = CharField(max_length=64)
    timestamp = DateTimeTZField()
    details = TextField(null=True)
    """JSON text, kept as it came: the column's type is json, not jsonb."""

    class Meta:
        table_name = "events"
