#!/bin/sh
# deb.sh FROM TO: packages agentd and memctl, as they were built in FROM, into TO. Needs no network.
# DEB_VERSION stands in for the programs' own version, DEB_FLAGS are for dpkg-deb.
set -eu
from=$1 to=$2
here=$(dirname "$0")
version=${DEB_VERSION:-$("$from/agentd" --version | cut -d ' ' -f 2)}
arch=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$to" "$work/bin" "$work/debian"

# What a program is linked to, as Debian names it. dpkg-shlibdeps looks for a source package around it.
printf 'Source: agentd\n\nPackage: agentd\nArchitecture: any\n' >"$work/debian/control"
needs() {
    (cd "$work" && dpkg-shlibdeps -O "bin/$1" >needs) || exit
    sed -n 's/^shlibs:Depends=//p' "$work/needs"
}

for program in agentd memctl; do
    strip --strip-unneeded -o "$work/bin/$program" "$from/$program"
    tree=$work/$program
    mkdir "$tree"
    sh "$here/stage.sh" "$program" "$work/bin" "$tree"
    needs=$(needs "$program")
    size=$(du -sk "$tree" | cut -f 1)
    mkdir "$tree/DEBIAN"
    (cd "$tree" && find usr -type f -exec md5sum {} +) >"$tree/DEBIAN/md5sums"
    for file in "$here/debian/$program"/*; do
        cp "$file" "$tree/DEBIAN/"
    done
    sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" \
        -e "s/@NEEDS@/$needs/" "$here/debian/$program/control" >"$tree/DEBIAN/control"
    chmod -R u=rwX,go=rX "$tree"
    # shellcheck disable=SC2086 # a list of words
    dpkg-deb --root-owner-group ${DEB_FLAGS:-} --build "$tree" "$to/${program}_${version}_$arch.deb"
done
