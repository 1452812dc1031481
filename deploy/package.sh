#!/usr/bin/env bash
# Makes the Debian package of a program that is built already, unpacks and installs it into an empty root, and
# looks at what came of it. Needs cargo-deb (cargo install cargo-deb) and dpkg; as root it installs, else it only
# unpacks. Arguments go to cargo-deb.
#
#   cargo build --release --locked && ./deploy/package.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
source deploy/lib.sh

program=target/release/holdfast
[ -x "$program" ] || die "there is no $program: cargo build --release --locked first"
command -v cargo-deb >/dev/null 2>&1 || die "cargo-deb is needed: cargo install cargo-deb --locked"

say "manual pages and completions"
rm -rf target/package target/debian
mkdir -p target/package
"$program" man --write target/package/man
"$program" completions bash >target/package/holdfast.bash
"$program" completions zsh >target/package/_holdfast
"$program" completions fish >target/package/holdfast.fish

say "cargo deb --no-build $*"
cargo deb --no-build "$@"
package="$(ls target/debian/holdfast_*.deb)"

root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT

# has PATH MODE: is it in the unpacked package?
has() {
    local mode
    mode="$(stat -c %a "$root/$1")" || die "$package has no $1"
    [ "$mode" = "$2" ] || die "$1 has mode $mode, not $2"
}

say "unpacking $package"
dpkg -x "$package" "$root"
has usr/bin/holdfast 755
has etc/holdfast/holdfast.toml 644
has usr/lib/systemd/system/holdfast.service 644
has usr/lib/sysusers.d/holdfast.conf 644
has usr/lib/tmpfiles.d/holdfast.conf 644
has usr/share/man/man1/holdfast.1.gz 644
has usr/share/bash-completion/completions/holdfast 644
has usr/share/doc/holdfast/docs/operations.md 644
cmp "$root/usr/lib/systemd/system/holdfast.service" deploy/holdfast.service
[ "$(dpkg -f "$package" Version)" = "$("$program" --version | cut -d' ' -f2)-1" ] || die "another version is packaged"
[ "$(dpkg --ctrl-tarfile "$package" | tar -xO ./conffiles)" = /etc/holdfast/holdfast.toml ] || die "settings are no conffile"
"$root/usr/bin/holdfast" check --config "$root/etc/holdfast/holdfast.toml" >/dev/null
# What is commented out is what an operator starts from: it must be settings, too.
mkdir "$root/credentials"
for secret in flitt-ge amqp-url; do
    (umask 077 && echo amqp://127.0.0.1/%2f >"$root/credentials/secret_$secret")
done
sed 's/^#\([a-z[]\)/\1/' "$root/etc/holdfast/holdfast.toml" >"$root/all.toml"
CREDENTIALS_DIRECTORY="$root/credentials" "$root/usr/bin/holdfast" check --config "$root/all.toml" >/dev/null

if [ "$(id -u)" -eq 0 ]; then
    say "installing into an empty root, then again with other settings, then removing"
    installed="$root/installed"
    mkdir -p "$installed/var/lib/dpkg/updates" "$installed/var/lib/dpkg/info" "$installed/etc"
    touch "$installed/var/lib/dpkg/status"
    # Nothing of the running system is asked: neither its packages nor its systemd.
    options=(--root="$installed" --force-depends --force-script-chrootless --no-triggers)
    dpkg "${options[@]}" -i "$package" >/dev/null 2>&1 || dpkg "${options[@]}" -i "$package"
    grep -q '^holdfast:' "$installed/etc/passwd" || die "there is no user holdfast"
    [ "$(stat -c %a "$installed/etc/holdfast/secrets")" = 700 ] || die "others can read the secrets"
    echo '# ours' >>"$installed/etc/holdfast/holdfast.toml"
    dpkg "${options[@]}" --force-confold -i "$package" >/dev/null 2>&1
    grep -q '^# ours$' "$installed/etc/holdfast/holdfast.toml" || die "an upgrade overwrote the settings"
    mkdir -p "$installed/var/lib/holdfast" && touch "$installed/var/lib/holdfast/holdfast.db"
    dpkg "${options[@]}" --purge holdfast >/dev/null 2>&1
    [ ! -e "$installed/usr/bin/holdfast" ] || die "it is still there after a removal"
    [ -e "$installed/var/lib/holdfast/holdfast.db" ] || die "a removal took the ledger along"
fi
say "$package is as it should be"
