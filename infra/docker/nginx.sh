#!/bin/sh
# Fills in nginx's templates from the environment, then runs nginx or has the running one take
# them in: `hoplink-nginx run`, `hoplink-nginx reload`.
set -eu

export FOLDER=/run/nginx
export USER=""
export LISTEN=8080
# Docker's name server knows the replicas of a service; what it says holds for a second.
export RESOLVER="resolver 127.0.0.11 valid=1s ipv6=off; resolver_timeout 2s;"
servers() {
    echo "server $1 resolve max_fails=10 fail_timeout=2s;"
}
REDIRECTOR_SERVERS=$(servers redirector:8000)
API_SERVERS=$(servers api:8001)
REAL_IP_FROM=""
for proxy in $(echo "${TRUSTED_PROXIES:-}" | tr , ' '); do
    REAL_IP_FROM="$REAL_IP_FROM set_real_ip_from $proxy;"
done
export REDIRECTOR_SERVERS API_SERVERS REAL_IP_FROM
export MAX_BODY_BYTES="${API_MAX_BODY_BYTES:-1048576}"
export MAX_BULK_BYTES="${API_MAX_BULK_BYTES:-536870912}"
export ACCESS_LOG="off"

for name in hoplink.conf nginx.conf; do
    # Only variables in capitals are the template's; the others are nginx's own.
    variables=$(grep -o '\${[A-Z_]*}' "/etc/hoplink/$name.template" | sort -u | tr '\n' ' ')
    envsubst "$variables" < "/etc/hoplink/$name.template" > "$FOLDER/$name"
done

case $1 in
    run) exec nginx -e stderr -c "$FOLDER/nginx.conf" ;;
    reload) exec nginx -e stderr -c "$FOLDER/nginx.conf" -s reload ;;
    *) echo "hoplink-nginx: run or reload, not $1" >&2; exit 2 ;;
esac
