"""Arrays mapped from npz files: what they hold, how they travel, what is refused, and what memory they take."""

import os
import pickle
import re
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from seal_lightning.data import MocapDataModule, SyntheticMocap, read_mocap
from seal_lightning.data.formats._memory_map import MappedArray, load_npz_mapped, npz_names

PLAIN = st.sampled_from(["<f4", ">f8", "<i8", "u1", "?", "<U3", "<c8"])


@settings(max_examples=40)
@given(
    array=PLAIN.flatmap(
        lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=5))
    ),
    fortran=st.booleans(),
    packed=st.booleans(),
)
def test_whatever_numpy_saves_comes_back(tmp_path_factory, array, fortran, packed):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    array = np.asfortranarray(array) if fortran and array.ndim else array
    (np.savez_compressed if packed else np.savez)(path, first=np.arange(3), array=array)
    found = load_npz_mapped(path)
    assert list(found) == npz_names(path) == ["first", "array"]
    np.testing.assert_array_equal(found["array"], array)
    assert (found["array"].dtype, found["array"].shape) == (array.dtype, array.shape)
    assert isinstance(found["array"], MappedArray) == (not packed and array.size > 0)
    copied = pickle.loads(pickle.dumps(found["array"]))
    np.testing.assert_array_equal(copied, array)


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "a.npz", big=np.arange(60_000, dtype=np.float32).reshape(100, 200, 3), other=np.ones(4))
    return tmp_path / "a.npz"


def test_wanted_arrays_only(path):
    assert list(load_npz_mapped(path, ["other"])) == ["other"]
    message = "Expected the arrays ['big', 'third'], but ['third'] are missing; got ['big', 'other']; docs/data.md"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_npz_mapped(path, ["big", "third"])


def test_mapped_arrays_cannot_be_written(path):
    array = load_npz_mapped(path)["big"]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0.0


@pytest.mark.parametrize(
    ("part", "mapped"),
    [
        (np.s_[:], True),
        (np.s_[30:70], True),
        (np.s_[99], True),
        (np.s_[5, 7:9], True),
        (np.s_[:, 3], False),
        (np.s_[::2], False),
        (np.s_[[3, 1]], False),
    ],
)
def test_a_pickle_names_the_place(path, part, mapped):
    """Contiguous parts are opened again where they lie; only what cannot be is copied."""
    array = load_npz_mapped(path)["big"]
    expected = np.arange(60_000, dtype=np.float32).reshape(100, 200, 3)[part]
    written = pickle.dumps(array[part])
    again = pickle.loads(written)
    np.testing.assert_array_equal(again, expected)
    assert isinstance(again, MappedArray) == mapped
    assert (len(written) < 400) == mapped
    if mapped:
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)), expected)


def test_a_file_that_changed_is_not_opened_again(path):
    written = pickle.dumps(load_npz_mapped(path)["big"])
    os.utime(path, ns=(0, 0))
    with pytest.raises(ValueError, match=r"a\.npz' to be as it was when it was opened, but it has changed since\."):
        pickle.loads(written)


def test_results_are_ordinary(path):
    array = load_npz_mapped(path)["big"]
    for result in (array + 1, array[[0, 1]], np.isfinite(array), array.mean(axis=0), np.sqrt(array)):
        assert type(result) is np.ndarray
    assert isinstance(array.max(), np.float32)
    assert isinstance(array[0, 0, 0], np.float32)
    assert array.sum(dtype=np.float64) == np.arange(60_000).sum()


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "o.npz", fine=np.ones(2), bad=np.array([{}], dtype=object))
    assert load_npz_mapped(tmp_path / "o.npz", ["fine"])["fine"].tolist() == [1.0, 1.0]
    with pytest.raises(
        ValueError, match=r"Expected to read the array `bad`, .*pickled Python objects.*read_object` reads"
    ):
        load_npz_mapped(tmp_path / "o.npz")


def test_broken_files(tmp_path, path):
    with pytest.raises(FileNotFoundError, match=r"Expected a file at '.*none\.npz', but there is none\."):
        load_npz_mapped(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("positions")
    with pytest.raises(ValueError, match="Expected an npz file, but it cannot be read as one"):
        npz_names(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match="Expected an npz file with named arrays, but got a single array"):
        npz_names(tmp_path / "one.npy")
    damaged = bytearray(path.read_bytes())
    damaged[-10] ^= 0xFF  # where the archive says that its list of members lies
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"Expected (an npz file, but it|to read the array)"):
        load_npz_mapped(tmp_path / "damaged.npz")
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive, zipfile.ZipFile(path) as whole:
        archive.writestr("big.npy", whole.read("big.npy")[:-8])
        archive.writestr("junk.npy", b"nothing")
    with pytest.raises(
        ValueError, match=r"the array `big`, .* \(Expected 240000 bytes after its header, but got 23999"
    ):
        load_npz_mapped(tmp_path / "short.npz", ["big"])
    with pytest.raises(ValueError, match="Expected to read the array `junk`, but it cannot be read"):
        load_npz_mapped(tmp_path / "short.npz", ["junk"])


def test_rare_headers_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "new.npz", "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array(file, np.arange(3), version=(3, 0))
    assert load_npz_mapped(tmp_path / "new.npz")["a"].tolist() == [0, 1, 2]


def save(path, **changes):
    mocap = SyntheticMocap(subjects=3, clips_per_subject=2, frames=20).generate()
    content = {name: getattr(mocap, name) for name in ("positions", "clip_start", "clip_length", "skeleton_id", "fps")}
    np.savez(path, **content | changes)
    return path


def test_motion_stays_on_disk_and_gives_the_same_batches(tmp_path):
    path, packed = save(tmp_path / "mine_a.npz"), tmp_path / "mine_b.npz"
    with np.load(path) as archive:
        np.savez_compressed(packed, **archive)
    mocap = read_mocap(path)
    assert isinstance(mocap.positions, MappedArray)
    assert isinstance(mocap.clip(1), MappedArray)
    assert type(read_mocap(packed).positions) is np.ndarray
    assert type(mocap.clip_start) is np.ndarray
    split = {"train": ["y01"], "test": ["y02", "y03"]}
    for frames in (1, 9):
        on_disk, in_memory = (MocapDataModule([str(p)], split=split, frames=frames) for p in (path, packed))
        for side in ("train", "test"):
            one, other = on_disk.dataset(side), in_memory.dataset(side)
            assert isinstance(one.clips.sources[0], MappedArray)
            indices = list(range(len(one)))
            for name, values in one.__getitems__(indices).items():
                assert values.equal(other.__getitems__(indices)[name])
            assert one.clips.positions.equal(other.clips.positions)
            assert len(pickle.dumps(one)) < len(pickle.dumps(other)) / 2
            again = pickle.loads(pickle.dumps(one))
            assert again.__getitems__([1, 3])["target"].equal(one.__getitems__([1, 3])["target"])


def test_positions_of_another_type_are_converted_in_memory(tmp_path):
    positions = read_mocap(save(tmp_path / "a_1.npz")).positions
    double = read_mocap(save(tmp_path / "b_1.npz", positions=positions.astype(np.float64)))
    assert double.positions.dtype == np.float32
    np.testing.assert_array_equal(double.positions, positions)


def test_spawned_workers_open_the_file_themselves(tmp_path):
    data = MocapDataModule([str(save(tmp_path / "mine_a.npz"))], split={"train": ["y01", "y02", "y03"]}, num_workers=2)
    loader = data.train_dataloader()
    loader.multiprocessing_context = "spawn"
    alone = MocapDataModule(data.paths, split=data.split).train_dataloader()
    for one, other in zip(loader, alone, strict=True):
        assert all(one[name].equal(other[name]) for name in one)


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_DATA, which counts private memory on Linux alone")
def test_a_file_may_be_larger_than_the_memory_it_is_read_with(tmp_path):
    """An epoch over 60 MB of positions with 12 MB to spare, in which the file does not load."""
    clip = SyntheticMocap(subjects=3, clips_per_subject=1, frames=100).generate()
    repeats = 1000
    np.savez(
        tmp_path / "large_1.npz",
        positions=np.concatenate([clip.positions] * repeats),
        clip_start=np.arange(3 * repeats) * 100,
        clip_length=np.full(3 * repeats, 100),
        skeleton_id=np.tile(clip.skeleton_id, repeats),
        fps=25.0,
    )
    program = """
        import resource, sys
        import numpy as np, torch
        from seal_lightning.data import MocapDataModule, SyntheticMocap
        def module(**source):
            return MocapDataModule(split={"train": ["y01", "y02", "y03"]}, batch_size=512, train_frame_step=3, **source)
        for batch in module(synthetic=SyntheticMocap(subjects=3, clips_per_subject=8, frames=300)).train_dataloader():
            pass  # the libraries take what they need once
        used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (used + 12_000_000,) * 2)
        frames = 0
        for batch in module(paths=[sys.argv[1]]).train_dataloader():
            frames += len(batch["target"])
        print(frames)
        try:
            np.load(sys.argv[1])["positions"]
        except MemoryError:
            print("too large")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "large_1.npz")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["101888", "too large"]
