#!/bin/sh
# Fills in nginx's templates from the environment, then runs nginx or has the running one take
# them in: `hoplink-nginx run`, `hoplink-nginx reload`. What the variables mean is in the templates.
set -eu

# One that stops refuses connections before its address is gone: who was refused three times leaves
# it alone until the name server has forgotten it.
server() {
    echo "server $1 resolve max_fails=3 fail_timeout=4s;"
}

refuse() {
    echo "hoplink: setting $1: $2" >&2
    exit 2
}

believed() {
    for proxy in $(echo "$1" | tr , ' '); do
        # Anything else is for nginx the name of a host.
        echo "$proxy" | grep -Eq '^[0-9a-fA-F]*[.:][0-9a-fA-F.:]*(/[0-9]+)?$' ||
            refuse TRUSTED_PROXIES "$proxy is neither an address nor a network"
        echo "set_real_ip_from $proxy;"
    done
}

encrypted() {
    if [ -e "$1/privkey.pem" ]; then
        echo "listen 8443 ssl default_server backlog=4096; http2 on;"
        echo "ssl_certificate $1/fullchain.pem; ssl_certificate_key $1/privkey.pem;"
        echo "ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m; ssl_session_timeout 1h;"
    fi
}

passed_on() {
    if [ -n "$1" ]; then
        echo "proxy_set_header $1 \$http_$(echo "$1" | tr A-Z- a-z_);"
    fi
}

fill_in() {
    # Only variables in capitals are the template's; the others are nginx's own.
    variables=$(grep -o '\${[A-Z_]*}' "/etc/hoplink/$1.template" | sort -u | tr '\n' ' ')
    envsubst "$variables" < "/etc/hoplink/$1.template" > "$FOLDER/$1"
}

# What the levels mean: nginx.conf.template.
case $(echo "${LOG_CLIENT_ADDRESSES:-false}" | tr A-Z a-z) in
    true | t | yes | y | on | 1) format=hoplink_with_address level=notice ;;
    *) format=hoplink level=alert ;;
esac

FOLDER=/run/nginx
USER=""
LISTEN=8080
TLS=$(encrypted /etc/hoplink/tls)
# Docker's name server knows the replicas of a service; what it says holds for a second.
RESOLVER="resolver 127.0.0.11 valid=1s ipv6=off; resolver_timeout 2s;"
REDIRECTOR_SERVERS=$(server redirector:8000)
API_SERVERS=$(server api:8001)
REAL_IP_FROM=$(believed "${TRUSTED_PROXIES:-}")
COUNTRY_HEADER=$(passed_on "${CLICK_COUNTRY_HEADER:-}")
MAX_BODY_BYTES=${API_MAX_BODY_BYTES:-1048576}
MAX_BULK_BYTES=${API_MAX_BULK_BYTES:-536870912}
ACCESS_LOG="/dev/stdout $format buffer=4k flush=1s"
ERROR_LEVEL=$level
export FOLDER USER LISTEN TLS RESOLVER REDIRECTOR_SERVERS API_SERVERS REAL_IP_FROM
export COUNTRY_HEADER MAX_BODY_BYTES MAX_BULK_BYTES ACCESS_LOG ERROR_LEVEL

fill_in hoplink.conf
fill_in nginx.conf
case $1 in
    run) exec nginx -e stderr -c "$FOLDER/nginx.conf" ;;
    reload) exec nginx -e stderr -c "$FOLDER/nginx.conf" -s reload ;;
    *) echo "hoplink-nginx: run or reload, not $1" >&2; exit 2 ;;
esac
