"""Positions of a ViT on other grids, as timm's resample_abs_pos_embed makes them: bicubic with antialiasing.

Run with Debian's python3-torch:  python3 test/golden/positions.py
"""
import torch, torch.nn.functional as F
import nets

WIDTH = 3
torch.manual_seed(0)
out = {}
for before, after in ((4, 8), (8, 4), (7, 6), (14, 9), (5, 1), (1, 4)):
    grid = torch.randn(1, before, before, WIDTH)
    resized = F.interpolate(grid.permute(0, 3, 1, 2), size=(after, after), mode="bicubic", antialias=True)
    out[f"{before}-{after}.from"] = grid.reshape(-1, WIDTH)
    out[f"{before}-{after}.to"] = resized.permute(0, 2, 3, 1).reshape(-1, WIDTH).contiguous()
nets.save("positions.safetensors", out)
