#!/bin/sh
# CWM's recipe end to end on a CPU, under 7 minutes on one core that multiplies bfloat16 (docs/log.md): data,
# pre-training, mid-training, fine-tuning, evaluation, debugger. Stop it whenever you like: the same command goes on where
# it was.
#   sh runs/tiny.sh            SHARE: per cent of the stages' steps, 100 by default; 1000 for a better model
set -eu
cd "$(dirname "$0")/.."
out=runs/out/tiny-stages
cwm=${CWM:-cwm}
share=${SHARE:-100}
epochs=$(awk "BEGIN { e = 2 * $share / 100; print e < 4 ? e : 4 }")   # of the traced functions
stage() {
    printf '\n== %s\n' "$1"
}

stage '1 of 7: data'
mkdir -p "$out"
[ -f "$out/code.parquet" ] || "$cwm" data code "$out/code.parquet" --package rich --package click --package typer \
    --package networkx --package jinja2 --package packaging --package pygments
[ -f "$out/chats.jsonl" ] || "$cwm" data chats "$out/chats.jsonl" --count 3000
"$cwm" data traces "$out/traces" --functions stdlib:textwrap --functions stdlib:colorsys --functions stdlib:bisect \
    --functions stdlib:heapq --functions stdlib:statistics --functions stdlib:string --inputs 4

stage '2 of 7: what the stages will take'
for name in pretrain midtrain sft; do
    "$cwm" train "configs/tiny/$name.toml" --plan
done

stage '3 of 7: pre-training'
"$cwm" train configs/tiny/pretrain.toml --set "run.steps=$((share))" --set "optimiser.horizon_steps=$((260 * share / 100))"
stage '4 of 7: mid-training'
"$cwm" train configs/tiny/midtrain.toml --set "run.steps=$((160 * share / 100))" \
    --set "optimiser.horizon_steps=$((260 * share / 100))" --set "optimiser.first_step=$((share))" \
    --set "data.total_tokens=$((6553 * share))" --set "data.sources.functions.epochs=$epochs"
stage '5 of 7: fine-tuning'
"$cwm" train configs/tiny/sft.toml --set "run.steps=$((60 * share / 100))"
"$cwm" train plot "$out/pretrain" "$out/midtrain" "$out/sft" --output "$out/curves.png" ||
    echo 'no curves: pip install "opencwm[evals]"'

stage '6 of 7: evaluation, on programs that were held out'
"$cwm" eval frames --weights "$out/weights" --limit 5

stage '7 of 7: debugger, over a run that has not happened'
printf 'step\nstep\nwhere\nquit\n' | "$cwm" debug examples/count_letters.py --weights "$out/weights"
printf '\nweights: %s   curves: %s\n' "$out/weights" "$out/curves.png"
