"""What options are called in other libraries: whoever types one of those names is told ours."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from armillary.errors import UsageError

OURS = {
    "run": "out output out-dir output-dir logdir log-dir log-path save-dir save-path workdir "
    "work-dir run-dir exp-dir checkpoint-dir",
    "task": "env env-id env-name environment game domain id",
    "agent": "algo algorithm alg method",
    "preset": "config configs config-name config-file size",
    "episodes": "steps num-steps max-steps total-steps total-timesteps timesteps frames epochs "
    "num-episodes n-episodes eval-episodes",
    "optimizer.learning-rate": "lr model-lr alpha",
    "training.batch-size": "bs batch",
    "training.chunk-length": "seq-len sequence-length batch-length chunk-size",
    "behavior.discount": "gamma discount-factor",
    "environment.action-repeat": "frame-skip frameskip",
    "environment.size": "image-size img-size resolution",
    "replay.capacity": "buffer-size replay-size replay-capacity",
    "evaluation.every": "eval-every eval-freq eval-interval test-interval",
    "search.simulations": "num-simulations n-simulations simulations",
    "collection.seed-episodes": "prefill learning-starts random-episodes",
}
"""An option, and what other libraries call it."""

DEVICE = "device gpu cuda use-gpu no-cuda gpu-id platform accelerator"

STEPS = "An episode of the control suite is 1,000 steps of the environment."


def refuse(argv: Sequence[str], known: Collection[str], command: str) -> None:
    """Refuses an option that has another name here, and says which.

    Args:
        argv: what was given.
        known: the names of this command's options, without the hyphens before them.
        command: as it is typed, `armillary train`.

    Raises:
        UsageError: an option in `argv` is not known here but under another name, or stands for the
            choice of a device, which is JAX's.
    """
    for argument in argv:
        name = argument.partition("=")[0].replace("_", "-").removeprefix("--")
        if not argument.startswith("--") or name in known:
            continue
        said = f"Unrecognized options: --{name} of `{command}`."
        if name in DEVICE.split():
            raise UsageError(
                f"{said} JAX chooses the device: a graphics card if it finds one. "
                "JAX_PLATFORMS=cpu (or cuda) before the command chooses another, "
                "CUDA_VISIBLE_DEVICES=1 another card."
            )
        for ours, theirs in OURS.items():
            if name in theirs.split() and ours in known:
                counted = f" {STEPS}" if ours == "episodes" and "episodes" not in name else ""
                raise UsageError(f"{said} Here it is --{ours}.{counted}")
