#!/bin/sh
# install-config.sh FILE: the example config, in mode observe: what is begun by it moves no memory
# before somebody has looked. A file that is there is left alone.
set -eu
[ -e "$1" ] && exit 0
mkdir -p "$(dirname "$1")"
sed 's/^mode = "active"$/mode = "observe"/' "$(dirname "$0")/agentd.toml" >"$1.new"
chmod 644 "$1.new"
mv "$1.new" "$1"
