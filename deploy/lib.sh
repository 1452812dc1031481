# shellcheck shell=bash
# Shared by demo.sh and test.sh: finds, installs, starts and ends what they need. To be sourced.
# Written for bash 3.2 too, which macOS has.

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

need_cargo() {
    command -v cargo >/dev/null 2>&1 || die "Rust is needed: install it from https://rustup.rs and start again"
}

# Sets RABBITMQ_SERVER to the server's own script. The wrapper in /usr/sbin of Debian's package
# insists on the user rabbitmq; the script itself runs as anybody.
find_rabbitmq() {
    local candidate prefix=""
    if command -v brew >/dev/null 2>&1; then
        prefix="$(brew --prefix)"
    fi
    for candidate in \
        /usr/lib/rabbitmq/bin/rabbitmq-server \
        "$prefix/opt/rabbitmq/sbin/rabbitmq-server" \
        "$(command -v rabbitmq-server || true)"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            RABBITMQ_SERVER="$candidate"
            return 0
        fi
    done
    return 1
}

# Installs RabbitMQ with the system's own packages, and finds it. Says what it does before.
install_rabbitmq() {
    if command -v apt-get >/dev/null 2>&1; then
        if [ "$(id -u)" -eq 0 ]; then
            install_with_apt
        elif command -v sudo >/dev/null 2>&1; then
            install_with_apt sudo
        else
            return 1
        fi
    elif command -v brew >/dev/null 2>&1; then
        say "installing RabbitMQ: brew install rabbitmq"
        brew install rabbitmq >&2 || return 1
    else
        return 1
    fi
    find_rabbitmq
}

# The package starts a broker of its own, which nobody here needs: a policy file forbids that for the
# time of the installation, where there is none already.
install_with_apt() {
    local policy=/usr/sbin/policy-rc.d ours=""
    say "installing RabbitMQ: ${1:+$1 }apt-get install rabbitmq-server"
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | "$@" tee "$policy" >/dev/null || return 1
        "$@" chmod 755 "$policy"
    fi
    local failed=""
    {
        "$@" apt-get update -q &&
            "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends rabbitmq-server
    } >&2 || failed=yes
    [ -z "$ours" ] || "$@" rm -f "$policy"
    [ -z "$failed" ]
}

# Exports HOLDFAST_BROKER__URL: that of the environment if there is one; else a private node, which
# stop_broker ends. Set `trap stop_broker EXIT` before.
start_broker() {
    if [ -n "${HOLDFAST_BROKER__URL:-}" ]; then
        say "broker: the one that HOLDFAST_BROKER__URL names"
    elif find_rabbitmq; then
        start_node
    elif docker_works; then
        start_container
    elif install_rabbitmq; then
        start_node
    else
        die "a RabbitMQ is needed: install the package rabbitmq-server, or Docker, or set HOLDFAST_BROKER__URL"
    fi
}

# Ends what start_broker started, and removes its files.
stop_broker() {
    if [ -n "${BROKER_CONTAINER:-}" ]; then
        docker rm -f "$BROKER_CONTAINER" >/dev/null 2>&1 || true
        BROKER_CONTAINER=""
    fi
    if [ -n "${BROKER_DIRECTORY:-}" ]; then
        # The script passes the end on to the node and waits for it.
        if [ -n "${BROKER_PID:-}" ] && kill -TERM "$BROKER_PID" 2>/dev/null; then
            wait "$BROKER_PID" 2>/dev/null || true
        fi
        ERL_EPMD_PORT="$BROKER_EPMD_PORT" epmd -kill >/dev/null 2>&1 || true
        rm -rf "$BROKER_DIRECTORY"
        BROKER_DIRECTORY=""
    fi
}

docker_works() { command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; }

# A port of 127.0.0.1 where nobody listens.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
}

# Waits until a port of 127.0.0.1 answers, at most a minute, while $2 is alive (a process id).
wait_for_port() {
    local tries=0
    until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || { [ -n "${2:-}" ] && ! kill -0 "$2" 2>/dev/null; }; then
            return 1
        fi
        sleep 0.2
    done
}

start_node() {
    local port
    port="$(free_port)"
    BROKER_EPMD_PORT="$(free_port)"
    BROKER_DIRECTORY="$(mktemp -d "${TMPDIR:-/tmp}/holdfast-rabbitmq.XXXXXX")"
    say "broker: a private RabbitMQ node on 127.0.0.1:$port, removed at the end"
    printf '[].\n' >"$BROKER_DIRECTORY/enabled_plugins"
    : >"$BROKER_DIRECTORY/rabbitmq.conf"
    # The name daemon and the distribution port stay on loopback as well.
    HOME="$BROKER_DIRECTORY" \
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$BROKER_EPMD_PORT" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
        RABBITMQ_NODENAME="holdfast-$port@localhost" \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$(free_port)" \
        RABBITMQ_MNESIA_BASE="$BROKER_DIRECTORY/data" RABBITMQ_LOG_BASE="$BROKER_DIRECTORY/log" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$BROKER_DIRECTORY/enabled_plugins" \
        RABBITMQ_CONFIG_FILE="$BROKER_DIRECTORY/rabbitmq.conf" \
        RABBITMQ_PID_FILE="$BROKER_DIRECTORY/pid" \
        "$RABBITMQ_SERVER" >"$BROKER_DIRECTORY/output" 2>&1 &
    BROKER_PID=$!
    if ! wait_for_port "$port" "$BROKER_PID"; then
        tail -n 20 "$BROKER_DIRECTORY/output" >&2
        die "RabbitMQ did not start"
    fi
    export HOLDFAST_BROKER__URL="amqp://guest:guest@127.0.0.1:$port/%2f"
}

start_container() {
    local address
    say "broker: RabbitMQ in Docker, removed at the end"
    BROKER_CONTAINER="$(docker run -d --rm -p 127.0.0.1::5672 rabbitmq:4)" || die "Docker cannot run rabbitmq:4"
    local tries=0
    until docker exec "$BROKER_CONTAINER" rabbitmq-diagnostics -q check_port_connectivity >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -le 60 ] || die "RabbitMQ did not start in Docker"
        sleep 1
    done
    address="$(docker port "$BROKER_CONTAINER" 5672/tcp | head -n 1)"
    # guest is let in from loopback only, and through Docker one comes from elsewhere.
    docker exec "$BROKER_CONTAINER" rabbitmqctl -q add_user holdfast holdfast
    docker exec "$BROKER_CONTAINER" rabbitmqctl -q set_permissions holdfast '.*' '.*' '.*'
    export HOLDFAST_BROKER__URL="amqp://holdfast:holdfast@$address/%2f"
}
