"""What is visible of a MuJoCo model, as a model that mujoco-warp can draw.

mujoco-warp draws geoms only. MuJoCo's pictures also have sites (the finger's target) and tendons
(the string of the cup), and they are smooth: its textures are mipmaps and its edges are sampled
four times. So a second model is drawn, a flat list of everything that is visible, whose places are
copied from the simulator before each image.

What is still missing beside OpenGL: the floor's faint reflections, transparency (what is less than
half opaque is left out), the slack of a string, and skins (the dog is drawn as what is under it).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    import mujoco

POSES = (
    "geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "cam_xpos", "cam_xmat", "light_xpos",
    "light_xdir", "wrap_xpos", "ten_wrapadr", "ten_wrapnum",
)  # fmt: skip
"""What of a simulator's data says where everything is."""

LOOKS = ("geom_size", "geom_rgba", "site_size", "site_rgba", "mat_rgba")
"""What of a model may change between two images."""

Arrays = Mapping[str, np.ndarray]
"""Arrays by MuJoCo's names, with a leading axis of worlds."""

_GROUPS = (0, 1, 2)
"""The groups that MuJoCo draws by default."""

_TEXTURE = 128
"""Side to which larger textures are reduced: the level of a mipmap that 64 pixels show."""


class Scene:
    """What is visible of a model, as a model of geoms without any joint.

    Args:
        source: the model.
        camera: the number of the camera that sees it.

    Attributes:
        model: the scene's own model, to be drawn after `place`.
    """

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

    def place(self, poses: Arrays, looks: Arrays, into: Arrays) -> None:
        """Writes the places, sizes and colours of states into the arrays that are drawn.

        Args:
            poses: `POSES` of each world's simulator.
            looks: `LOOKS` of each world's model, or of the one that all have.
            into: what is drawn, by the names of the scene's own model and data.
        """
        geoms, sites = self._geoms, self._sites
        a, b = len(geoms), len(geoms) + len(sites)
        into["geom_xpos"][:, :a] = poses["geom_xpos"][:, geoms]
        into["geom_xmat"][:, :a] = poses["geom_xmat"][:, geoms].reshape(-1, a, 3, 3)
        into["geom_size"][:, :a] = looks["geom_size"][:, geoms]
        into["geom_rgba"][:, :a] = _opaque(looks["geom_rgba"][:, geoms])
        if a < b:
            into["geom_xpos"][:, a:b] = poses["site_xpos"][:, sites]
            into["geom_xmat"][:, a:b] = poses["site_xmat"][:, sites].reshape(-1, b - a, 3, 3)
            into["geom_size"][:, a:b] = looks["site_size"][:, sites]
            into["geom_rgba"][:, a:b] = _opaque(looks["site_rgba"][:, sites])
        if self._segments:
            tendons = {name: x[:, b:] for name, x in into.items() if name.startswith("geom")}
            for world in range(len(into["geom_xpos"])):
                self._place_tendons(
                    {name: x[world] for name, x in poses.items()},
                    looks["mat_rgba"][world % len(looks["mat_rgba"])],
                    {name: x[world] for name, x in tendons.items()},
                )
        into["mat_rgba"][:] = np.concatenate([_opaque(looks["mat_rgba"])] * 2, axis=1)
        into["cam_xpos"][:, 0] = poses["cam_xpos"][:, self._camera]
        into["cam_xmat"][:, 0] = poses["cam_xmat"][:, self._camera].reshape(-1, 3, 3)
        into["light_xpos"][:] = poses["light_xpos"]
        into["light_xdir"][:] = poses["light_xdir"]

    def _place_tendons(self, poses: Arrays, colours: np.ndarray, into: Arrays) -> None:
        """Draws each straight piece of a tendon of one world as a capsule."""
        into["geom_rgba"][:, 3] = 0
        source, slot = self._source, 0
        path = poses["wrap_xpos"].reshape(-1, 3)
        for tendon in self._tendons:
            start = poses["ten_wrapadr"][tendon]
            points = path[start : start + poses["ten_wrapnum"][tendon]]
            material = source.tendon_matid[tendon]
            rgba = colours[material] if material >= 0 else source.tendon_rgba[tendon]
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
