#!/bin/sh
# Mid-trains SmolLM2-135M on the CWM mix, with and without rehearsal, and measures CRUXEval's output and HumanEval's
# bodies before and after. Some 16 s of processor time per update where the CPU multiplies bfloat16: half an hour per arm
# on one free core at the default size.
#   sh runs/smollm2.sh CRUXEVAL.jsonl HUMANEVAL.jsonl        STEPS: updates of 2,048 tokens; ITEMS: of each evaluation
set -eu
cd "$(dirname "$0")/.."
crux=$1 humaneval=$2
out=runs/out/smollm2
cwm=${CWM:-cwm}
steps=${STEPS:-100}
items=${ITEMS:-100}
mkdir -p "$out"
[ -f "$out/base/config.json" ] || "$cwm" model fetch smollm2-135m "$out/base"
[ -f "$out/code.parquet" ] || "$cwm" data code "$out/code.parquet" --package rich --package click --package networkx \
    --package jinja2 --package pygments --package packaging
[ -f "$out/chats.jsonl" ] || "$cwm" data chats "$out/chats.jsonl" --count 2000
[ -f "$out/prose.jsonl" ] || python3 - "$out/prose.jsonl" <<'PROSE'
import importlib.metadata, json, sys
texts = {d.metadata.get_payload() for d in importlib.metadata.distributions() if d.metadata.get_payload()}
with open(sys.argv[1], "w", encoding="utf-8") as file:
    file.writelines(json.dumps({"text": text}) + "\n" for text in sorted(texts) if len(text) > 500)
PROSE
"$cwm" train configs/smollm2/midtrain.toml --set "run.steps=$steps"
"$cwm" train configs/smollm2/midtrain.toml --set "run.steps=$steps" --set "run.folder=$out/without" \
    --set "export.folder=$out/without/weights" --set 'data.groups={world = 0.43, code = 0.57}' \
    --set data.sources.prose.group='""' --set data.sources.prose.share=0
for arm in base rehearsal/weights without/weights; do
    printf '\n== %s\n' "$arm"
    "$cwm" eval language --weights "$out/$arm" --tokenizer "$out/base" --crux "$crux" --humaneval "$humaneval" \
        --limit "$items" --bfloat16
done
