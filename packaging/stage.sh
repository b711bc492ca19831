#!/bin/sh
# stage.sh PROGRAM FROM TO [PREFIX]: lays out below TO what belongs to a program, agentd or memctl, as it
# was built in FROM: for `make install`, and for packages.
set -eu
program=$1 from=$2 to=$3 prefix=${4:-/usr}
here=$(dirname "$0")
share=$to$prefix/share

# Where a system looks for what a package brings, or an administrator.
case $prefix in
/usr) rules=$share/polkit-1/rules.d ;;
*) rules=$to/etc/polkit-1/rules.d ;;
esac

# put FILE AS: with the prefix in the place of the packages'.
put() {
    mkdir -p "$(dirname "$2")"
    sed "s|/usr/sbin/agentd|$prefix/sbin/agentd|" "$1" >"$2"
    chmod 644 "$2"
}

documents() {
    pages=$(mktemp -d)
    "$from/$program" manual "$pages"
    for page in "$pages"/*; do
        gzip -9n "$page"
        install -D -m 644 "$page.gz" "$share/man/man${page##*.}/${page##*/}.gz"
    done
    rm -rf "$pages"
    for shell in "bash bash-completion/completions/$program" "zsh zsh/vendor-completions/_$program" \
        "fish fish/vendor_completions.d/$program.fish"; do
        file=$share/${shell#* }
        mkdir -p "$(dirname "$file")"
        "$from/$program" completion "${shell%% *}" >"$file"
    done
    install -D -m 644 "$here/debian/copyright" "$share/doc/$program/copyright"
}

case $program in
agentd)
    install -D -m 755 "$from/agentd" "$to$prefix/sbin/agentd"
    sh "$here/install-config.sh" "$to/etc/agentd/agentd.toml"
    put "$here/systemd/agentd.service" "$to$prefix/lib/systemd/system/agentd.service"
    put "$here/systemd/agentd.socket" "$to$prefix/lib/systemd/system/agentd.socket"
    put "$here/systemd/sysusers.conf" "$to$prefix/lib/sysusers.d/agentd.conf"
    put "$here/systemd/tmpfiles.conf" "$to$prefix/lib/tmpfiles.d/agentd.conf"
    put "$here/polkit/50-agentd.rules" "$rules/50-agentd.rules"
    install -D -m 644 "$here/../docs/OPERATING.md" "$share/doc/agentd/OPERATING.md"
    ;;
memctl)
    install -D -m 755 "$from/memctl" "$to$prefix/bin/memctl"
    ;;
*)
    echo "stage.sh: there is no program $program" >&2
    exit 2
    ;;
esac
documents
