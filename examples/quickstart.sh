#!/usr/bin/env bash
# The whole way, command by command: bash examples/quickstart.sh [OUT]
set -euo pipefail
out=${1:-runs/quickstart}

# A made log in KuaiRand's files, with its truth beside it; then as a dataset folder, split by time.
segrec simulate short --out "$out/world" --users 300 --items 800 --seed 1
segrec read kuairand "$out/world" --out "$out/dataset"

# Where do views end? Fit, freeze, score every impression: train rows by encoders that did not see them.
segrec fit segment_interest "$out/dataset" --out "$out/encoder" --set epochs=4
segrec score "$out/encoder" "$out/dataset" --cross-fit 2 --out "$out/scores.parquet"
segrec evaluate skip "$out/encoder" "$out/dataset" --no-trees --out "$out/encoder/skip_test.json"

# The same ranker without and with the scores, the difference paired.
segrec rank dcn_v2 "$out/dataset" --label is_click --out "$out/plain" --set batch_size=512
segrec rank dcn_v2 "$out/dataset" --label is_click --scores "$out/scores.parquet" --out "$out/scored" --set batch_size=512
segrec evaluate ctr "$out/scored" "$out/dataset" --against "$out/plain" --out "$out/scored/ctr_test.json"

# One page about all three runs.
segrec report "$out"
