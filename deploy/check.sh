#!/usr/bin/env bash
# Checks everything below deploy/ that needs no build: scripts, the unit, the manifests, the image, compose,
# alert rules and dashboard; and links in the documentation. Half a minute; the first time another one, for the tools.
#
# It gets the tools it needs: from the system's packages (promtool, systemd-analyze) and, pinned by hash,
# from PyPI into target/check.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
source deploy/lib.sh

need_prometheus
need_check_tools
tools="$CHECK_TOOLS/bin"

say "scripts"
# What lib.sh sets is used by whoever sources it.
"$tools/shellcheck" -x --exclude SC2034 deploy/*.sh

say "systemd unit"
if [ "$(uname)" = Linux ]; then
    command -v systemd-analyze >/dev/null 2>&1 || install_packages systemd systemd systemd ||
        die "systemd-analyze is needed: install the package systemd"
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    # The program need not be installed to look at the unit.
    sed 's#/usr/bin/holdfast#/bin/true#' deploy/holdfast.service >"$work/holdfast.service"
    complaints="$(systemd-analyze verify --man=no "$work/holdfast.service" 2>&1)" || die "$complaints"
    [ -z "$complaints" ] || die "$complaints"
    systemd-analyze security --offline=true --threshold=15 --no-pager deploy/holdfast.service | tail -n 1
    ! grep -q '^ProcSubset=pid\|^Environment=HOLDFAST_LEDGER' deploy/holdfast.service ||
        die "the unit hides the boot id, or overrules the settings' ledger: see its comments"
fi

say "Kubernetes"
"$tools/python" deploy/check/kubernetes.py "$(find_kubectl)"

say "container and compose"
"$tools/hadolint" deploy/Dockerfile
"$tools/python" deploy/check/schema.py
say "what the image is built from is all that cargo wants"
context="$(mktemp -d)"
trap 'rm -rf "$context" "${work:-}"' EXIT
# What Dockerfile.dockerignore lets in.
sed -n 's/^!//p' deploy/Dockerfile.dockerignore | tar -cf - -T - | tar -xf - -C "$context"
(cd "$context" && cargo metadata --locked --no-deps --format-version 1 >/dev/null)

say "alert rules and dashboard"
"$tools/python" deploy/check/observe.py
say "links in the documentation"
"$tools/python" deploy/check/docs.py
say "deploy/ is as it should be"
