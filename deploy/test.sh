#!/usr/bin/env bash
# Runs all tests, after getting what they need. Arguments go to `cargo test`:
#
#   ./deploy/test.sh
#   ./deploy/test.sh --lib money
#
# The tests start private RabbitMQ nodes and PostgreSQL servers of their own, on free ports of 127.0.0.1 and
# in temporary directories, and end them. What is running already is not touched. One of them has a Prometheus
# look at a worker. Fondy's own Python SDK, and what the programs of docs/producers.md need, they get from PyPI
# and npm into target/tmp the first time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
source deploy/lib.sh

need_cargo
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
need_prometheus
need_producers
say "RabbitMQ: $RABBITMQ_SERVER"
say "PostgreSQL: $POSTGRES_BIN"
say "cargo test $*"
exec cargo test "$@"
