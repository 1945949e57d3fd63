"""Figures are made without pyplot and show what they were given."""

import sys

import numpy as np
import pytest
import torch

from seal_lightning import get_skeleton
from seal_lightning.plotting import plot_comparison, plot_curves, plot_poses

SKELETON = get_skeleton("h36m17")


def bone_lines(axes):
    """The drawn lines of an axes as arrays (2, 3), with their colours."""
    return [(np.array(line.get_data_3d()).T, line.get_color()) for line in axes.lines]


def test_poses_are_drawn_upright_bone_by_bone():
    pose = torch.randn(17, 3)
    (axes,) = plot_poses({"truth": pose}, "h36m17").axes
    lines = bone_lines(axes)
    assert len(lines) == 16
    for (child, parent), (line, _) in zip(SKELETON.bones, lines, strict=True):
        for joint, (x, y, z) in zip((child, parent), line, strict=True):
            # Camera x right, y down, z forward; plot x right, y forward, z up.
            assert (x, -z, y) == pytest.approx(pose[joint].tolist())


def test_left_right_and_centre_have_colours_of_their_own():
    (axes,) = plot_poses({"truth": torch.randn(17, 3)}, SKELETON).axes
    colours = {"left": set(), "right": set(), "centre": set()}
    for (child, _), (_, colour) in zip(SKELETON.bones, bone_lines(axes), strict=True):
        colours["left" if child in SKELETON.left else "right" if child in SKELETON.right else "centre"].add(colour)
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 3


def test_grid_has_a_row_a_pose_and_a_column_an_entry():
    figure = plot_poses({"truth": torch.randn(4, 17, 3), "host": torch.randn(4, 17, 3)}, "h36m17")
    assert len(figure.axes) == 8
    assert [axes.get_title() for axes in figure.axes] == ["truth", "host", *[""] * 6]


def test_poses_are_captioned_rows_named_and_colours_explained():
    poses = {"truth": torch.randn(2, 17, 3), "host": torch.randn(2, 17, 3)}
    figure = plot_poses(
        poses, "h36m17", reference="truth", captions={"host": ["61 mm", "99 mm"]}, rows=["best", "worst"]
    )
    strings = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert strings == [["best"], ["61 mm"], ["worst"], ["99 mm"]]
    (legend,) = figure.legends
    named = {
        text.get_text(): line.get_color() for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert list(named) == ["left", "right", "middle", "truth"]
    drawn = bone_lines(figure.axes[1])
    assert drawn[0][1] == named["truth"]
    for (child, _), (_, colour) in zip(SKELETON.bones, drawn[16:], strict=True):
        side = "left" if child in SKELETON.left else "right" if child in SKELETON.right else "middle"
        assert colour == named[side]


@pytest.mark.parametrize("given", [{"captions": {"a": ["x"]}}, {"rows": ["x", "y", "z"]}])
def test_captions_that_do_not_match_the_poses_are_an_error(given):
    with pytest.raises(ValueError, match=r"Expected one string per pose for '(a|rows)', 2 of them, but got (1|3)"):
        plot_poses({"a": torch.randn(2, 17, 3)}, "h36m17", **given)


def test_axes_have_one_scale_in_all_directions_and_columns():
    poses = {"truth": torch.randn(1, 17, 3), "host": 3 * torch.randn(1, 17, 3)}
    first, second = plot_poses(poses, "h36m17").axes
    limits = [np.diff([axes.get_xlim(), axes.get_ylim(), axes.get_zlim()])[:, 0] for axes in (first, second)]
    assert limits[0] == pytest.approx(limits[1])
    assert limits[0] / first._box_aspect == pytest.approx(limits[0][0] / first._box_aspect[0])
    for axes, pose in zip((first, second), poses.values(), strict=True):
        assert axes.get_xlim()[0] <= pose[..., 0].min()
        assert pose[..., 0].max() <= axes.get_xlim()[1]


def test_reference_stands_behind_the_other_columns():
    truth, host = torch.randn(2, 17, 3), torch.randn(2, 17, 3)
    figure = plot_poses({"truth": truth, "host": host}, "h36m17", reference="truth")
    assert [len(axes.lines) for axes in figure.axes] == [16, 32, 16, 32]
    behind, (line, _) = bone_lines(figure.axes[3])[:16], bone_lines(figure.axes[2])[0]
    assert np.allclose(behind[0][0], line)
    assert len({colour for _, colour in behind}) == 1


def test_poses_that_need_a_gradient_and_a_point_can_be_drawn():
    plot_poses({"a": torch.randn(17, 3, requires_grad=True), "b": torch.zeros(17, 3)}, "h36m17")
    plot_poses({"point": torch.zeros(17, 3, dtype=torch.float16)}, "h36m17").canvas.draw()


@pytest.mark.parametrize(
    ("poses", "got"),
    [
        ({"a": torch.zeros(16, 3)}, r"\[\(16, 3\)\]"),
        ({"a": torch.zeros(17, 3), "b": torch.zeros(1, 17, 3)}, r"\[\(17, 3\), \(1, 17, 3\)\]"),
        ({"a": torch.zeros(2, 2, 17, 3)}, r"\[\(2, 2, 17, 3\)\]"),
        ({}, r"\[\]"),
    ],
)
def test_poses_of_other_shapes_are_an_error(poses, got):
    with pytest.raises(ValueError, match=rf"of one shape \(17, 3\) or \(N, 17, 3\), but got {got}"):
        plot_poses(poses, "h36m17")


def test_unknown_reference_is_an_error():
    with pytest.raises(ValueError, match=r"Expected `reference` to be one of \['a'\], but got 'truth'"):
        plot_poses({"a": torch.zeros(17, 3)}, "h36m17", reference="truth")


def test_curves_show_their_points():
    figure = plot_curves({"energy": {"seed 0": [(0, 1.0), (5, 2.0)], "seed 1": [(0, 3.0)]}, "loss": {"x": [(0, -1.0)]}})
    energy, loss = figure.axes
    assert [line.get_xydata().tolist() for line in energy.lines] == [[[0, 1], [5, 2]], [[0, 3]]]
    assert [text.get_text() for text in energy.get_legend().get_texts()] == ["seed 0", "seed 1"]
    assert (energy.get_title(), loss.get_title(), loss.get_legend()) == ("energy", "loss", None)
    assert energy.get_ylim()[0] == 0
    assert loss.get_ylim()[0] < -1


def test_many_panels_make_a_grid():
    panels = {str(index): {"x": [(0, 0.0)]} for index in range(5)}
    assert plot_curves(panels).axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 3)


def test_no_panel_is_an_error():
    with pytest.raises(ValueError, match="Expected `curves` to hold at least one panel, but got none"):
        plot_curves({})


def test_comparison_is_poses_beside_curves_without_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    poses = {"truth": torch.randn(2, 17, 3), "host": torch.randn(2, 17, 3), "SEAL": torch.randn(2, 17, 3)}
    figure = plot_comparison(poses, {"energy": {"seed 0": [(0, 1.0), (5, 2.0)]}}, "h36m17")
    assert [len(axes.lines) for axes in figure.axes] == [16, 32, 32, 16, 32, 32, 1]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
