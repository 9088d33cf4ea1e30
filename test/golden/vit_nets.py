"""Vision Transformers in PyTorch with timm's names, as facebookresearch/moco-v3's vits.py makes them: what vit_forward.py and
the goldens of MoCo v3 share. Every part is written out by its definition; vit_forward.py holds it against torchvision's.
"""
import math
import torch, torch.nn as nn, torch.nn.functional as F


def sincos(width, grid, token, temperature=10000.0):
    """build_2d_sincos_position_embedding of vits.py: [1,T,C]."""
    w, h = torch.meshgrid(torch.arange(grid, dtype=torch.float64), torch.arange(grid, dtype=torch.float64), indexing="ij")
    omega = 1.0 / temperature ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    out_w, out_h = (torch.einsum("m,d->md", v.flatten(), omega) for v in (w, h))
    rows = torch.cat([out_w.sin(), out_w.cos(), out_h.sin(), out_h.cos()], 1)[None]
    return torch.cat([torch.zeros(1, 1, width, dtype=torch.float64), rows], 1) if token else rows


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        p = (q @ k.transpose(-2, -1) / math.sqrt(c // self.heads)).softmax(-1)
        return self.proj((p @ v).transpose(1, 2).reshape(n, t, c))


class TokenNorm(nn.BatchNorm1d):
    """Batch norm over all tokens: of ViT-BN."""

    def forward(self, x):
        return super().forward(x.flatten(0, 1)).view_as(x)


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        z = self.fc1(x)
        return self.fc2(z * 0.5 * (1 + torch.erf(z / math.sqrt(2))))


class Block(nn.Module):
    def __init__(self, width, heads, batch):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2, self.mlp = TokenNorm(width) if batch else nn.LayerNorm(width, eps=1e-6), Mlp(width)

    def forward(self, x, keep=(1, 1)):
        x = x + self.attn(self.norm1(x)) * keep[0]
        return x + self.mlp(self.norm2(x)) * keep[1]


class PatchEmbed(nn.Module):
    def __init__(self, patch, width, conv):
        super().__init__()
        if not conv:
            self.proj = nn.Conv2d(3, width, patch, patch)
            return
        layers, channels = [], 3
        for i in range(4):
            to = width // 2 ** (3 - i)
            layers += [nn.Conv2d(channels, to, 3, 2, 1, bias=False), nn.BatchNorm2d(to), nn.ReLU()]
            channels = to
        self.proj = nn.Sequential(*layers, nn.Conv2d(width, width, 1))

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Vit(nn.Module):
    """position: sincos, learned or none; pool: token or mean. Gives features."""

    def __init__(self, side, patch, width, depth, heads, position="sincos", pool="token", conv=False, batch=False,
                 freeze=False):
        super().__init__()
        self.pool, grid = pool, side // patch
        self.patch_embed = PatchEmbed(patch, width, conv)
        token = pool == "token"
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if token else None
        if position == "none":
            self.pos_embed = None
        else:
            self.pos_embed = nn.Parameter(sincos(width, grid, token).to(torch.get_default_dtype()), position == "learned")
        self.blocks = nn.Sequential(*(Block(width, heads, batch) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        for p in self.patch_embed.parameters():
            p.requires_grad = not freeze

    def tokens(self, x):
        x = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        return x if self.pos_embed is None else x + self.pos_embed

    def pooled(self, x):
        x = self.norm(x)
        return x[:, 0] if self.pool == "token" else x.mean(1)

    def forward(self, x, keep=None):
        """keep: of each residual branch a factor for each image, [2 * depth, N]."""
        x = self.tokens(x)
        for i, block in enumerate(self.blocks):
            x = block(x) if keep is None else block(x, keep[2 * i:2 * i + 2, :, None, None])
        return self.pooled(x)

    def last_blocks(self, x, count):
        """Features of the last blocks side by side, as DINO's eval_linear.py has them: [N, count * C]."""
        x, features = self.tokens(x), []
        for block in self.blocks:
            x = block(x)
            features.append(self.pooled(x))
        return torch.cat(features[-count:], 1)
