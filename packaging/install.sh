#!/bin/sh
# Installs a release of Switchboard: downloads the program for this machine, checks it against the list of checksums of the
# release, and puts it where programs are. For a service see the Debian package, or packaging/systemd.
#
#     sh install.sh --from https://downloads.example/switchboard/v0.1.0 [--to /usr/local/bin]
#
# --from is a folder, by http or as a path, with SHA256SUMS and switchboard-ARCHITECTURE-linux.tar.gz. With --sums HASH the list
# itself must have that SHA-256, for those who have it from elsewhere.
set -eu

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

from='' to=/usr/local/bin sums=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value"
    case "$1" in
    --from) from=${2%/} ;;
    --to) to=$2 ;;
    --sums) sums=$2 ;;
    *) fail "unknown option $1" ;;
    esac
    shift 2
done
[ -n "$from" ] || fail "--from FOLDER is missing: where the release is"
[ "$(uname -s)" = Linux ] || fail "releases are for Linux; build from the source instead"
case "$(uname -m)" in
x86_64 | amd64) architecture=x86_64 ;;
aarch64 | arm64) architecture=aarch64 ;;
*) fail "no release for $(uname -m); build from the source instead" ;;
esac
command -v sha256sum >/dev/null || fail "sha256sum is missing"

fetch() {
    case "$from" in
    http://* | https://*)
        command -v curl >/dev/null || fail "curl is missing"
        curl --proto '=http,https' -fsSL --retry 3 -o "$folder/$1" "$from/$1" || fail "cannot fetch $from/$1"
        ;;
    *) cp "$from/$1" "$folder/$1" || fail "cannot read $from/$1" ;;
    esac
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
archive=switchboard-$architecture-linux.tar.gz
fetch SHA256SUMS
if [ -n "$sums" ]; then
    echo "$sums  $folder/SHA256SUMS" | sha256sum --status -c - || fail "SHA256SUMS is not the list with the hash $sums"
fi
fetch "$archive"
line=$(grep -E "^[0-9a-f]{64}  $archive\$" "$folder/SHA256SUMS") || fail "SHA256SUMS does not name $archive"
(cd "$folder" && echo "$line" | sha256sum --status -c -) || fail "$archive is damaged or was changed: its checksum is another one"
tar -xzf "$folder/$archive" -C "$folder" switchboard || fail "$archive has no program"
mkdir -p "$to"
# Beside the place and then renamed, so that a running server is not written to.
cp "$folder/switchboard" "$to/.switchboard.new"
chmod 755 "$to/.switchboard.new"
mv "$to/.switchboard.new" "$to/switchboard"
"$to/switchboard" --version
