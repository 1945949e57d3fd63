"""The shape of the package: which room may import which, what an import loads, and what the wheel holds.

A room is a sub-package, or a module at the top level of the package.
"""

import ast
import configparser
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import seal_lightning

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "seal_lightning"

# From the ground up: a room imports only from rooms on lower floors, so no two rooms can import each other.
FLOORS = (
    ("_distributed", "_extras", "_lazy", "_values", "_version"),
    ("skeleton",),
    ("data", "functional", "loss_nets", "negatives", "plotting"),
    ("metrics", "objectives"),
    ("loss",),
    ("training",),
    ("constraints", "error_estimate"),
    ("evaluation",),
    ("callbacks",),
    ("cli",),
)
DATA_FLOORS = (("windows",), ("formats", "views"), ("datasets",), ("datamodules",))


def imports(path):
    """Yield the modules of this package that a file imports, even inside functions, but not under `TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("seal_lightning")):
            assert node.level == 0, f"{path} imports relatively"
            for name in node.names if id(node) not in skipped else ():
                yield f"{node.module}.{name.name}" if node.module.count(".") < 1 else node.module


def check_floors(folder, name, floors):
    height = {room: floor for floor, rooms in enumerate(floors) for room in rooms}
    found = {path.stem if path.is_file() else path.name for path in folder.iterdir() if path.suffix in ("", ".py")}
    assert found - {"__init__", "__pycache__"} == set(height)
    depth = name.count(".") + 1
    for path in folder.rglob("*.py"):
        if path == folder / "__init__.py":
            continue
        room = path.relative_to(folder).with_suffix("").parts[0]
        others = {module.split(".")[depth] for module in imports(path) if module.startswith(f"{name}.")}
        above = {other for other in others - {room} if height[other] >= height[room]}
        assert not above, f"{path.relative_to(ROOT)} of `{room}` imports {above}, which is not below it"


def test_a_room_imports_only_rooms_below_it():
    check_floors(PACKAGE, "seal_lightning", FLOORS)


def test_no_room_reaches_into_a_private_module_of_another():
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seal_lightning."):
                _, room, *inner = node.module.split(".")
                names = (*inner, *(alias.name for alias in node.names))
                private = [name for name in names if name.startswith("_") and not name.endswith("__")]
                assert room == own or not private, f"{path.relative_to(ROOT)} imports {private} of `{room}`"


def test_formats_views_datasets_and_datamodules_stand_on_each_other():
    check_floors(PACKAGE / "data", "seal_lightning.data", DATA_FLOORS)


def test_setup_lists_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = setup["options"]["packages"].split()
    in_tree = [".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")]
    assert listed == sorted([*in_tree, "seal_lightning.examples"])


def run(code, *, cwd=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_alone_loads_nothing_heavy():
    loaded = run("import sys, seal_lightning; print(*sys.modules)").split()
    assert not {"torch", "numpy", "lightning", "torchmetrics", "jsonargparse", "wandb", "matplotlib"} & set(loaded)


ROOMS = sorted(path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py") and path.stem[0] not in "_.")


def test_every_room_is_an_attribute():
    assert run(f"import seal_lightning as s; print(*(getattr(s, room).__name__ for room in {ROOMS}))").split() == [
        f"seal_lightning.{room}" for room in ROOMS
    ]
    assert {*ROOMS, *seal_lightning.__all__} <= set(dir(seal_lightning))
    with pytest.raises(AttributeError, match="module 'seal_lightning' has no attribute 'SealLos'"):
        seal_lightning.SealLos  # noqa: B018


@pytest.mark.parametrize("name", ["seal_lightning", "seal_lightning.data", "seal_lightning.training"])
def test_lazy_names_are_all_there(name):
    package = importlib.import_module(name)
    assert {getattr(package, public) is not None for public in package.__all__} == {True}
    assert set(package.__all__) <= set(dir(package))


BLOCKED = """
import sys
for name in {names}:
    sys.modules[name] = None  # an import of it fails from now on
"""
TRAIN = """
import torch
from seal_lightning import SealLoss
criterion = SealLoss("h36m17")
prediction, truth = torch.randn(4, 17, 3, requires_grad=True), torch.randn(4, 17, 3)
keypoints = torch.randn(4, 17, 2)
criterion.ranking_loss(prediction, truth, keypoints).backward()
criterion(prediction, truth, keypoints).backward()
assert prediction.grad.abs().sum() > 0
import seal_lightning.functional, seal_lightning.loss_nets, seal_lightning.objectives, seal_lightning.negatives
"""
METRICS = """
from lightning_utilities.core import imports
imports.RequirementCache.__bool__ = lambda self: False  # what torchmetrics asks before it imports matplotlib
import torch
from seal_lightning.metrics import PoseMetrics
metrics = PoseMetrics("h36m17", unit="mm")
metrics.update(torch.randn(2, 17, 3), torch.randn(2, 17, 3))
metrics.compute()
"""
HOST = """
import torch, pytorch_lightning
from seal_lightning import SealConfig, SealMixin

class Lifter(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(34, 51)
    def training_step(self, batch, batch_idx):
        return (self.net(batch[0]) - batch[1]).abs().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

class SealLifter(SealMixin, Lifter):
    pass

batches = torch.utils.data.DataLoader([(torch.randn(4, 34), torch.randn(4, 51))], batch_size=None)
trainer = pytorch_lightning.Trainer(max_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu")
model = SealLifter(seal=SealConfig())
trainer.fit(model, batches)
assert model.seal.stats
"""


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (TRAIN, ["lightning", "pytorch_lightning", "torchmetrics", "jsonargparse", "wandb", "matplotlib", "scipy"]),
        (METRICS, ["lightning", "pytorch_lightning", "jsonargparse", "wandb", "matplotlib", "scipy"]),
        ("from seal_lightning.data import read_bvh, read_amc", ["lightning", "torchmetrics", "jsonargparse"]),
        (HOST, ["lightning", "jsonargparse", "wandb"]),
    ],
    ids=["SealLoss", "metrics", "readers", "SealMixin"],
)
def test_works_where_a_package_cannot_be_imported(code, names):
    run(BLOCKED.format(names=names) + code)


def test_a_users_own_folder_named_lightning_is_not_ours_to_import(tmp_path):
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning" / "__init__.py").write_text("raise RuntimeError('the folder of the user')")
    run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + HOST, cwd=tmp_path)
