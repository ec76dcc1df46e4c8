#!/bin/sh
# The shipped model on one GPU, in links of at most 30 minutes that go on from files of under 64 MiB (int8 weights; the
# optimiser starts afresh and is warmed up). Never run on a GPU yet; its links have run on a CPU at a very small size.
#   sh runs/shipped.sh first       from nothing, or from FROM=FOLDER (weights of the same shape)
#   sh runs/shipped.sh next        goes on from the link before; as often as there is time, on any day
#   sh runs/shipped.sh last        goes on with a rate that falls to zero, calibrates, and measures
# DATA: the folder of data sets (../shared/data); MINUTES of training a link (24); OUT: the folder to keep between
# links, of which only weights-N and numbers.txt are needed (runs/out/shipped); MORE: further options of cwm train.
# PROGRAMS, CRUX and TABLES: as in runs/card.sh. MEASURE=no: the last link ends with its weights; a card needs no GPU.
# With a GPU for a quarter of an hour: MINUTES=5 for the first link, MINUTES=5 MEASURE=no for the last, which takes as many
# steps as the one before.
set -eu
cd "$(dirname "$0")/.."
link=${1:?first, next or last: see the head of this file}
data=${DATA:-../shared/data}
minutes=${MINUTES:-24}
out=${OUT:-runs/out/shipped}
cwm=${CWM:-cwm}
python=${PYTHON:-python}
mkdir -p "$out"
export PYTHONHASHSEED=0

number=0
[ "$link" = first ] || number=$(tail -n 1 "$out/numbers.txt" | cut -d' ' -f1)
before=${FROM:-}
[ "$number" = 0 ] || before=$out/weights-$number
number=$((number + 1))
set -- configs/shipped.toml --set "data.sources.programs.mix.data=\"$data\"" \
    --set "data.sources.programs.mix.audit=\"$data\"" --set "data.seed=$number" --set "run.folder=\"$out/link-$number\""
[ -z "$before" ] || set -- "$@" --from "$before"
if [ "$link" = last ]; then
    # as many steps as the link before did in its time; the clock is only a guard
    steps=$(tail -n 1 "$out/numbers.txt" | cut -d' ' -f2)
    set -- "$@" --set "run.steps=$steps" --set optimiser.decay_share=1.0
    minutes=$((minutes + 4))
fi
# shellcheck disable=SC2086
timeout -s INT -k 120 "${minutes}m" "$cwm" train "$@" ${MORE:-} || [ $? = 124 ]
"$python" - "$out/link-$number" "$out/weights-$number" "$number" >> "$out/numbers.txt" <<'PYTHON'
import sys
from pathlib import Path

from opencwm.train.run import export

progress = export(Path(sys.argv[1]), Path(sys.argv[2]), dtype="int8", layout="opencwm")
print(sys.argv[3], progress.step, progress.tokens, progress.held_out_loss)
PYTHON
printf 'link, steps, tokens, held-out loss: %s\n' "$(tail -n 1 "$out/numbers.txt")"
du -h "$out/weights-$number/model.safetensors"
rm -rf "$out/weights-$((number - 2))"
[ "$link" = last ] && [ "${MEASURE:-yes}" = yes ] || exit 0

weights=$out/weights-$number
"$cwm" eval calibration --weights "$weights" --fit --fit-programs "${PROGRAMS:-400}" --limit "${PROGRAMS:-200}" \
    --plot "$out/reliability.png" | tee "$out/calibration.txt"
CWM=$cwm sh runs/card.sh "$weights" "$data" "$out/card"
cat "$out"/card/*.txt
"$cwm" train plot "$out"/link-* --output "$out/curves.png" || echo 'no curves: pip install "opencwm[evals]"'
