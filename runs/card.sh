#!/bin/sh
# Every figure of a model's card, one command after another, each into a file of its own: on CRUXEval's development
# half, held-out programs, held-out functions that people wrote, and long runs. An hour of a CPU core for the shipped one.
#   sh runs/card.sh WEIGHTS DATA OUT     DATA: the folder of data sets (../shared/data); OUT: where the tables go
# What is there is not made again. TABLES: only these, as in TABLES="crux frames"; PROGRAMS: so many at most for each;
# CRUX: another file in CRUXEval's layout.
set -eu
[ $# -eq 3 ] || { sed -n '2,6p' "$0"; exit 2; }
weights=$1 data=$2 out=$3
crux=${CRUX:-$data/cruxeval/cruxeval_dev.jsonl}
cwm=${CWM:-cwm}
config=$(dirname "$0")/../configs/mix-tiny.toml
mkdir -p "$out"

# table NAME MOST COMMAND...: at most MOST programs, all for 0; - for a command that has its own
table() {
    name=$1 most=$2
    shift 2
    [ "$most" = - ] && most=0 || most=${PROGRAMS:-$most}
    case " ${TABLES:-$name} " in *" $name "*) ;; *) return 0 ;; esac
    [ ! -s "$out/$name.txt" ] || return 0
    [ "$most" = 0 ] || set -- "$@" --limit "$most"
    printf '%s\n' "$name"
    "$cwm" "$@" --weights "$weights" > "$out/$name.partial"
    mv "$out/$name.partial" "$out/$name.txt"
}

table frames 200 eval frames
table frames-alone 200 eval frames --alone
table calibration 60 eval calibration
table writing 200 eval writing
table functions 100 eval semantics --config "$config" --set "data=\"$data\"" --set "audit=\"$data\"" \
    --set shares.written=0 --set shares.drills=0 --set shares.harvested=0
table long - eval long
if [ -f "$crux" ]; then
    table crux 0 eval crux --data "$crux"
    table crux-alone 0 eval crux --data "$crux" --alone
    table crux-frames 100 eval frames --data "$crux"
    table crux-renamed 100 eval frames --data "$crux" --renamed
    table crux-vote 0 eval crux --data "$crux" --vote 16
    table crux-input 100 eval crux --data "$crux" --input
    table semantics 100 eval semantics --data "$crux"
fi
