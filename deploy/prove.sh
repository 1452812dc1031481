#!/usr/bin/env bash
# Everything that is too long for ./deploy/test.sh, and one report of it all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
source deploy/lib.sh

ALL="auditor simulation model crashes syscalls power-loss soak storm fleet fuzz coverage mutants"

help() {
    cat <<'END'
Runs what proves the promises and takes longer than ./deploy/test.sh, and writes one report with the figures.

  ./deploy/prove.sh                       everything, which takes some hours
  ./deploy/prove.sh soak syscalls         only these
  ./deploy/prove.sh --report DIR storm    the report and the logs go there instead of target/proof

  auditor      the auditor from outside finds every violation that is planted
  simulation   random worlds                             SEEDS=100000
  model        all states of the protocol, large bounds
  crashes      a worker dies at every named point
  syscalls     SIGKILL and errors at every system call of one capture
  power-loss   what a power cut may leave on the disk
  soak         random SIGKILLs of workers and servers    SOAK=1h
  storm        20,000 captures while everything fails
  fleet        four workers, 50,000 shipments            SHIPMENTS=50000
  fuzz         every parser, with random input           FUZZ=300 (seconds for each)
  coverage     how much of the core its unit tests reach
  mutants      changes of the core that no test notices; MUTANTS=4 tries one in four

Durations and sizes are variables of the environment, with these defaults. Exit code: 0, or 1 if something failed.
What lacks its tool is left out, and the report says so.
END
}

REPORT=target/proof
SECTIONS=""
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) help && exit 0 ;;
    --report)
        [ $# -ge 2 ] || die "--report needs a directory"
        REPORT="$2"
        shift
        ;;
    *)
        case " $ALL " in
        *" $1 "*) SECTIONS="$SECTIONS $1" ;;
        *) die "there is no section $1: see ./deploy/prove.sh --help" ;;
        esac
        ;;
    esac
    shift
done
[ -n "$SECTIONS" ] || SECTIONS="$ALL"

# run_SECTION: `proves` with the command; or `lacks` with why not.
run_auditor() { proves python3 -m unittest discover -s tests/auditor; }
run_simulation() {
    HOLDFAST_TEST_SEEDS="${SEEDS:-100000}" proves of_core cargo test --release --features messages --test simulation -- \
        --nocapture
}
run_model() {
    HOLDFAST_MODEL_BOUND=large proves of_core cargo test --release --features messages --test model -- --nocapture
}
# Only debug builds have named points.
run_crashes() { proves cargo test --test it crash -- --nocapture; }
run_syscalls() {
    HOLDFAST_SYSCALLS=all proves cargo test --release --test syscalls -- killed:: failing:: full:: --nocapture
}
run_power_loss() {
    HOLDFAST_SYSCALLS=all proves cargo test --release --test syscalls -- power_loss:: --nocapture
}
run_soak() { HOLDFAST_SOAK="${SOAK:-1h}" proves cargo test --release --test fleet soak -- --nocapture; }
run_storm() { proves cargo test --release --test storm -- --nocapture; }
run_fleet() {
    HOLDFAST_FLEET_SHIPMENTS="${SHIPMENTS:-50000}" proves cargo test --release --test fleet four_workers -- --nocapture
}
run_fuzz() {
    cargo +nightly fuzz --version >/dev/null 2>&1 || lacks "it needs a nightly Rust and cargo-fuzz" || return
    proves fuzz_each "${FUZZ:-300}"
}
fuzz_each() {
    local target
    for target in $(cargo +nightly fuzz list --fuzz-dir tests/fuzz); do
        echo "proof: fuzz, $target, for $1 s"
        cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" -- -max_total_time="$1" || return
    done
}
run_coverage() {
    cargo llvm-cov --version >/dev/null 2>&1 || lacks "it needs cargo-llvm-cov" || return
    proves of_core cargo llvm-cov --lib --summary-only \
        --ignore-filename-regex '/src/(clock|ledger|mutant)|/plan/(properties|random|wild|working)\.rs'
}
run_mutants() {
    cargo mutants --version >/dev/null 2>&1 || lacks "it needs cargo-mutants" || return
    PROPTEST_CASES=64 PROPTEST_MAX_SHRINK_ITERS=0 proves of_core cargo mutants --in-place \
        --file 'src/capture/**' --file src/money.rs --exclude '**/shortcuts.rs' --minimum-test-timeout 10 \
        --sharding round-robin --shard "0/${MUTANTS:-1}" -- --lib
}

# Runs a command in a crate of the core alone, which builds in seconds.
of_core() { tests/core/alone.sh target/core && (cd target/core && "$@"); }

# Says that it cannot run, and why.
lacks() {
    VERDICT="not run: $1"
    COMMAND="-"
    return 1
}

# Runs the command of a section, shows what it says, and keeps it. The settings that are in its environment
# belong to it.
proves() {
    COMMAND="$(env | grep -E '^HOLDFAST_' | sort | tr '\n' ' ' || true)$*"
    say "$COMMAND"
    if "$@" 2>&1 | tee "$LOG" >&2; then
        VERDICT="holds"
    else
        VERDICT="FAILED"
        FAILED="$FAILED $SECTION"
    fi
}

# The lines of a log that are figures; its end, where there are none.
figures() {
    grep -E '^(proof: |test result: |Ran [0-9]|seed |TOTAL |MISSED |TIMEOUT |[0-9]+ (states|worlds|orders|mutants))' "$1" |
        sed 's/^proof: //' || tail -n 20 "$1"
}

# Of all sections, as far as they count them.
kills() {
    for SECTION in $SECTIONS; do cat "$REPORT/$SECTION.log"; done |
        grep -o '^proof: .*kills: [0-9]*' | awk '{ sum += $NF } END { print sum + 0 }'
}

minutes() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }

mkdir -p "$REPORT"
need_cargo
need_services
FAILED=""
ROWS=""
DETAILS=""
for SECTION in $SECTIONS; do
    : >"$REPORT/$SECTION.log"
done
for SECTION in $SECTIONS; do
    LOG="$REPORT/$SECTION.log"
    began="$(date +%s)"
    COMMAND="" VERDICT=""
    "run_${SECTION//-/_}" || true
    [ -n "$VERDICT" ] || { VERDICT="FAILED" && FAILED="$FAILED $SECTION"; }
    took="$(minutes $(($(date +%s) - began)))"
    say "$SECTION: $VERDICT ($took)"
    ROWS="$ROWS| $SECTION | $VERDICT | $took | \`$COMMAND\` |
"
    DETAILS="$DETAILS
## $SECTION

\`\`\`text
$(figures "$LOG")
\`\`\`
"
    # Written anew after each, so that nothing is lost should a later one be cut short.
    {
        printf '# What was proved\n\n%s, %s, %s cores, %s.\n\n' \
            "$(git describe --always --dirty 2>/dev/null || echo 'no commit')" "$(uname -sm)" \
            "$(getconf _NPROCESSORS_ONLN)" "$(date -u '+%Y-%m-%d %H:%M UTC')"
        printf '| section | verdict | time | command |\n|---|---|---|---|\n%s' "$ROWS"
        printf '\nWorkers and servers killed with SIGKILL and started again, in all: %s.\n' "$(kills)"
        printf '%s\nEverything that was said is in the logs beside this file.\n' "$DETAILS"
    } >"$REPORT/report.md"
done
say "the report: $REPORT/report.md"
[ -z "$FAILED" ] || die "failed:$FAILED"
