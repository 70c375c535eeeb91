"""The management API: Falcon on gunicorn, the only writer of users, links and events."""
