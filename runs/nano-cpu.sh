#!/usr/bin/env bash
# The exact recipe of the shipped `nano` weights: two CPU cores, from nothing.
# Stop it at any moment (Ctrl-C, kill, power cut) and run it again: it goes on where it was.
# Needs kineograph[train] and a C++ compiler (the renderer is compiled).
#   runs/nano-cpu.sh [RUN FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-run-nano}
for stage in vae tokenizer latents dit upsampler; do
  echo "== $stage"
  date +%s > /dev/null
  kineo train "$stage" "$here/nano/$stage.py" --out "$run/$stage" --resume
  [ -e "$run/$stage/checkpoint.pt" ] && ! grep -q '"validation"' "$run/$stage/log.jsonl" && exit 1
done
kineo train assemble "$here/nano/vae.py" --out "$run"
