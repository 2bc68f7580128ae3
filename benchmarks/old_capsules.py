"""Planning with the true simulator, with capsules that weigh what they did before MuJoCo 2.1.1.

Masses and inertias that a model leaves open are computed from its shapes. Since MuJoCo 2.1.1
(December 2021) those of capsules are exact; until then a capsule counted as a cylinder, its middle
section extended at both ends by half the radius (MuJoCo's changelog). PlaNet's scores are of 2018.

    uv run python benchmarks/old_capsules.py finger-spin --episodes 3
    uv run python benchmarks/old_capsules.py finger-spin --weights
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

MASSES = ("body_mass", "body_inertia", "body_ipos", "body_iquat")


def with_old_capsules(task: str) -> mujoco.MjModel:
    """Returns a task's model with cylinders in place of capsules, as they counted."""
    xml, assets = importlib.import_module(
        f"dm_control.suite.{task.split('-')[0]}"
    ).get_model_and_assets()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**assets, "model.xml": xml}.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        spec = mujoco.MjSpec.from_file(str(Path(folder) / "model.xml"))
    for geom in spec.geoms:
        if geom.type == mujoco.mjtGeom.mjGEOM_CAPSULE:
            geom.type = mujoco.mjtGeom.mjGEOM_CYLINDER
            half = geom.size[0] / 2
            if np.isfinite(geom.fromto[0]):
                start, end = geom.fromto[:3], geom.fromto[3:]
                along = half * (end - start) / np.linalg.norm(end - start)
                geom.fromto = np.concatenate([start - along, end + along])
            else:
                geom.size = geom.size + np.array([0, half, 0])
    return spec.compile()


def weigh(model: mujoco.MjModel, task: str) -> None:
    """Gives a task's model the masses and inertias of old; its shapes stay capsules."""
    old = with_old_capsules(task)
    for name in MASSES:
        getattr(model, name)[:] = getattr(old, name)
    mujoco.mj_setConst(model, mujoco.MjData(model))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the simulator; default: all cores")
    parser.add_argument("--folder", type=Path, default=Path("runs/old-capsules"))
    parser.add_argument("--weights", action="store_true", help="only compare masses and inertias")
    arguments = parser.parse_args()

    from armillary.envs import rendering

    with rendering.importing_mujoco("none"):
        from dm_control import suite

    from armillary.studies.trials import Stage, Trial, play_all

    load = suite.load

    def load_old(domain: str, name: str, **options: Any) -> Any:
        env = load(domain, name, **options)
        weigh(env.physics.model.ptr, f"{domain}-{name}")
        return env

    if arguments.weights:
        domain, name = arguments.task.split("-")
        new, old = (make(domain, name).physics.model.ptr for make in (load, load_old))
        for body in range(1, new.nbody):
            mass = old.body_mass[body] / new.body_mass[body]
            inertia = old.body_inertia[body] / new.body_inertia[body]
            print(f"{new.body(body).name}: mass {mass:.3f}, inertia {inertia.round(3)} of today's")
        return
    suite.load = load_old
    trials = [Trial(arguments.task, index) for index in range(arguments.episodes)]
    stage = Stage(
        arguments.folder, arguments.threads, note=lambda line: print(line, file=sys.stderr)
    )
    for trial in trials:
        (record,) = play_all([trial], stage)
        print(f"episode {trial.index}: {record.score:.1f}, {record.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
