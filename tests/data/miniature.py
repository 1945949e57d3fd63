"""Writes Human3.6M, MPI-INF-3DHP and H3WB in little, in the layout of the public files: bodies that move, and noise.

Every body stands about a true pelvis and has plausible limbs, so that whatever checks units and joints is content.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from seal_lightning.data.views.human36m_cameras import human36m_cameras
from seal_lightning.skeleton import get_skeleton

H36M_32 = [joint for joint in range(32) if joint not in (4, 5, 9, 10, 11, 16, 20, 21, 22, 23, 24, 28, 29, 30, 31)]
H36M_ACTIONS = ("Directions", "Directions 1", "Walking 1", "SittingDown 2")
SCREEN_3DHP = {"TS5": (1920, 1080), "TS6": (1920, 1080)}


def write_human36m(folder, *, frames=12, actions=H36M_ACTIONS, detector="cpn_ft_h36m_dbb", seed=0):
    """Write ``data_3d_h36m.npz``, and keypoints, projected and detected; every second clip has some to spare."""
    random = np.random.default_rng(seed)
    positions, projected, detected = {}, {}, {}
    for subject in ("S1", "S5", "S6", "S7", "S8", "S9", "S11"):
        positions[subject], projected[subject], detected[subject] = {}, {}, {}
        for number, action in enumerate(actions):
            if (subject, action) == ("S11", "Directions"):
                continue
            world = upright(walking(random, "h36m17", frames))
            full = random.normal(size=(frames, 32, 3))
            full[:, H36M_32] = world / 1000.0
            positions[subject][action] = full.astype(np.float32)
            views = [camera.project(camera.to_camera(world)) for camera in human36m_cameras(subject)]
            spare = [np.concatenate([view, view[-1:].repeat(number % 2, axis=0)]) for view in views]
            projected[subject][action] = [view.astype(np.float32) for view in spare]
            detected[subject][action] = [
                (view + random.normal(scale=4.0, size=view.shape)).astype(np.float32) for view in spare
            ]
    skeleton = get_skeleton("h36m17")
    symmetry = [list(skeleton.left), list(skeleton.right)]
    metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": symmetry}
    folder = Path(folder)
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=as_object(positions))
    for name, keypoints in (("gt", projected), (detector, detected)):
        arrays = {"positions_2d": as_object(keypoints), "metadata": as_object(metadata)}
        np.savez_compressed(folder / f"data_2d_h36m_{name}.npz", **arrays)


def write_mpi_inf_3dhp(folder, *, frames=10, cameras=("0", "8"), seed=0):
    """Write ``data_train_3dhp.npz`` and ``data_test_3dhp.npz``; every third test frame is not valid."""
    random = np.random.default_rng(seed)

    def clip(size):
        pose = walking(random, "mpi_inf_3dhp17", frames) + np.array((100.0, -50.0, 3500.0))
        pixels = pinhole(pose, focal=1500.0 * size[0] / 2048, size=size)
        return {"data_2d": pixels.astype(np.float32), "data_3d": pose.astype(np.float32)}

    train = {
        f"S{subject} Seq{sequence}": [{camera: clip((2048, 2048)) for camera in cameras}, 25 * sequence]
        for subject in range(1, 9)
        for sequence in (1, 2)
    }
    valid = (np.arange(frames) % 3 > 0).astype(np.uint8)
    test = {
        name: clip(SCREEN_3DHP.get(name, (2048, 2048))) | {"valid": valid} for name in (f"TS{i}" for i in range(1, 7))
    }
    np.savez_compressed(Path(folder) / "data_train_3dhp.npz", data=as_object(train))
    np.savez_compressed(Path(folder) / "data_test_3dhp.npz", data=as_object(test))


def write_h3wb(folder, *, frames=6, form="npz", pictures=True, spelling="keypoints", test_poses=True, seed=0):
    """Write the training and the test file, in the form "npz" or "json"."""
    random = np.random.default_rng(seed)
    folder, sizes = Path(folder), {"54138969": (1000, 1002), "55011271": (1000, 1000)}
    subjects = {}
    for subject in ("S1", "S5", "S6", "S7", "S8"):
        subjects[subject] = {}
        for action in ("Waiting 1", "WalkingDog"):
            entry = {
                "global_3d": random.normal(size=(frames, 133, 3)),
                "frame_id": [f"{75 + 5 * i:04}" for i in range(frames)],
            }
            for camera, size in sizes.items():
                pose = walking(random, "h3wb133", frames) + np.array((0.0, 0.0, 4500.0))
                pixels = pinhole(pose, focal=1145.0, size=size)
                entry[camera] = {"camera_3d": pose, "pose_2d": pixels, "sample_id": np.arange(frames)}
            subjects[subject][action] = entry
    train, test = {name: subjects[name] for name in ("S1", "S5", "S6", "S7")}, {"S8": subjects["S8"]}
    if form == "npz":
        metadata = {"num_joints": 133, "body": list(range(1, 18))}
        np.savez_compressed(folder / "h3wb_train.npz", train_data=as_object(train), metadata=as_object(metadata))
        np.savez_compressed(folder / "task1_test_3d.npz", data=as_object(test))
        return
    (folder / "2Dto3D_train.json").write_text(json.dumps(as_samples(train, sizes, pictures, spelling, poses=True)))
    name = "2Dto3D_test_3d.json" if test_poses else "2Dto3D_test_2d.json"
    (folder / name).write_text(json.dumps(as_samples(test, sizes, pictures, spelling, poses=test_poses)))


def as_samples(subjects, cameras, pictures, spelling, *, poses):
    """The json form: a dict of dicts for every sample."""
    samples = {}
    for subject, actions in subjects.items():
        for action, entry in actions.items():
            for camera in cameras:
                for frame, (pixels, pose) in enumerate(
                    zip(entry[camera]["pose_2d"].tolist(), entry[camera]["camera_3d"].tolist(), strict=True)
                ):
                    sample = {
                        f"{spelling}_2d": {str(j): dict(zip("xy", xy, strict=True)) for j, xy in enumerate(pixels)}
                    }
                    if poses:
                        sample[f"{spelling}_3d"] = {
                            str(j): dict(zip("xyz", xyz, strict=True)) for j, xyz in enumerate(pose)
                        }
                    if pictures:
                        sample["image_path"] = f"{subject}_{action.replace(' ', '_')}.{camera}_{75 + 5 * frame:06}.jpg"
                    sample["bbox"] = {"x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4}
                    samples[str(len(samples))] = sample
    return samples


def walking(random, skeleton, frames):
    """A body (T, J, 3) in millimetres about its pelvis, x right, y down, z away; it turns and sways."""
    skeleton = get_skeleton(skeleton)
    rest = np.zeros((skeleton.num_joints, 3))
    limbs = {joint for limb in skeleton.limbs for joint in limb}
    for joint in outwards(skeleton.parents):
        if (parent := skeleton.parents[joint]) >= 0:
            way = random.normal(size=3)
            length = 250.0 if joint in limbs and parent in limbs else 20.0 if skeleton.num_joints > 99 else 120.0
            rest[joint] = rest[parent] + length * way / np.linalg.norm(way)
    rest -= rest[list(skeleton.root_joints)].mean(axis=0)
    angle = 0.1 * np.arange(frames)[:, None]
    sway = 5.0 * np.sin(np.arange(frames)[:, None, None] + random.uniform(0.0, 6.0, size=(1, skeleton.num_joints, 3)))
    body = rest + sway
    x, z = body[..., 0].copy(), body[..., 2].copy()
    body[..., 0] = np.cos(angle) * x - np.sin(angle) * z
    body[..., 2] = np.sin(angle) * x + np.cos(angle) * z
    return body


def outwards(parents):
    """Every joint after its parent."""
    order = [parents.index(-1)]
    for joint in order:
        order += [child for child, parent in enumerate(parents) if parent == joint]
    return order


def upright(body):
    """The same in a world whose z points up, at the height of a pelvis."""
    return np.stack((body[..., 0], body[..., 2], 900.0 - body[..., 1]), axis=-1)


def pinhole(pose, *, focal, size):
    """Pixels (T, J, 2) of a camera without distortion."""
    return focal * pose[..., :2] / pose[..., 2:] + np.array(size) / 2.0


def as_object(value):
    """An object array without dimensions, as `numpy.savez` makes of a dict."""
    array = np.empty((), dtype=object)
    array[()] = value
    return array
