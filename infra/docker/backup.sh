#!/bin/sh
# Writes all of the database to a file while everything runs: `infra/docker/backup.sh FILE`.
#
# The change log isn't part of it: it tells caches what changed, and a restored database has them
# forget everything. Redis isn't either: what it holds beside copies are the clicks of the moment.
set -eu
file=$1
cd "$(dirname "$0")/../.."

umask 077
docker compose exec -T postgres pg_dump --username postgres --format custom \
    --exclude-table-data change_log --exclude-table-data change_log_floor hoplink > "$file.part"
mv "$file.part" "$file"
echo "hoplink: $(wc -c < "$file") bytes in $file"
