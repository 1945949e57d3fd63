"""SEAL training as public research scripts write it: the reference for the cost of our step.

Not a program of its own: `benchmarks.step` measures it as the row "public way". It is as fast as it can be without
computing anything differently: one process, no logging, and the loss-net frozen while the pose-net takes the gradient
of the energy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seal_lightning.loss_nets import GraphLossNet

__all__ = ["PublicGraphLossNet", "public_step"]


class PublicGraphLossNet(GraphLossNet):
    """The graph loss-net without our two savings.

    Its attention bias is copied for every pose, to shape (B, heads, J + 1, J + 1), and its last block computes all
    tokens although the energy is read from the first one alone.
    """

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return energies (B,) of poses (B, J, 3) given keypoints (B, J, 2 or 3)."""
        keypoints_2d, pose, _ = self.flatten(keypoints_2d, pose)
        batch = len(pose)
        embedding = self.joint_embedding.index_select(0, self.embedding_row).expand(batch, -1, -1)
        joints = self.embed(torch.cat([keypoints_2d, pose, embedding], dim=-1))
        tokens = torch.cat([self.graph_token.expand(batch, 1, -1), joints], dim=1)
        bias = self.attention_bias().expand(batch, -1, -1, -1).contiguous()
        for block in self.blocks:
            heads = block.query_key_value(block.attention_norm(tokens)).chunk(3, dim=-1)
            query, key, value = (part.unflatten(-1, (block.heads, -1)).transpose(1, 2) for part in heads)
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
            tokens = tokens + block.project(attended.transpose(1, 2).flatten(2))
            tokens = tokens + block.mlp(tokens)
        energy: Tensor = self.head(tokens[:, 0])
        return energy


def public_step(
    pose_net: nn.Module, loss_net: nn.Module, batch: dict[str, Tensor], weight: float = 1e-3
) -> Callable[[], None]:
    """Make a function that takes one training step on a fixed batch.

    First the loss-net learns to give the truth an energy that is lower than that of the prediction, by a margin of
    their mean joint distance. Then the pose-net learns from its loss and ``weight`` times the energy of its prediction.
    """
    pose_optimizer = torch.optim.Adam(pose_net.parameters(), lr=1e-4)
    loss_optimizer = torch.optim.Adam(loss_net.parameters(), lr=1e-4)
    keypoints_2d, target = batch["keypoints_2d"], batch["target"]

    def energy(pose: Tensor) -> Tensor:
        # A network that predicts only the centre frame of a window is judged against that frame's keypoints.
        frames = keypoints_2d if pose.dim() == keypoints_2d.dim() else keypoints_2d[:, keypoints_2d.shape[1] // 2]
        scored: Tensor = loss_net(frames.flatten(0, -3), pose.flatten(0, -3))
        return scored

    def step() -> None:
        with torch.no_grad():
            prediction = pose_net(keypoints_2d)
        margin = (prediction - target).norm(dim=-1).mean(-1).flatten()
        ranking = F.relu(margin - energy(prediction) + energy(target)).mean()
        loss_optimizer.zero_grad()
        ranking.backward()  # type: ignore[no-untyped-call]
        loss_optimizer.step()

        prediction = pose_net(keypoints_2d)
        loss_net.requires_grad_(False)  # nobody needs its gradients here
        loss = (prediction - target).norm(dim=-1).mean() + weight * energy(prediction).mean()
        pose_optimizer.zero_grad()
        loss.backward()
        pose_optimizer.step()
        loss_net.requires_grad_(True)

    return step
