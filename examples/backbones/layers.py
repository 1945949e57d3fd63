"""What several backbones share: the check of their input, and the transformer's parts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DropPath", "SelfAttention", "TransformerBlock", "check_keypoints", "mlp", "odd_prime_factors"]


def check_keypoints(keypoints_2d: Tensor, *sizes: int) -> None:
    """Raise unless the keypoints have shape (B, *sizes).

    Args:
        keypoints_2d: Keypoints as given to a backbone.
        sizes: Sizes expected after the batch dimension: frames (of a window), joints, channels.

    Raises:
        ValueError: If the shape differs.
    """
    if keypoints_2d.shape[1:] != sizes:
        expected = ", ".join(map(str, sizes))
        raise ValueError(f"Expected `keypoints_2d` to have shape (B, {expected}), but got {tuple(keypoints_2d.shape)}.")


def odd_prime_factors(frames: int) -> list[int]:
    """Prime factors of an odd number of frames, ascending: the groups in which a window is merged into its centre.

    Raises:
        ValueError: If `frames` is even or below 3.

    Example:
        >>> odd_prime_factors(45)
        [3, 3, 5]
    """
    if frames < 3 or frames % 2 == 0:
        raise ValueError(f"Expected `frames` to be odd and at least 3, but got {frames}.")
    factors, factor = [], 3
    while frames > 1:
        while frames % factor == 0:
            factors.append(factor)
            frames //= factor
        factor += 2
    return factors


def mlp(dim: int, hidden: int) -> nn.Sequential:
    """Two linear layers with a GELU between them."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): in training a residual branch is left out for whole rows of tokens.

    Args:
        probability: Probability that a row goes without the branch; in the other rows it is scaled up to keep the mean.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Drop rows of a branch (..., N, dim), each as a whole."""
        if not self.training or self.probability == 0:
            return branch
        kept = 1 - self.probability
        rows = torch.full((*branch.shape[:-2], 1, 1), kept, dtype=branch.dtype, device=branch.device)
        return branch * rows.bernoulli() / kept


class SelfAttention(nn.Module):
    """Multi-head self-attention between tokens.

    Args:
        dim: Width of a token.
        heads: Number of heads; divides the width.
        bias: Whether queries, keys and values have a bias.
        dropout: Probability that an attention weight is dropped in training.

    Raises:
        ValueError: If `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"Expected `heads` to divide the width {dim}, but got {heads}.")
        self.heads, self.dropout = heads, dropout
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=bias)
        self.output = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Let each of N tokens (..., N, dim) attend to all of its row."""
        rows = self.query_key_value(tokens.flatten(0, -3)).unflatten(-1, (3, self.heads, -1))
        query, key, value = rows.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.output(mixed.transpose(1, 2).flatten(2)).view(tokens.shape)


class TransformerBlock(nn.Module):
    """Self-attention, then an MLP, each behind a layer norm and around a residual connection.

    Args:
        dim: Width of a token.
        heads: Number of attention heads.
        mlp_ratio: Width of the MLP's hidden layer, as a multiple of `dim`.
        drop_path: Probability of stochastic depth.
        eps: Epsilon of the layer norms.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 2.0, drop_path: float = 0.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.attention = SelfAttention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim, eps=eps)
        self.mlp = mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (..., N, dim); attention runs over N."""
        tokens = tokens + self.drop_path(self.attention(self.attention_norm(tokens)))
        return tokens + self.drop_path(self.mlp(self.mlp_norm(tokens)))
