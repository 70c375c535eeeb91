"""Answers GET /<short_code>: from its own memory, from Redis, from PostgreSQL. Writes no link."""
