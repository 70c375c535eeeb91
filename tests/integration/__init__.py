"""Several parts together, on real PostgreSQL and Redis."""
