#!/bin/sh
# Puts a backup in the place of the database: `infra/docker/restore.sh FILE`.
#
# It is read into a database of its own first, so that nobody sees half of it, then takes the other
# one's name. What was there is kept as hoplink_before. Redirectors go on meanwhile with what they
# have in memory; the API and the worker are away for the moment of the exchange.
set -eu
case $1 in /*) file=$1 ;; *) file=$PWD/$1 ;; esac
cd "$(dirname "$0")/../.."

sql() {
    docker compose exec -T postgres psql --username postgres --no-psqlrc --quiet --tuples-only \
        --no-align --set ON_ERROR_STOP=1 --dbname "$1"
}

if [ -n "$(echo "SELECT 1 FROM pg_database WHERE datname = 'hoplink_before'" | sql postgres)" ]; then
    echo "hoplink: hoplink_before, from another restore, is still there: drop it first" >&2
    exit 1
fi
sql postgres <<'END'
DROP DATABASE IF EXISTS hoplink_restored;
CREATE DATABASE hoplink_restored OWNER hoplink;
END
docker compose exec -T postgres pg_restore --username postgres --no-owner --role hoplink \
    --exit-on-error --dbname hoplink_restored < "$file"
sql hoplink_restored <<'END'
-- Whoever knows an earlier state has missed changes: caches forget everything.
INSERT INTO change_log_floor SELECT pg_current_xact_id();
ANALYZE;
END
docker compose stop api worker
sql postgres <<'END'
ALTER DATABASE hoplink ALLOW_CONNECTIONS false;
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'hoplink';
ALTER DATABASE hoplink RENAME TO hoplink_before;
ALTER DATABASE hoplink_restored RENAME TO hoplink;
END
docker compose up --detach --wait
echo "hoplink: restored; once all is well: docker compose exec postgres dropdb -U postgres hoplink_before"
