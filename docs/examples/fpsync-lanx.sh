#!/bin/sh
# Stands in the place of rsync for fpsync:
#
#     fpsync -n 8 -f 10000 -T /path/to/fpsync-lanx.sh /srv/dataset rsync://HOST[:PORT]/FOLDER/
#
# fpsync calls it with options of rsync, --files-from=FILE, --from0, SOURCE/ and the URL. FOLDER is one beneath that of the receiver.
# LANX names the program to run.
set -eu
list=
source=
url=
for argument; do
    case $argument in
    --files-from=*) list=${argument#--files-from=} ;;
    --delete*)
        echo "lanx deletes nothing at the receiver; call fpsync without -E" >&2
        exit 2
        ;;
    -*) ;;
    *)
        source=$url
        url=$argument
        ;;
    esac
done
place=${url#rsync://}
host=${place%%/*}
folder=${place#*/}
while [ "${folder%/}" != "$folder" ]; do folder=${folder%/}; done
if [ -z "$list" ] || [ -z "$source" ] || [ -z "$host" ] || [ "$host" = "$url" ]; then
    echo "usage: fpsync-lanx.sh --files-from=FILE --from0 SOURCE/ rsync://HOST[:PORT]/FOLDER/" >&2
    exit 2
fi
set -- --files-from "$list" --from0
[ -z "$folder" ] || set -- "$@" --into "$folder"
exec "${LANX:-lanx}" send -q "$@" "$source" "$host"
