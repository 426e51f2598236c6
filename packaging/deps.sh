#!/usr/bin/env bash
# Installs the Debian packages that the labs drive, when a command is missing.
# usage: deps.sh "COMMAND ..." "PACKAGE ..."
set -euo pipefail

missing=()
for c in $1; do command -v "$c" >/dev/null 2>&1 || missing+=("$c"); done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
  echo "missing: ${missing[*]}. The labs need root and these packages: apt-get install $2" >&2
  exit 1
fi
command -v apt-get >/dev/null || { echo "missing: ${missing[*]}, and no apt-get to install them with: install $2 by hand" >&2; exit 1; }

echo "missing: ${missing[*]}; installing Debian packages: $2"
# Only the programs are wanted: the packages' own services must not start on this host.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
# A mirror may be away for a moment, and another apt-get may hold the lock.
apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@"; }
for pause in 10 30 0; do
  # shellcheck disable=SC2086
  if apt update && apt install -y --no-install-recommends $2; then exit 0; fi
  [ "$pause" = 0 ] || { echo "that failed; trying again in $pause s"; sleep "$pause"; }
done
echo "cannot install: $2" >&2
exit 1
