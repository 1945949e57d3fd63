"""Pickled arrays are read, and nothing that a pickle asks for is run."""

import builtins
import io
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest

from seal_lightning.data.formats.object_arrays import array_names, read_object


def as_object(value):
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def save(path, payload, name="data", descr="'|O'", shape="()"):
    """Write an npz whose object array is this pickle."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.npy", file.getvalue() + payload)
    return path


def assert_same(one, other):
    assert type(one) is type(other) or (isinstance(one, np.ndarray) and isinstance(other, np.ndarray))
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype.newbyteorder("=")  # NumPy itself swaps the bytes as it unpickles
        if one.dtype == object:
            assert_same(one.tolist(), other.tolist())
        else:
            np.testing.assert_array_equal(one, other)
    else:
        assert one == other


CONTENT = {
    "S1": {"Walking 1": np.arange(24, dtype=np.float32).reshape(2, 4, 3), "big": np.arange(3, dtype=">f8")},
    "views": [np.asfortranarray(np.arange(6).reshape(2, 3)), (np.array([True, False]), None, 1.5, b"raw")],
    "names": np.array(["Hip", "Knee"]),
    "bytes": np.array([b"a", b"bc"]),
    "nested": np.array([{"a": np.zeros(2)}, [1, 2]], dtype=object),
    "numbers": [np.float32(0.25), np.int64(7), np.uint8(3), True],
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_containers_of_arrays_come_back(tmp_path, protocol):
    content = CONTENT if protocol > 2 else {name: value for name, value in CONTENT.items() if name in ("names", "S1")}
    if protocol == 2:  # Python 3 writes bytes in protocol 2 as Python 2 never did: through _codecs
        with pytest.raises(ValueError, match=r"asks for _codecs\.encode"):
            read_object(save(tmp_path / "a.npz", pickle.dumps(as_object(content), protocol=2)), "data")
        return
    path = save(tmp_path / "a.npz", pickle.dumps(as_object(content), protocol=protocol))
    assert_same(read_object(path, "data"), content)


def test_what_numpy_saves(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, data=as_object(CONTENT), plain=np.arange(3), clips=CONTENT["nested"])
    assert_same(read_object(path, "data"), CONTENT)
    assert read_object(path, "plain").tolist() == [0, 1, 2]
    assert type(read_object(path, "clips")) is np.ndarray
    assert array_names(path) == ["data", "plain", "clips"]
    read = read_object(path, "data")["S1"]["Walking 1"]
    read += 1.0  # what is read can be written to


@pytest.mark.parametrize("package", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_both_spellings_of_numpy(tmp_path, package):
    payload = pickle.dumps(as_object({"a": np.arange(3.0)}), protocol=3)
    for written in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        payload = payload.replace(written, package.encode())
    assert package.encode() in payload
    assert read_object(save(tmp_path / "a.npz", payload), "data")["a"].tolist() == [0.0, 1.0, 2.0]


def test_what_python_2_wrote(tmp_path):
    """Its texts are bytes, also as keys and as the raw data of arrays; this is protocol 2 spelled by hand."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    raw = np.array([1.5, -2.0], dtype="<f8").tobytes()
    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"f8")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    start = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + text(b"b") + b"\x87R"
    array = start + b"(K\x01K\x02\x85" + dtype + b"\x89" + text(raw) + b"tb"
    objects = (
        b"cnumpy\ndtype\n"
        + text(b"O8")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
    )
    outer = start + b"(K\x01)" + objects + b"\x89](}" + text("é".encode("latin1")) + array + b"s" + b"etb"
    read = read_object(save(tmp_path / "a.npz", b"\x80\x02" + outer + b"."), "data")
    assert list(read) == ["é"]
    assert read["é"].tolist() == [1.5, -2.0]


class Runs:
    """Pickles as a call."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def marked(tmp_path):
    return tmp_path / "ran"


ATTACKS = {
    "os.system": lambda mark: Runs(os.system, f"touch {mark}"),
    "subprocess": lambda mark: Runs(subprocess.getoutput, f"touch {mark}"),
    "eval": lambda mark: Runs(builtins.eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Runs(builtins.exec, f"open({str(mark)!r}, 'w')"),
    "getattr": lambda mark: Runs(builtins.getattr, "text", "format"),
    "open": lambda mark: Runs(builtins.open, str(mark), "w"),
    "numpy.save": lambda mark: Runs(np.save, str(mark), np.zeros(1)),
    "numpy.load": lambda mark: Runs(np.load, str(mark), None, True),
    "numpy.fromfile": lambda mark: Runs(np.fromfile, "/etc/hostname", "u1"),
    "numpy.memmap": lambda mark: Runs(np.memmap, str(mark), "u1", "w+", 0, (4,)),
    "nested": lambda mark: {"S1": {"Walking": [np.zeros(2), (1, Runs(os.system, f"touch {mark}"))]}},
    "in an array": lambda mark: np.array([1, Runs(os.system, f"touch {mark}")], dtype=object),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_run(tmp_path, attack, protocol):
    mark = marked(tmp_path)
    payload = pickle.dumps(as_object(ATTACKS[attack](mark)), protocol=protocol)
    with pytest.raises(ValueError, match=r"a\.npz, array 'data': .*which could run code\. It is refused\."):
        read_object(save(tmp_path / "a.npz", payload), "data")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npz"]


def test_the_refused_name_is_told(tmp_path):
    path = save(tmp_path / "poses.npz", pickle.dumps(Runs(os.system, "true")), name="positions_3d")
    with pytest.raises(
        ValueError, match=rf"poses\.npz, array 'positions_3d': .* asks for {os.system.__module__}\.system"
    ):
        read_object(path, "positions_3d")


# Pickles by hand, of what no pickler writes: G pushes a global, R calls, b sets a state.
NDARRAY, DTYPE, MAKE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n"
SHELL = MAKE + NDARRAY + b"K\x00\x85C\x01b\x87R"


def of_type(code, state=b""):
    return DTYPE + b"X" + len(code).to_bytes(4, "little") + code + b"\x85R" + state


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        # An object array whose pointers are given as bytes would be read from wherever they point to.
        (SHELL + b"(K\x01K\x01\x85" + of_type(b"O8") + b"\x89C\x08AAAAAAAAtb", "has -1 values or bytes"),
        # An array larger than its bytes would show what else is in memory.
        (SHELL + b"(K\x01M\xff\xff\x85" + of_type(b"f8") + b"\x89C\x08AAAAAAAAtb", "has 8 values or bytes"),
        (SHELL + b"(K\x01J\xff\xff\xff\xff\x85" + of_type(b"f8") + b"\x89C\x08AAAAAAAAtb", "the shape"),
        (SHELL + b"(K\x01K\x01\x85K\x05\x89C\x08AAAAAAAAtb", "or the type of an array is not one"),
        (SHELL + b"K\x05b", "Expected a readable array"),
        (of_type(b"V8"), "the type 'V8' of an array is none of numbers"),
        (of_type(b"f8,O"), "the type 'f8,O' of an array is none of numbers"),
        (of_type(b"M8"), "the type 'M8' of an array is none of numbers"),
        (of_type(b"f8", b"(K\x03X\x01\x00\x00\x00<K\x01NNK\x00K\x00K?tb"), "the type of an array has parts"),
        (of_type(b"f8"), "Expected an array, but got a _Type"),
        (NDARRAY + b"K\x05\x85R", "the pickle makes an array in another way"),
        (MAKE + DTYPE + b"K\x00\x85C\x01b\x87R", "the pickle makes something else than an array"),
        (b"cnumpy.core.multiarray\nscalar\n" + of_type(b"f8") + b"C\x01a\x86R", "does not have the bytes of its type"),
        (b"cnumpy.core.multiarray\nscalar\n" + of_type(b"O8") + b"K\x01\x86R", "does not have the bytes of its type"),
        # A name that may be used must not be changed.
        (MAKE + b"}X\x05\x00\x00\x00_callNsb", "Expected a readable array, but .*__dict__"),
        (
            MAKE + b"N}X\x05\x00\x00\x00_callNs\x86b",
            "Expected a readable array, but the pickle changes an attribute of NumPy",
        ),
        (
            MAKE + b"N}X\x09\x00\x00\x00__class__Ns\x86b",
            "Expected a readable array, but the pickle changes an attribute of NumPy",
        ),
        (NDARRAY + b")\x81", "Expected a readable array|NEWOBJ"),
        (b"Pid\n", "persistent"),
        (b"\x82\x01", "extension code|unregistered"),
    ],
)
def test_hand_made_pickles_are_refused(tmp_path, payload, text):
    with pytest.raises(ValueError, match=text):
        read_object(save(tmp_path / "a.npz", b"\x80\x04" + payload + b"."), "data")


def test_damaged_files(tmp_path):
    whole = tmp_path / "whole.npz"
    np.savez(whole, data=as_object({"a": np.zeros(100)}))
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"cut\.npz: Expected an npz file, but it cannot be read as one"):
        read_object(tmp_path / "cut.npz", "data")
    payload = pickle.dumps(as_object({"a": np.zeros(100)}))
    with pytest.raises(ValueError, match=r"short\.npz, array 'data'"):
        read_object(save(tmp_path / "short.npz", payload[:-50]), "data")
    with pytest.raises(ValueError, match=r"whole\.npz: Expected an array 'positions_3d', but got \['data'\]"):
        read_object(whole, "positions_3d")
    with pytest.raises(FileNotFoundError, match="Expected a file at"):
        read_object(tmp_path / "none.npz", "data")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("data.npy", b"not an array")
    with pytest.raises(ValueError, match=r"text\.npz, array 'data': Expected a readable array"):
        read_object(tmp_path / "text.npz", "data")
    with zipfile.ZipFile(tmp_path / "new.npz", "w") as archive:
        archive.writestr("data.npy", b"\x93NUMPY\x07\x00" + b" " * 64)
    with pytest.raises(ValueError, match="version"):
        read_object(tmp_path / "new.npz", "data")


def test_version_2_headers(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array(file, as_object({"a": 1}), version=(2, 0), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", file.getvalue())
    assert read_object(tmp_path / "a.npz", "data") == {"a": 1}
