# What the recipes in this folder share. Sourced, not run.

# mkfs.ext4 and debugfs live where a plain user's PATH may not lead.
PATH=$PATH:/usr/sbin:/sbin
recipes=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OFFSHOOT_LINUX:-$recipes/../../target/linux}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

note() { echo "$(basename "$0"): $*" >&2; }
die() { note "$*"; exit 125; }

# Whether OUT is there and newer than each of the files it was made from.
fresh() {
    local out=$1 source
    shift
    for source in "$@"; do
        [ "$out" -nt "$source" ] || return 1
    done
}
