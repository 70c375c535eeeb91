"""Brings the database of DATABASE_URL up to date: `python -m shared.migrations`."""

from __future__ import annotations

import os
import sys

import psycopg2
from peewee import PeeweeException

from shared.migrations import migrate
from shared.settings import Settings, SettingsError


def main() -> int:
    try:
        settings = Settings.from_env(os.environ)
        applied = migrate(settings.database_url.get_secret_value())
    except SettingsError as error:
        print(f"hoplink: setting {error}", file=sys.stderr)
        return 2
    except (psycopg2.Error, PeeweeException) as error:
        print(f"hoplink: migrations failed: {error}", file=sys.stderr)
        return 1
    print(f"migrations applied: {', '.join(applied) or 'none, the schema is up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
