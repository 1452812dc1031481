#!/usr/bin/env bash
# Runs all tests, after getting what they need. Arguments go to `cargo test`:
#
#   ./deploy/test.sh
#   ./deploy/test.sh --lib money
#
# The tests start private RabbitMQ nodes and PostgreSQL servers of their own, on free ports of 127.0.0.1 and
# in temporary directories, and end them. What is running already is not touched. One of them has a Prometheus
# look at a worker. Fondy's own Python SDK, what the programs of docs/producers.md need, the CloudEvents SDK and
# AsyncAPI's parser they get from PyPI and npm into target/tmp the first time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
source deploy/lib.sh

need_cargo
need_services
say "cargo test $*"
exec cargo test "$@"
