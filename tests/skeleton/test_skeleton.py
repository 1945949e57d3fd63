"""Built-in skeletons, derived quantities against an own reference, and every way to be wrong."""

import pickle
import re
from itertools import product

import numpy as np
import pytest
import torch

from seal_lightning import SealLoss, Skeleton, get_skeleton

BODIES = ["h36m17", "mpi_inf_3dhp17", "coco17", "h3wb133", "smpl24", "openpose25", "plug_in_gait39"]
NAMES = [*BODIES, "hand21"]


def chain(skeleton, joint):
    ancestors = [joint]
    while skeleton.parents[ancestors[-1]] != -1:
        ancestors.append(skeleton.parents[ancestors[-1]])
    return ancestors


@pytest.mark.parametrize("name", NAMES)
def test_built_in(name):
    skeleton = get_skeleton(name)
    joints = int("".join(filter(str.isdigit, name.split("_")[-1][-3:])) or 0)
    markers = name == "plug_in_gait39"  # between the joints, too
    assert skeleton.num_joints == len(skeleton.parents) == joints
    assert len(skeleton.bones) == joints - 1
    assert all(skeleton.parents[child] == parent for child, parent in skeleton.bones)
    lengths = [4] * 5 if name == "hand21" else [5 if markers else 3] * 4
    assert [len(limb) for limb in skeleton.limbs] == lengths
    assert len(skeleton.limb_bones) == len(lengths)
    assert all(
        {*skeleton.bones[bone]} <= {*limb}
        for limb, bones in zip(skeleton.limbs, skeleton.limb_bones, strict=True)
        for bone in bones
    )


@pytest.mark.parametrize("name", NAMES)
def test_hops_are_tree_distances(name):
    skeleton = get_skeleton(name)
    for i, j in product(range(0, skeleton.num_joints, 3), range(0, skeleton.num_joints, 5)):
        up_i, up_j = chain(skeleton, i), chain(skeleton, j)
        meeting = next(joint for joint in up_i if joint in up_j)
        assert skeleton.hops[i, j] == up_i.index(meeting) + up_j.index(meeting)


@pytest.mark.parametrize("name", BODIES)
def test_left_and_right_mirror_the_tree_and_the_names(name):
    skeleton = get_skeleton(name)
    assert len(skeleton.paired_bones) >= 6
    for left, right in skeleton.paired_bones:
        child_left, child_right = skeleton.bones[left][0], skeleton.bones[right][0]
        assert skeleton.partners[child_left] == child_right
        assert skeleton.partners[skeleton.parents[child_left]] == skeleton.parents[child_right]
        names = skeleton.names[child_left], skeleton.names[child_right]
        if not names[0].startswith("face"):
            assert names[1] in (names[0].replace("left", "right"), "R" + names[0][1:])
    assert all(skeleton.partners[skeleton.partners[joint]] == joint for joint in range(skeleton.num_joints))


def test_parents_come_before_children_in_order():
    for name in NAMES:
        skeleton = get_skeleton(name)
        place = {joint: i for i, joint in enumerate(skeleton.order)}
        assert sorted(skeleton.order) == list(range(skeleton.num_joints))
        assert all(place[parent] < place[child] for child, parent in skeleton.bones)


def test_h36m17_has_the_six_pairs_of_the_definitions():
    skeleton = get_skeleton("h36m17")
    left = [skeleton.names[skeleton.bones[bone][0]] for bone, _ in skeleton.paired_bones]
    assert left == ["LHip", "LKnee", "LAnkle", "LShoulder", "LElbow", "LWrist"]


def test_whole_body_groups_and_face_mirror():
    skeleton = get_skeleton("h3wb133")
    assert skeleton.names[0] == "nose"
    assert (skeleton.names[23], skeleton.names[90]) == ("face_0", "face_67")
    assert (skeleton.names[91], skeleton.names[112]) == ("left_hand_root", "right_hand_root")
    assert len(skeleton.left) == 8 + 3 + 29 + 21
    assert skeleton.partners[23 + 36] == 23 + 45  # outer corners of the eyes
    assert skeleton.partners[23 + 48] == 23 + 54  # corners of the mouth
    assert skeleton.partners[23 + 8] == 23 + 8  # the chin
    assert skeleton.parents[91] == 9
    assert skeleton.parents[112] == 10


def test_every_joint_with_a_side_in_its_name_has_a_partner():
    for name in ("smpl24", "openpose25", "coco17"):
        skeleton = get_skeleton(name)
        sides = {joint for joint, label in enumerate(skeleton.names) if re.match("left_|right_|[LR][A-Z]", label)}
        assert sides == {*skeleton.left, *skeleton.right}, name


def limbs_by_name(skeleton):
    return [" ".join(skeleton.names[joint] for joint in limb) for limb in skeleton.limbs]


def parents_by_name(skeleton):
    return {skeleton.names[child]: skeleton.names[parent] for child, parent in skeleton.bones}


def test_smpl24_by_name():
    skeleton = get_skeleton("smpl24")
    assert limbs_by_name(skeleton)[1] == "right_hip right_knee right_ankle"
    assert limbs_by_name(skeleton)[2] == "left_shoulder left_elbow left_wrist"
    above = parents_by_name(skeleton)
    chain = ["left_hand", "left_wrist", "left_elbow", "left_shoulder", "left_collar", "spine3", "spine2", "spine1"]
    assert [above[joint] for joint in chain] == [*chain[1:], "pelvis"]
    assert (above["head"], above["neck"], above["right_foot"]) == ("neck", "spine3", "right_ankle")


def test_openpose25_by_name():
    skeleton = get_skeleton("openpose25")
    assert limbs_by_name(skeleton)[0] == "LShoulder LElbow LWrist"
    above = parents_by_name(skeleton)
    assert (above["Neck"], above["Nose"], above["REar"], above["LHip"]) == ("MidHip", "Neck", "REye", "MidHip")
    assert (above["LHeel"], above["LSmallToe"], above["RBigToe"]) == ("LAnkle", "LBigToe", "RAnkle")
    assert skeleton.names[skeleton.tree_root] == "MidHip"


def test_hand21_by_name():
    skeleton = get_skeleton("hand21")
    assert skeleton.names[:6] == ("wrist", "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip", "index_mcp")
    assert skeleton.names[17:] == ("pinky_mcp", "pinky_pip", "pinky_dip", "pinky_tip")
    above = parents_by_name(skeleton)
    assert (above["ring_tip"], above["ring_dip"], above["ring_mcp"]) == ("ring_dip", "ring_pip", "wrist")
    assert limbs_by_name(skeleton)[1] == "index_mcp index_pip index_dip index_tip"
    assert skeleton.paired_bones == ()


@pytest.mark.parametrize("name", NAMES)
def test_an_energy_trains_on_every_built_in(name):
    skeleton = get_skeleton(name)
    criterion = SealLoss(name)
    truth = torch.randn(4, skeleton.num_joints, 3)
    prediction, keypoints = (truth + 0.1).requires_grad_(), truth[..., :2].clone()
    criterion.ranking_loss(prediction, truth, keypoints).backward()
    criterion(prediction, truth, keypoints).backward()
    assert (prediction.grad != 0).any()
    assert all(parameter.grad is not None for parameter in criterion.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("h36m17", (0,)),
        ("mpi_inf_3dhp17", (14,)),
        ("coco17", (11, 12)),
        ("smpl24", (0,)),
        ("openpose25", (8,)),
        ("hand21", (0,)),
    ],
)
def test_alignment_root(name, root):
    assert get_skeleton(name).root_joints == root


def test_from_parents_and_a_root_of_several_joints():
    skeleton = Skeleton.from_parents([-1, 0, 0], ["a", "b", "c"], left=[1], right=[2], root=[1, 2], limbs=[[0, 1]])
    assert skeleton == Skeleton(("a", "b", "c"), (-1, 0, 0), (1,), (2,), (1, 2), ((0, 1),))
    assert skeleton.root_joints == (1, 2)
    assert skeleton.tree_root == 0
    assert hash(skeleton) == hash(pickle.loads(pickle.dumps(skeleton)))


def test_a_tree_rooted_at_one_of_a_pair_has_no_bone_to_compare():
    skeleton = Skeleton.from_parents([-1, 0, 0, 1], left=[0, 2], right=[1, 3])
    assert skeleton.paired_bones == ((1, 2),)


def test_a_single_joint():
    skeleton = Skeleton.from_parents([-1])
    assert skeleton.bones == ()
    assert torch.equal(skeleton.hops, torch.zeros(1, 1, dtype=torch.long))


def test_hops_stay_on_the_cpu():
    with torch.device("meta"):
        assert Skeleton.from_parents([-1, 0]).hops.tolist() == [[0, 1], [1, 0]]


def test_frozen():
    with pytest.raises(AttributeError):
        get_skeleton("h36m17").root = 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ()}, r"Expected `names` to be one different name per joint, but got \(\)"),
        ({"names": ("a", "a", "b")}, "Expected `names` to be one different name per joint"),
        ({"parents": (-1, 0)}, "Expected `parents` to hold 3 indices, one per name, but got 2"),
        ({"parents": (-1, 0, 3)}, r"Expected `parents` to be joint indices below 3 or -1, but got \(-1, 0, 3\)"),
        ({"parents": (-1, 0, -2)}, "Expected `parents` to be joint indices below 3 or -1"),
        ({"parents": (-1, 0, 0.5)}, "Expected `parents` to be joint indices below 3 or -1"),
        ({"parents": (-1, -1, 0)}, r"exactly one tree root \(-1\), but got 2: \[0, 1\]"),
        ({"parents": (1, 2, 0)}, r"exactly one tree root \(-1\), but got 0: \[\]"),
        ({"parents": (-1, 2, 1)}, "Expected `parents` to be a tree, but joint 1 runs into a cycle"),
        ({"parents": (-1, 0, 2)}, "Expected `parents` to be a tree, but joint 2 runs into a cycle"),
        ({"left": (1,)}, "Expected `left` and `right` to have the same length, but got 1 and 0"),
        ({"left": (3,), "right": (1,)}, r"Expected `left` to hold joint indices from 0 to 2, but got \(3,\)"),
        ({"left": (1, 1), "right": (2, 0)}, "Expected `left` to hold every joint once"),
        (
            {"left": (1, 2), "right": (2, 1)},
            r"Expected `left` and `right` to be disjoint, but both hold joints \[1, 2\]",
        ),
        (
            {"parents": (-1, 0, 1), "left": (1,), "right": (2,)},
            "to mirror the tree, but 'b' hangs from 'a' and its partner",
        ),
        ({"root": 3}, r"Expected `root` to hold joint indices from 0 to 2, but got \(3,\)"),
        ({"root": ()}, "Expected `root` to be a joint or several joints, but got an empty sequence"),
        ({"limbs": ((1, 2),)}, r"Expected every limb to be a chain of bones of the tree, but got \(1, 2\)"),
        ({"limbs": ((1,),)}, r"Expected every limb to be a chain of bones of the tree, but got \(1,\)"),
        ({"limbs": ((1, 7),)}, "Expected `limbs` to hold joint indices from 0 to 2"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Skeleton(**({"names": ("a", "b", "c"), "parents": (-1, 0, 0)} | arguments))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("h36m", "h36m17"),
        ("H36M17", "h36m17"),
        ("human36m", "h36m17"),
        ("smpl", "smpl24"),
        ("SMPL-24", "smpl24"),
        ("openpose", "openpose25"),
        ("hand", "hand21"),
        ("coco", "coco17"),
        ("mpi_inf_3dhp", "mpi_inf_3dhp17"),
        ("h3wb", "h3wb133"),
    ],
)
def test_unknown_name_says_what_may_be_meant(name, meant):
    message = rf"Expected `skeleton` to be one of \['coco17', .*\], but got '{name}'\. Did you mean '{meant}'\?"
    with pytest.raises(ValueError, match=message):
        get_skeleton(name)


@pytest.mark.parametrize("name", ["nobody", "", 17, None, ["h36m17"]])
def test_a_name_like_no_other_gets_no_hint(name):
    with pytest.raises(ValueError, match=r"Expected `skeleton` to be one of \['coco17', .*\], but got .*\.$"):
        get_skeleton(name)


def test_integers_of_numpy_are_integers():
    """Parents often come out of a file."""
    parents, pair = np.array([-1, 0, 0, 1, 2]), np.array([1, 3])
    limbs = np.array([[0, 1, 3], [0, 2, 4]])
    skeleton = Skeleton.from_parents(parents, left=pair, right=pair + 1, root=np.int64(0), limbs=limbs)
    assert skeleton == Skeleton.from_parents([-1, 0, 0, 1, 2], left=(1, 3), right=(2, 4), root=0, limbs=limbs.tolist())
    numbers = [*skeleton.parents, *skeleton.left, *skeleton.right, skeleton.root, *skeleton.limbs[1]]
    assert {type(number) for number in numbers} == {int}


@pytest.mark.parametrize(
    "arguments", [{"parents": (-1, False, 0)}, {"left": (True,), "right": (2,)}, {"root": (True,)}]
)
def test_booleans_are_no_joints(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=rf"Expected `{name}` to (be|hold) joint indices .*, but got \(.*(True|False)"):
        Skeleton(**({"names": ("a", "b", "c"), "parents": (-1, 0, 0)} | arguments))


LEGS = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT RightLeg
  {
    OFFSET -1 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -4 0
    }
  }
  JOINT LeftLeg
  {
    CHANNELS 3 Zrotation Xrotation Yrotation
    OFFSET 1 0 0
    End Site
    {
      OFFSET 0 -4 0
    }
  }
}
"""


def test_from_bvh(tmp_path):
    path = tmp_path / "legs.bvh"
    path.write_text(LEGS)
    skeleton = Skeleton.from_bvh(path)
    names = ("Hips", "RightLeg", "RightLeg_end", "LeftLeg", "LeftLeg_end")
    assert skeleton == Skeleton(names, (-1, 0, 1, 0, 3), left=(3, 4), right=(1, 2))
    assert Skeleton.from_bvh(str(path)).paired_bones == ((2, 0), (3, 1))
    path.write_text(LEGS + "MOTION\nFrames: nonsense\n")
    assert Skeleton.from_bvh(path) == skeleton


def test_from_bvh_names_file_and_line(tmp_path):
    path = tmp_path / "legs.bvh"
    path.write_text(LEGS.replace("OFFSET 1 0 0", "OFFSET 1 0 x"))
    with pytest.raises(ValueError, match=r"legs\.bvh, line 18: Expected a finite number, but got 'x'\."):
        Skeleton.from_bvh(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.bvh"):
        Skeleton.from_bvh(tmp_path / "absent.bvh")


def test_a_pickle_holds_the_fields_alone():
    skeleton = get_skeleton("h36m17")
    assert skeleton.hops.shape == (17, 17)  # made when it is first asked for, and kept
    again = pickle.loads(pickle.dumps(skeleton))
    assert set(vars(again)) == {"names", "parents", "left", "right", "root", "limbs"}
    assert again == skeleton
    assert torch.equal(again.hops, skeleton.hops)
