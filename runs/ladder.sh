#!/bin/sh
# The ladder of configs/ladder.toml at 15 million parameters and 0.3 billion tokens an arm, for a GPU: some minutes each.
# Arms that are done are not done again. Never run at this size yet.
#   sh runs/ladder.sh              the whole table;  sh runs/ladder.sh --only base --only adamw    these arms alone
set -eu
cd "$(dirname "$0")/.."
cwm=${CWM:-cwm}
out=${OUT:-runs/out/ladder-gpu}
export PYTHONHASHSEED=0
mkdir -p "$out"
"$cwm" ladder configs/ladder.toml "$@" --set "folder=\"$out\"" --set base.model.overrides.dim=384 \
    --set base.model.overrides.layers=8 --set base.model.overrides.heads=6 --set base.model.overrides.kv_heads=2 \
    --set base.model.overrides.head_dim=64 --set base.model.overrides.ffn_dim=1024 --set base.run.steps=2300 \
    --set base.run.tokens_per_batch=131072 --set base.run.tokens_per_micro_batch=65536 --set base.data.buffer=1024 \
    --set base.data.workers=14 --set base.parallel.compile=true --set base.optimiser.warmup_steps=100 \
    --set 'arms.deep.set=["model.overrides={ dim = 256, layers = 18, heads = 4, kv_heads = 2, head_dim = 64, ffn_dim = 704 }"]' \
    --set 'arms.wide.set=["model.overrides={ dim = 640, layers = 3, heads = 10, kv_heads = 2, head_dim = 64, ffn_dim = 1728 }"]' \
    --set programs=512 --set next_frames=200 | tee "$out/table.md"
