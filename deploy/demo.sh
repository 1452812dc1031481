#!/usr/bin/env bash
# Shows the whole job on a real broker, in about half a minute after the build. Exits 0 when the
# provider's books and the ledger agree. Arguments go to `holdfast demo`.
#
# Needs a Rust toolchain. A broker: HOLDFAST_BROKER__URL if set; else a private node of an installed
# rabbitmq-server; else that is installed (apt or Homebrew); else Docker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
source deploy/lib.sh

need_cargo
trap stop_broker EXIT
need_broker
say "building Holdfast (cargo build --release): a few minutes the first time"
cargo build --release --bin holdfast
say "holdfast demo"
"${CARGO_TARGET_DIR:-target}/release/holdfast" --log "${HOLDFAST_LOG:-off}" demo "$@"
