#!/usr/bin/env bash
# Makes a crate of the core alone, in the directory that is named: its modules, the ledger in memory, its worlds and
# its model, and the files that their tests read.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: tests/core/alone.sh DIRECTORY" >&2 && exit 2; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
rm -rf "$1/src" "$1/tests"
mkdir -p "$1/src/ledger" "$1/tests/it"
cd "$1"
cp "$root/tests/core/Cargo.toml" "$root/Cargo.lock" "$root/README.md" .
cp "$root/tests/core/lib.rs" src/
cp -r "$root"/src/{capture,message,mutant,clock.rs,ids.rs,money.rs,mutant.rs} src/
cp -r "$root"/src/ledger/{contract.rs,fold.rs,memory,memory.rs} src/ledger/
cp -r "$root/docs" .
cp -r "$root"/tests/{simulation,model} tests/
cp "$root/tests/it/mutants.rs" tests/it/
