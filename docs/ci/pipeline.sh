#!/usr/bin/env bash
# A model learns a second task and must not forget the first: images, training, importance, limits.
#
#   pipeline.sh FOLDER [FLAGS of the second train-task: --lambda 1 without any]
#
# Leaves everything in FOLDER, and ends with the exit code of what stopped it: 7 is a limit that is not met.
set -euo pipefail
mkdir -p "$1"
cd "$1"
shift
[ $# -gt 0 ] || set -- --lambda 1

# images: data/TASK/train|test/CLASS/NUMBER.png, noise around a colour of each class
python - <<'END'
from pathlib import Path

import numpy as np
from PIL import Image

colours = {
    "fruit": {"apple": (170, 60, 60), "lime": (60, 170, 60), "plum": (120, 60, 150)},
    "sky": {"dawn": (180, 110, 90), "noon": (90, 120, 200), "dusk": (70, 60, 110)},
}
random = np.random.default_rng(0)
for task, classes in colours.items():
    for part, count in (("train", 20), ("test", 20)):
        for name, colour in classes.items():
            folder = Path("data", task, part, name)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.clip(random.normal(colour, 30, (12, 12, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:03}.png")
END

# what is there already in your pipeline: a checkpoint that is in use
mascli init --model mascli:convnet --model-arg width=8 --model-arg norm=true --image-size 12 \
    -o start.safetensors
mascli train-task start.safetensors --task fruit --data data/fruit/train --epochs 15 --lr 0.05 -o released.safetensors

# a new version of it: what the answers depend on, then the new task
mascli estimate released.safetensors --data data/fruit/train -o released.omega
mascli train-task released.safetensors --task sky --data data/sky/train --omega released.omega \
    --epochs 15 --lr 0.1 -o new.safetensors "$@"

# the limits; reports are written before the command ends with 7
code=0
mascli evaluate new.safetensors --baseline released.safetensors --data-root data \
    --min-accuracy 80 --max-forgetting 5 --report result.json --report summary.md --report junit.xml || code=$?
case $code in
    0) echo "kept: new.safetensors can take the place of released.safetensors" ;;
    7) echo "stopped: a limit is not met, see summary.md" ;;
    *) echo "failed: there is no verdict (exit code $code)" ;;
esac >&2
exit "$code"
