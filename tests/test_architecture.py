"""The direction of the imports, as the README draws it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import snnbreg

PACKAGE = Path(snnbreg.__file__).parent

# package: (our packages it may import, libraries besides the standard one that it may import)
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "functional": (set(), {"torch"}),
    "kernels": ({"functional"}, {"torch", "numpy", "numba", "llvmlite", "triton"}),
    "models": ({"functional", "kernels"}, {"torch", "snntorch"}),
    "optim": (set(), {"torch"}),
    "schedulers": (set(), {"torch"}),
    "admm": ({"optim"}, {"torch"}),  # regularisers
    "audio": (set(), {"numpy", "scipy", "numba", "soundfile", "h5py", "tqdm"}),
    "datasets": (set(), {"torch", "numpy", "h5py", "scipy", "tonic", "snntorch"}),
    "runs": (set(), {"torch", "numpy", "yaml", "filelock"}),
    "training": ({"functional", "runs"}, {"torch", "numpy", "tqdm", "wandb", "wandb_workspaces"}),
    "deploy": ({"models", "functional"}, {"torch", "numpy", "numba", "nir"}),
    "analysis": ({"runs"}, {"torch", "numpy", "matplotlib"}),
    "assembly": (
        {"admm", "datasets", "deploy", "models", "optim", "runs", "schedulers", "training"},
        {"torch", "numpy", "hydra", "omegaconf"},
    ),
    "commands": (
        {"analysis", "assembly", "audio", "datasets", "deploy", "models", "runs", "training"},
        {"torch", "numpy", "hydra", "omegaconf", "optuna", "yaml"},
    ),
}


def imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever in the file."""
    package = ["snnbreg", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def test_every_package_is_in_the_table() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert packages == set(ALLOWED)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_the_table_allows(package: str) -> None:
    packages, libraries = ALLOWED[package]
    for path in (PACKAGE / package).rglob("*.py"):
        for name in imports(path):
            top, *rest = name.split(".")
            if top == "snnbreg":
                assert not rest or rest[0] in packages | {package}, f"{path} imports {name}"
            else:
                assert top in sys.stdlib_module_names | libraries, f"{path} imports {name}"


@pytest.mark.parametrize("package", ["optim", "models", "schedulers"])
def test_importing_a_package_needs_torch_alone(package: str) -> None:
    heavy = ["hydra", "omegaconf", "tonic", "wandb", "matplotlib", "snntorch", "numba", "h5py"]
    code = f"import sys, snnbreg.{package}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
