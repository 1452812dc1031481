#!/usr/bin/env bash
# Runs all tests, after getting what they need. Arguments go to `cargo test`:
#
#   ./deploy/test.sh
#   ./deploy/test.sh --lib money
#
# The tests start private RabbitMQ nodes of their own, on free ports of 127.0.0.1 and in temporary
# directories, and end them. A broker that is running already is not touched.
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
say "RabbitMQ: $RABBITMQ_SERVER"
say "cargo test $*"
exec cargo test "$@"
