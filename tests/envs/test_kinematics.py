"""Positions of bodies in many states at once, against MuJoCo's own `mj_kinematics`."""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np
import pytest

from armillary.envs import ControlSuite, kinematics
from armillary.errors import UsageError

JOINTS = """
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <worldbody>
    <body name="free" pos="1 2 3" quat="1 .2 .3 .4">
      <freejoint/>
      <geom name="free" size=".1 .2 .3" type="box" pos=".1 .2 .3" quat="1 1 0 0"/>
      <body name="on_free" pos=".3 0 .1" euler=".3 .2 .1">
        <joint type="hinge" axis="1 2 3" pos=".1 -.2 .3" ref=".4"/>
        <geom size=".1" pos="0 .1 .3"/>
        <site name="on_free" pos=".1 .1 .2" euler="1 0 0"/>
      </body>
    </body>
    <body name="ball" pos="0 1 0">
      <joint type="ball" pos="0 .1 .4"/>
      <geom name="ball" size=".1 .2" type="capsule" pos=".3 .1 0"/>
      <body name="static" pos="0 0 1" euler="0 1 0">
        <geom size=".1"/>
        <body name="slide" pos=".5 0 0">
          <joint type="slide" axis="0 1 1" pos=".1 .1 .1" ref=".3"/>
          <geom size=".1" pos="0 0 .2"/>
        </body>
      </body>
    </body>
    <body name="several" pos=".1 .2 .3" euler=".1 .2 .3">
      <joint type="slide" axis="1 0 0"/>
      <joint type="hinge" axis="0 1 0" pos="0 .3 .1"/>
      <joint type="hinge" axis="0 0 -1" pos=".2 .3 .1" ref="1.3"/>
      <joint type="ball" pos=".1 .1 .2"/>
      <geom name="several" size=".1" pos="0 0 .3"/>
      <site name="several" pos="0 .1 0" quat="0 1 1 0"/>
      <body name="pair" pos="0 0 -.2">
        <joint type="hinge" axis="1 0 1" pos="0 .1 0"/>
        <joint type="slide" axis="1 1 0" ref="-.2"/>
        <geom size=".1"/>
      </body>
    </body>
    <body name="mocap" mocap="true" pos="1 0 0" euler="0 0 1">
      <geom name="mocap" size=".1" pos=".1 0 0"/>
      <body name="on_mocap" pos="0 0 .4">
        <joint type="hinge" axis="1 0 0" pos="0 .2 .1"/>
        <geom size=".1"/>
        <site name="on_mocap" pos="0 0 .1"/>
      </body>
    </body>
    <geom name="floor" type="plane" size="1 1 .1" euler="0 .1 0"/>
  </worldbody>
</mujoco>
"""

SUITE = ("reacher-easy", "hopper-hop", "acrobot-swingup", "manipulator-bring_ball", "humanoid-run")


@cache
def model_of(name: str) -> mujoco.MjModel:
    if name == "joints":
        return mujoco.MjModel.from_xml_string(JOINTS)
    return ControlSuite(name, render_mode=None).physics.model.ptr


def states(model: mujoco.MjModel, *shape: int) -> np.ndarray:
    """Random positions; the quaternions among them are not normalised."""
    return np.random.default_rng(0).uniform(-2, 2, (*shape, model.nq))


def expected(model: mujoco.MjModel, qpos: np.ndarray, data: mujoco.MjData) -> mujoco.MjData:
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return data


@pytest.mark.parametrize(
    ("name", "moved"), [*((name, False) for name in ("joints", *SUITE)), ("joints", True)]
)
def test_equals_mujocos_kinematics(name: str, moved: bool) -> None:
    """Also with a mocap body moved."""
    model = model_of(name)
    qpos, data = states(model, 3, 4), mujoco.MjData(model)
    mocap = None
    if moved:
        data.mocap_pos[:], data.mocap_quat[:] = [[3, 2, 1]], [[0.1, 0.5, 0.2, 0.9]]
        mocap = data.mocap_pos.copy(), data.mocap_quat.copy()
    sizes = {"body": model.nbody, "inertia": model.nbody, "geom": model.ngeom, "site": model.nsite}
    fields = {"body": "x", "inertia": "xi", "geom": "geom_x", "site": "site_x"}
    compared = 0
    for kind, size in sizes.items():
        accessor = getattr(model, "body" if kind == "inertia" else kind)
        for index in range(size):
            called = accessor(index).name
            if not called:
                continue
            frame = kinematics.frame(model, qpos, kind, called, mocap)
            position = kinematics.as_array(frame.position, (3, 4))
            rotation = kinematics.as_array(frame.rotation, (3, 4))
            for at in np.ndindex(3, 4):
                expected(model, qpos[at], data)
                where = getattr(data, f"{fields[kind]}pos")[index]
                turned = getattr(data, f"{fields[kind]}mat")[index].reshape(3, 3)
                np.testing.assert_allclose(position[at], where, atol=1e-12)
                np.testing.assert_allclose(rotation[at], turned, atol=1e-12)
            compared += 1
    assert compared > 5


def test_a_single_state() -> None:
    model = model_of("joints")
    qpos, data = states(model), mujoco.MjData(model)
    frame = kinematics.frame(model, qpos, "site", "on_free")
    expected(model, qpos, data)
    np.testing.assert_allclose(
        kinematics.as_array(frame.position, ()), data.site("on_free").xpos, atol=1e-12
    )


def test_what_no_joint_moves_costs_nothing() -> None:
    """It is made of plain numbers, however many states there are."""
    model = model_of("reacher-easy")
    frame = kinematics.frame(model, states(model, 5), "geom", "target")
    assert all(isinstance(entry, float) for entry in frame.position)
    assert kinematics.as_array(frame.position, (5,)).shape == (5, 3)
    assert kinematics.as_array(frame.rotation, (5,)).shape == (5, 3, 3)


def test_unknown_names() -> None:
    model = model_of("reacher-easy")
    with pytest.raises(UsageError, match=r"no geom 'finge'.*Did you mean 'finger'"):
        kinematics.frame(model, states(model), "geom", "finge")
    with pytest.raises(UsageError, match="no geom ''"):  # although some have no name
        kinematics.frame(model_of("joints"), states(model_of("joints")), "geom", "")
    with pytest.raises(UsageError, match="kind is 'joint', expected one of body, inertia, geom"):
        kinematics.frame(model, states(model), "joint", "wrist")
