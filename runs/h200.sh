#!/bin/sh
# The same recipe within one GPU's 30 minutes, at the largest size that fits the time: 150 million parameters, some
# 0.9 billion tokens. Written for one H200 and never run on one: look at the first tokens/s and set STEPS to fit.
#   sh runs/h200.sh            STEPS: updates of 262,144 tokens of the main stage
set -eu
cd "$(dirname "$0")/.."
out=runs/out/h200
cwm=${CWM:-cwm}
steps=${STEPS:-3000}
mkdir -p "$out"
[ -f "$out/code.parquet" ] || "$cwm" data code "$out/code.parquet"
[ -f "$out/chats.jsonl" ] || "$cwm" data chats "$out/chats.jsonl" --count 20000
for name in pretrain midtrain sft; do
    case $name in
    pretrain) n=$((steps / 4)) more="--set optimiser.horizon_steps=$((steps + steps / 4))" ;;
    midtrain) n=$steps more="--set start.path=$out/pretrain --set optimiser.horizon_steps=$((steps + steps / 4))
        --set optimiser.first_step=$((steps / 4)) --set data.total_tokens=$((steps * 262144))
        --set data.sources.functions.paths=[\"$out/traces/shards\"]" ;;
    sft) n=$((steps / 10)) more="--set start.path=$out/midtrain --set data.sources.questions.paths=[\"$out/chats.jsonl\"]
        --set data.sources.functions.paths=[\"$out/traces/shards\"]" ;;
    esac
    if [ "$name" != pretrain ]; then
        "$cwm" data traces "$out/traces" --functions stdlib:textwrap --functions stdlib:statistics \
            --functions stdlib:heapq --functions stdlib:fractions --functions stdlib:difflib --workers 8
    fi
    for path in code rehearsal_code; do
        if grep -q "^\[data.sources.$path\]" "configs/tiny/$name.toml"; then
            more="$more --set data.sources.$path.paths=[\"$out/code.parquet\"]"
        fi
    done
    # shellcheck disable=SC2086
    "$cwm" train "configs/tiny/$name.toml" --set model.preset=150m --set run.tokens_per_batch=262144 \
        --set run.tokens_per_micro_batch=65536 --set data.workers=14 --set parallel.compile=true \
        --set optimiser.learning_rate=1e-3 --set optimiser.muon_learning_rate=1e-3 --set optimiser.warmup_steps=50 \
        --set "run.folder=$out/$name" --set "export.folder=$out/weights" --set "run.steps=$n" --set run.checkpoint_every=500 $more
done
"$cwm" eval frames --weights "$out/weights" --limit 100
