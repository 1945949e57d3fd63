"""Splits by skeleton."""

from pathlib import Path

import pytest

from seal_lightning.data import MOCAP_SPLIT, MocapDataModule, SyntheticMocap, resolve_split

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


def synthetic(subjects=12):
    return SyntheticMocap(subjects=subjects, clips_per_subject=1, frames=2).generate()


def test_standard_split_is_disjoint_and_complete():
    named = [skeleton for sides in MOCAP_SPLIT.values() for ids in sides.values() for skeleton in ids]
    assert len(named) == len(set(named)) == 20
    assert MOCAP_SPLIT["uiprmd"]["test"] + MOCAP_SPLIT["cmu"]["test"] == ["uS07", "cRpir", "c49"]
    assert MOCAP_SPLIT["uiprmd"]["val"] + MOCAP_SPLIT["cmu"]["val"] == ["uS08", "c13", "c12"]


def test_synthetic_split_by_subject():
    groups = resolve_split("mocap", [synthetic()])
    assert groups["train"] == [f"synthetic/y{i:02d}" for i in range(1, 9)]
    assert groups["val"] == ["synthetic/y09", "synthetic/y10"]
    assert groups["test"] == ["synthetic/y11", "synthetic/y12"]
    few = resolve_split("mocap", [synthetic(3)])
    assert few == {"train": ["synthetic/y01"], "val": ["synthetic/y02"], "test": ["synthetic/y03"]}
    with pytest.raises(ValueError, match=r"Expected at least 3 subjects to split, but got 2\."):
        resolve_split("mocap", [synthetic(2)])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("other", r"`split` to be 'mocap' or lists of skeleton ids, but got 'other'\."),
        ({"train": ["y01"], "dev": ["y02"]}, r"the sides \['train', 'val', 'test'\], but got \['train', 'dev'\]\."),
        ({"val": ["y02"]}, r"at least one skeleton under 'train', but got none\."),
        ({"train": "y01"}, r"lists of the names of skeletons, but got 'y01' under 'train'\."),
        (
            {"train": ["y01"], "test": ["y01"]},
            r"Expected every name once in `split`, but got \['y01'\] more than once\.",
        ),
        ({"train": ["y01", "y99"]}, r"skeletons of the data, \['y01', 'y02', 'y03'\], but got \['y99'\]\."),
    ],
)
def test_wrong_splits(split, message):
    with pytest.raises(ValueError, match=message):
        resolve_split(split, [synthetic(3)])


def test_unknown_dataset_needs_own_lists():
    mocap = synthetic(3)
    object.__setattr__(mocap, "name", "mine")
    with pytest.raises(ValueError, match=r"one of the standard split, \['cmu', 'uiprmd'\], but got 'mine'"):
        resolve_split("mocap", [mocap])


def test_left_out_is_counted():
    data = MocapDataModule(
        synthetic=SyntheticMocap(subjects=4, clips_per_subject=2, frames=3), split={"train": ["y02"], "val": ["y01"]}
    )
    assert data.left_out == {"synthetic/y03": 6, "synthetic/y04": 6}
    assert data.group_names == ["synthetic/y02", "synthetic/y01"]
    data.setup()
    with pytest.raises(ValueError, match=r"`split` to name skeletons under 'test', but got none\."):
        data.test_dataloader()


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real motion capture in ../shared/data")
def test_real_split():
    paths = [str(DATA / f"{name}_h36m17.npz") for name in ("uiprmd", "cmu")]
    data = MocapDataModule(paths)
    data.setup()
    assert data.left_out == {}
    assert len(data.group_names) == len(set(data.group_names)) == 20
    seen = {side: {data.group_names[g] for g in data.dataset(side).clips.group} for side in ("train", "val", "test")}
    assert seen["test"] == {"uiprmd/uS07", "cmu/cRpir", "cmu/c49"}
    assert seen["val"] == {"uiprmd/uS08", "cmu/c13", "cmu/c12"}
    assert len(seen["train"]) == 14
    assert not seen["train"] & (seen["val"] | seen["test"])
    frames = {side: int(data.dataset(side).clips.length.sum()) for side in seen}
    assert frames == {"train": 100_730, "val": 22_523, "test": 19_185}

    alone = MocapDataModule(paths[:1])
    assert alone.groups["test"] == ["uiprmd/uS07"]
    # A clip keeps its evaluation cameras whatever stands beside it.
    both, one = data.dataset("test")[100], alone.dataset("test")[100]
    assert (both["keypoints_2d"] == one["keypoints_2d"]).all()


def test_the_documented_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).resolve().parents[2] / "docs/data.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    exec(compile(example, "data.md", "exec"), {})
    assert capsys.readouterr().out.strip() == example.strip().rsplit("# ")[-1]
