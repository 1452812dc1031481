#!/usr/bin/env bash
# Carries out deploy/Dockerfile without an engine, as far as that goes: its first stage in a directory that has
# nothing but what Dockerfile.dockerignore lets in, its last one as a root directory with no more in it than the
# distroless image has of what the program needs. As root it runs the program in there, as the image's user: its
# command, its health check, its stop. What docker itself does, the release workflow sees.
#
#   ./deploy/image.sh                 builds in target/, as the image's own cache would: minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
source deploy/lib.sh
need_cargo

# What the program may be linked against: the libraries that gcr.io/distroless/cc-debian12 has
# (https://github.com/GoogleContainerTools/distroless/blob/main/cc/README.md).
LIBRARIES='linux-vdso|libc|libm|libgcc_s|ld-linux-x86-64|ld-linux-aarch64'

repository="$PWD"
work="$(mktemp -d)"
worker=""
trap '[ -z "$worker" ] || kill -KILL "$worker" 2>/dev/null; rm -rf "$work"' EXIT

# Lines that go on are one line; comments are none.
sed -e '/^[[:space:]]*#/d' deploy/Dockerfile | sed -e ':a' -e '/\\$/N; s/\\\n[[:space:]]*//; ta' >"$work/steps"
# last WORD: the arguments of the last instruction of this name.
last() { sed -n "s/^$1 //p" "$work/steps" | tail -n 1; }
# words JSON: the words of an instruction in its exec form.
words() { printf %s "$1" | sed -e 's/^[^[]*\[//' -e 's/\].*//' -e 's/[",]/ /g'; }

say "the context"
mkdir -p "$work/src" "$work/image" target
sed -n 's/^!//p' deploy/Dockerfile.dockerignore | tar -cf - -T - | tar -xf - -C "$work/src"
ln -s "$repository/target" "$work/src/target"
# What was built from the whole repository says nothing about the context.
touch "$work/src/src/lib.rs"

say "the first stage"
sed -n '/ AS build$/,/^FROM .*nonroot$/p' "$work/steps" | sed -n 's/^RUN //p' >"$work/runs"
[ "$(wc -l <"$work/runs")" -eq 2 ] || die "deploy/Dockerfile has other steps than this script knows"
while read -r step; do
    # The caches are mounted by hand.
    step="$(printf %s "$step" | sed -E -e 's/--mount=[^ ]+ +//g' -e "s# /image# $work/image#g")"
    say "RUN $step"
    (cd "$work/src" && sh -ec "$step")
done <"$work/runs"

program="$work/image/usr/bin/holdfast"
[ -x "$program" ] || die "the first stage made no program"
foreign="$(ldd "$program" | sed -E 's#^[[:space:]]*(/[^ ]*/)?##' | grep -vE "^($LIBRARIES)[.-]" || true)"
[ -z "$foreign" ] || die "the image has not: $foreign"
user="$(last USER)"
case "$user" in
[1-9]*:[1-9]*) ;;
*) die "the image's user is $user: name a number other than 0, so that Kubernetes can see it" ;;
esac
[ "$(id -u)" -eq 0 ] || { say "built, and not run: only root can"; exit 0; }

say "the last stage, as $user"
root="$work/root"
mkdir -p "$root/tmp" "$root/dev" "$root/etc/ssl/certs" && chmod 1777 "$root/tmp"
cp -a "$work/image/." "$root/"
chown -R "$user" "$root/usr/bin/holdfast" "$root/var/lib/holdfast" "$root/etc/holdfast"
ldd "$program" | grep -oE '/[^ ]+' | sort -u | while read -r library; do
    install -D -m 755 "$(readlink -f "$library")" "$root$library"
done
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
chmod 755 "$work" "$root"

# Begins a command in the image, with its environment and as its user; at a port of its own.
listen="$(last ENV | cut -d= -f1)"
inside=(env -i PATH=/usr/sbin:/usr/bin "$listen=127.0.0.1:$((20000 + RANDOM % 10000))"
    HOLDFAST_CONFIG=/etc/holdfast/holdfast.toml chroot "--userspec=$user" "$root")
# Nobody is there: no broker, no provider. It has to live all the same.
cat >"$root/etc/holdfast/holdfast.toml" <<'END'
[broker]
url = "amqp://127.0.0.1:1/%2f"
[ledger]
url = "sqlite:/var/lib/holdfast/holdfast.db"
END
read -ra entry <<<"$(words "$(last ENTRYPOINT)")"
read -ra command <<<"$(words "$(last CMD)")"
read -ra health <<<"$(words "$(last HEALTHCHECK)")"
"${inside[@]}" "${entry[@]}" check >/dev/null
"${inside[@]}" "${entry[@]}" "${command[@]}" 2>"$work/log" &
worker=$!
for _ in $(seq 100); do
    if "${inside[@]}" "${health[@]}" >"$work/health" 2>&1; then break; fi
    kill -0 "$worker" 2>/dev/null || die "it ended: $(cat "$work/log")"
    sleep 0.1
done
"${inside[@]}" "${health[@]}" || die "its health check fails: $(cat "$work/health")"
[ -f "$root/var/lib/holdfast/holdfast.db" ] || die "its ledger is not where the volume is"
kill "-$(last STOPSIGNAL | sed 's/^SIG//')" "$worker"
wait "$worker" || die "it did not end as it should: $(tail -n 5 "$work/log")"
worker=""
say "the image's steps are as they should be"
