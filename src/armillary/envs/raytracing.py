"""mujoco-warp's ray tracer on the CPU: images without any OpenGL library.

mujoco-warp draws geoms only. MuJoCo's pictures also have sites (the finger's target) and tendons
(the string of the cup), and they are smooth: its textures are mipmaps and its edges are sampled
four times. So a second model is drawn here, a flat list of everything that is visible, whose
places are copied from the simulation before each image.

What is still missing beside OpenGL: the floor's faint reflections, transparency (what is less than
half opaque is left out), the slack of a string, and skins (the dog is drawn as what is under it).
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from armillary.envs.kernels import ensure_cache

if TYPE_CHECKING:
    import mujoco

_GROUPS = (0, 1, 2)
"""The groups that MuJoCo draws by default."""

_SAMPLES = 2
"""Rays for each pixel, along each side: OpenGL's are drawn with 4 samples too."""

_TEXTURE = 128
"""Side to which larger textures are reduced: the level of a mipmap that 64 pixels show."""


class WarpRenderer:
    """Draws one camera of a MuJoCo model by ray tracing, like `OpenGLRenderer`."""

    backend = "warp"

    def __init__(self, model: mujoco.MjModel, camera: int, size: int) -> None:
        with _silent():
            import mujoco_warp
            import warp
        ensure_cache(warp.config.version)
        with _silent():
            warp.config.log_level = warp.LOG_WARNING
            warp.init()
        self._mjw = mujoco_warp
        self._model, self._camera, self._size = model, camera, size
        self._cpu = warp.get_device("cpu")
        self._device = warp.ScopedDevice
        self._scene = _Scene(model, camera)
        self._build()

    def _build(self) -> None:
        with self._device(self._cpu):
            self._drawn = self._mjw.put_model(self._scene.model)
            self._state = self._mjw.make_data(self._scene.model)
            self._context = self._mjw.create_render_context(
                self._scene.model,
                cam_res=(self._size, self._size),
                render_rgb=True,
                render_depth=False,
                render_seg=False,
                use_shadows=True,
                shadow_light_fraction=0.0,
                render_skybox=True,
                samples_per_pixel=_SAMPLES,
            )
        packed = self._context.rgb_data.numpy().view(np.uint8)
        self._pixels = packed.reshape(self._size, self._size, 4)[..., 2::-1]
        # On the CPU these are views of the arrays that are drawn: writing to them is enough.
        self._into = {
            name: getattr(self._state, name).numpy()[0]
            for name in (
                "geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir"
            )
        } | {
            name: getattr(self._drawn, name).numpy()[0]
            for name in ("geom_size", "geom_rgba", "mat_rgba")
        }  # fmt: skip

    def upload(self) -> None:
        """Takes over height fields that changed in the model."""
        if self._scene.take_height_fields():
            self._build()

    def render(self, data: mujoco.MjData) -> UInt8[np.ndarray, "size size 3"]:
        """Returns a new image of the state."""
        self._scene.place(data, self._into)
        with self._device(self._cpu):
            self._mjw.refit_bvh(self._drawn, self._state, self._context)
            self._mjw.render(self._drawn, self._state, self._context)
        return np.ascontiguousarray(self._pixels)

    def device(self) -> str:
        """Returns what draws."""
        return "ray tracing on the CPU"

    def close(self) -> None:
        """Nothing to free: the arrays go with the object."""


class _Scene:
    """What is visible of a model, as a model of geoms without any joint."""

    def __init__(self, source: mujoco.MjModel, camera: int) -> None:
        import mujoco

        self._source, self._camera = source, camera
        # Under a skin, the shapes of the next group too, so that the body is seen at all.
        groups = (*_GROUPS, 3) if source.nskin else _GROUPS
        self._geoms = np.flatnonzero(np.isin(source.geom_group, groups))
        self._sites = np.flatnonzero(np.isin(source.site_group, _GROUPS))
        self._tendons = np.flatnonzero(np.isin(source.tendon_group, _GROUPS))
        # A path has at most two points for each of its parts.
        self._segments = 2 * int(source.tendon_num[self._tendons].sum())
        spec = mujoco.MjSpec()
        for i in range(source.ntex):
            _add_texture(spec, source, i)
        for i in range(2 * source.nmat):
            spec.add_material(name=f"material{i}")
        for i in range(source.nmesh):
            _add_mesh(spec, source, i)
        for i in range(source.nhfield):
            rows, columns = int(source.hfield_nrow[i]), int(source.hfield_ncol[i])
            spec.add_hfield(
                name=f"hfield{i}",
                nrow=rows,
                ncol=columns,
                size=source.hfield_size[i],
                userdata=np.zeros(rows * columns, np.float32),
            )
        for i in self._geoms.tolist():
            kind, asset = int(source.geom_type[i]), int(source.geom_dataid[i])
            geom = spec.worldbody.add_geom(type=kind, size=source.geom_size[i])
            if kind == mujoco.mjtGeom.mjGEOM_HFIELD:
                geom.hfieldname = f"hfield{asset}"
            elif kind in (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_SDF):
                geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_MESH, f"mesh{asset}"
        for i in self._sites.tolist():
            spec.worldbody.add_geom(type=source.site_type[i], size=source.site_size[i])
        for _ in range(self._segments):
            spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.01, 0.01, 0])
        for _ in range(source.nlight):
            spec.worldbody.add_light()
        spec.worldbody.add_camera()
        self.model = spec.compile()
        self._copy()

    def _copy(self) -> None:
        """Copies what the compiler was only given places for."""
        import mujoco

        source, model = self._source, self.model
        for name in (
            "active", "ambient", "attenuation", "castshadow", "cutoff", "diffuse", "exponent",
            "specular", "type",
        ):  # fmt: skip
            getattr(model, f"light_{name}")[:] = getattr(source, f"light_{name}")
        for name in ("fovy", "intrinsic", "projection", "sensorsize"):
            getattr(model, f"cam_{name}")[0] = getattr(source, f"cam_{name}")[self._camera]
        for name in ("emission", "rgba", "shininess", "specular", "texid", "texrepeat"):
            getattr(model, f"mat_{name}")[:] = np.concatenate([getattr(source, f"mat_{name}")] * 2)
        model.mat_texuniform[:] = np.concatenate([source.mat_texuniform] * 2)
        # OpenGL lights a plane at its few vertices, where no highlight falls: its materials, the
        # second half, do not shine.
        model.mat_specular[source.nmat :] = 0
        material = np.concatenate(
            [
                source.geom_matid[self._geoms],
                source.site_matid[self._sites],
                np.full(self._segments, -1),
            ]
        )
        plane = (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & (material >= 0)
        model.geom_matid[:] = np.where(plane, material + source.nmat, material)
        for name in ("mesh_vert", "mesh_normal"):
            getattr(model, name)[:] = getattr(source, name)
        self.take_height_fields()
        for name in ("ambient", "diffuse", "specular"):
            getattr(model.vis.headlight, name)[:] = getattr(source.vis.headlight, name)
        model.vis.headlight.active = source.vis.headlight.active
        model.vis.map.znear, model.vis.map.zfar = source.vis.map.znear, source.vis.map.zfar
        model.stat.extent = source.stat.extent

    def take_height_fields(self) -> bool:
        """Copies the height fields; returns whether they had changed."""
        if np.array_equal(self.model.hfield_data, self._source.hfield_data):
            return False
        self.model.hfield_data[:] = self._source.hfield_data
        return True

    def place(self, data: mujoco.MjData, into: dict[str, np.ndarray]) -> None:
        """Writes the places, sizes and colours of a state into the arrays that are drawn."""
        source, geoms, sites = self._source, self._geoms, self._sites
        a, b = len(geoms), len(geoms) + len(sites)
        into["geom_xpos"][:a] = data.geom_xpos[geoms]
        into["geom_xmat"][:a] = data.geom_xmat[geoms].reshape(-1, 3, 3)
        into["geom_size"][:a] = source.geom_size[geoms]
        into["geom_rgba"][:a] = _opaque(source.geom_rgba[geoms])
        if a < b:
            into["geom_xpos"][a:b] = data.site_xpos[sites]
            into["geom_xmat"][a:b] = data.site_xmat[sites].reshape(-1, 3, 3)
            into["geom_size"][a:b] = source.site_size[sites]
            into["geom_rgba"][a:b] = _opaque(source.site_rgba[sites])
        if self._segments:
            self._place_tendons(data, {k: v[b:] for k, v in into.items() if k.startswith("geom")})
        into["mat_rgba"][:] = np.concatenate([_opaque(source.mat_rgba)] * 2)
        into["cam_xpos"][0] = data.cam_xpos[self._camera]
        into["cam_xmat"][0] = data.cam_xmat[self._camera].reshape(3, 3)
        into["light_xpos"][:] = data.light_xpos
        into["light_xdir"][:] = data.light_xdir

    def _place_tendons(self, data: mujoco.MjData, into: dict[str, np.ndarray]) -> None:
        """Draws each straight piece of a tendon as a capsule."""
        into["geom_rgba"][:, 3] = 0
        source, slot = self._source, 0
        path = data.wrap_xpos.reshape(-1, 3)
        for tendon in self._tendons:
            start = data.ten_wrapadr[tendon]
            points = path[start : start + data.ten_wrapnum[tendon]]
            material = source.tendon_matid[tendon]
            rgba = source.mat_rgba[material] if material >= 0 else source.tendon_rgba[tendon]
            for first, second in itertools.pairwise(points):
                length = float(np.linalg.norm(second - first))
                if length == 0:
                    continue
                into["geom_xpos"][slot] = (first + second) / 2
                into["geom_xmat"][slot] = _frame((second - first) / length)
                into["geom_size"][slot] = source.tendon_width[tendon], length / 2, 0
                into["geom_rgba"][slot] = _opaque(rgba)
                slot += 1


def _add_texture(spec: mujoco.MjSpec, source: mujoco.MjModel, index: int) -> None:
    """Adds a texture, reduced as far as its pixels would be in a mipmap."""
    from PIL import Image

    width, height = int(source.tex_width[index]), int(source.tex_height[index])
    channels, start = int(source.tex_nchannel[index]), int(source.tex_adr[index])
    pixels = source.tex_data[start : start + width * height * channels]
    pixels = pixels.reshape(height, width, channels)
    if channels in (3, 4) and width > _TEXTURE:
        # Cubes are six square faces, one below the other.
        faces = [pixels] if height == width else np.split(pixels, max(1, height // width))
        side = (_TEXTURE, max(1, _TEXTURE * faces[0].shape[0] // width))
        pixels = np.concatenate(
            [np.asarray(Image.fromarray(f).resize(side, Image.Resampling.BOX)) for f in faces]
        )
    texture = spec.add_texture(name=f"texture{index}", type=source.tex_type[index])
    texture.height, texture.width, texture.nchannel = pixels.shape
    texture.data = pixels.tobytes()


def _add_mesh(spec: mujoco.MjSpec, source: mujoco.MjModel, index: int) -> None:
    import mujoco

    def part(name: str, address: str, number: str) -> np.ndarray:
        start = int(getattr(source, address)[index])
        return getattr(source, name)[start : start + int(getattr(source, number)[index])]

    spec.add_mesh(
        name=f"mesh{index}",
        uservert=part("mesh_vert", "mesh_vertadr", "mesh_vertnum").ravel(),
        usernormal=part("mesh_normal", "mesh_normaladr", "mesh_normalnum").ravel(),
        userface=part("mesh_face", "mesh_faceadr", "mesh_facenum").ravel(),
        userfacenormal=part("mesh_facenormal", "mesh_faceadr", "mesh_facenum").ravel(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )


def _opaque(rgba: np.ndarray) -> np.ndarray:
    """Makes colours invisible that are less than half opaque."""
    return np.where(rgba[..., 3:] < 0.5, 0, rgba) if np.min(rgba, initial=1) < 0.5 else rgba


def _frame(axis: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Returns a rotation whose third column is the unit vector `axis`."""
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    first = np.cross(helper, axis)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(axis, first), axis], axis=1)


@contextmanager
def _silent() -> Iterator[None]:
    """Silences what a native library prints: Warp tells every machine without a GPU so."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
