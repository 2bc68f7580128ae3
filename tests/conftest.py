"""Shape annotations are checked in the numerical rooms while the tests run."""

from jaxtyping import install_import_hook

install_import_hook(
    [f"armillary.{room}" for room in ("nets", "dynamics", "objectives", "planners", "agents")],
    "beartype.beartype",
)
