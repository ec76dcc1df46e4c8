#!/bin/sh
# One training on the cores of one machine: as many runs side by side as there are cores, of one thread each, that begin
# a round from the same weights, see different data, and are averaged at its end (cwm train average); one rate falls over
# all rounds as a cosine. Two cores so gave 1.5 times the tokens of two threads in one process (docs/recipe.md).
#   sh runs/rounds.sh CONFIG FROM OUT     FROM: a run's folder, whose moments are carried on; the last OUT/mean-N is made
#                                         into OUT/weights. Stopped, the same command goes on where it was.
# ROUNDS (14) of STEPS (500) updates each; RUNS (2) side by side; RATE (2e-3) at first; MORE: further options of cwm train.
set -eu
[ $# -eq 3 ] || { sed -n '2,9p' "$0"; exit 2; }
config=$1 from=$2 out=$3
rounds=${ROUNDS:-14} steps=${STEPS:-500} runs=${RUNS:-2} rate=${RATE:-2e-3}
cwm=${CWM:-cwm}
python=${PYTHON:-python}
export PYTHONHASHSEED=0 OMP_NUM_THREADS=1
mkdir -p "$out"
round=0
while [ "$round" -lt "$rounds" ]; do
    mean=$out/mean-$round
    if [ ! -d "$mean/checkpoints" ]; then
        rm -rf "$mean"
        run=0 started=
        while [ "$run" -lt "$runs" ]; do
            # shellcheck disable=SC2086
            "$cwm" train "$config" --from "$from" --set start.optimiser=carried --set "run.folder=\"$out/run-$round-$run\"" \
                --set "run.steps=$steps" --set run.threads=1 --set data.workers=0 --set optimiser.warmup_steps=0 \
                --set "data.seed=$((1000 + runs * round + run))" --set "export.folder=\"$out/run-$round-$run/weights\"" \
                --set optimiser.schedule=cosine --set "optimiser.horizon_steps=$((rounds * steps))" \
                --set "optimiser.first_step=$((round * steps))" --set "optimiser.learning_rate=$rate" \
                --set "optimiser.muon_learning_rate=$rate" ${MORE:-} > "$out/run-$round-$run.log" 2>&1 &
            started="$started $!"
            run=$((run + 1))
        done
        trap 'kill $started; wait; exit 130' INT TERM  # each saves where it is
        for process in $started; do
            wait "$process" || { tail -n 3 "$out"/run-"$round"-*.log; exit 4; }
        done
        trap - INT TERM
        set --
        run=0
        while [ "$run" -lt "$runs" ]; do
            [ -d "$out/run-$round-$run/weights" ] || { printf 'run %s was stopped: start again\n' "$run"; exit 4; }
            set -- "$@" "$out/run-$round-$run"
            run=$((run + 1))
        done
        "$cwm" train average "$@" --output "$mean"
        grep -h 'held out' "$out"/run-"$round"-*.log || true
    fi
    from=$mean
    round=$((round + 1))
done
"$python" - "$out" "$rounds" "$runs" "$steps" <<'PYTHON'
import json
import sys
from pathlib import Path

from opencwm.train.meter import LOG, read_log
from opencwm.train.run import export

out, rounds, runs, steps = Path(sys.argv[1]), *map(int, sys.argv[2:])
export(out / f"mean-{rounds - 1}", out / "weights")
tokens = 0
with (out / LOG).open("w", encoding="utf-8") as file:  # one log of all rounds: cwm train plot OUT --over tokens
    for number in range(rounds):
        last = tokens
        for records in zip(*(read_log(out / f"run-{number}-{run}") for run in range(runs)), strict=False):
            keys = ("loss", "accuracy", "held_out_loss", "held_out_accuracy")
            mean = {key: sum(one[key] for one in records) / runs for key in keys if all(key in one for one in records)}
            seen = {"tokens": tokens + sum(one["tokens"] for one in records)} if "tokens" in records[0] else {}
            file.write(json.dumps({"step": number * steps + records[0]["step"], **seen, **mean}) + "\n")
            last = seen.get("tokens", last)
        tokens = last
PYTHON
printf 'weights written to %s\n' "$out/weights"
