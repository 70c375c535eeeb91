#!/bin/sh
# Runs once, when PostgreSQL's volume is empty: the roles and the database of Hoplink.
# hoplink owns its database and is no superuser; monitor reads statistics; postgres has no
# password, so it gets in by the socket inside the container alone.
set -eu
psql --username postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set password="$POSTGRES_PASSWORD" <<'END'
CREATE ROLE hoplink LOGIN PASSWORD :'password';
CREATE DATABASE hoplink OWNER hoplink;
CREATE ROLE monitor LOGIN PASSWORD :'password' IN ROLE pg_monitor;
ALTER ROLE postgres PASSWORD NULL;
END
