"""Views of one image of six bands and 16 bits by torchvision's tensor ops, the jitter band by band: an oracle of test/kernels/augment.test.ts.

One row of parameters a view, as data/view.ts defines them. Run with Debian's python3-torch and python3-torchvision:
  python3 test/golden/bands.py
"""
import math
import numpy as np, torch
import torchvision.transforms.functional as F
import nets

H, W, C, SIZE = 24, 18, 6, 16
WHOLE = [0, 0, H, W]
SAME = [1] * C
BRIGHT = [0.6, 0.8, 1, 1.1, 1.3, 1.6]
CONTRAST = [1.4, 0.5, 1.2, 1, 0.7, 1.1]
# crop, flip, jitter?, four unused, order of the four, grey (unused), sigma, solarise; brightness of each band, contrast of each
ROWS = [
    WHOLE + [0, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0, 0] + SAME + SAME,
    [3, 2, 9, 11, 1, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0, 0] + SAME + SAME,
    WHOLE + [0, 1, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0, 0] + BRIGHT + SAME,
    WHOLE + [0, 1, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0, 0] + SAME + CONTRAST,
    [2, 1, 20, 15, 1, 1, 1, 1, 1, 0, 3, 1, 0, 2, 0, 1.1, 1] + BRIGHT + CONTRAST,
    [5, 0, 14, 17, 0, 1, 1, 1, 1, 0, 0, 2, 1, 3, 1, 0.5, 0] + BRIGHT + CONTRAST,
]

i = np.arange(H * W * C)
pixels = ((i * 2654435761 % 2**32) >> 16).astype(np.uint16).reshape(H, W, C)
image = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 65535

views = []
for row in ROWS:
    top, left, height, width, flip, jitter = row[:6]
    bright, contrast = row[17:17 + C], row[17 + C:]
    x = F.resized_crop(image, top, left, height, width, [SIZE, SIZE], antialias=True)
    if jitter:
        for op in row[10:14]:
            if op == 0:
                x = torch.cat([F.adjust_brightness(x[c:c + 1], bright[c]) for c in range(C)])
            elif op == 1:
                x = torch.cat([F.adjust_contrast(x[c:c + 1], contrast[c]) for c in range(C)])
    if row[15] > 0:
        radius = min(SIZE - 1, math.ceil(3 * row[15]))
        x = F.gaussian_blur(x, [2 * radius + 1] * 2, [row[15]] * 2)
    if row[16]:
        x = torch.where(x >= 127.5 / 255, 1 - x, x)
    if flip:
        x = F.hflip(x)
    views.append(x.permute(1, 2, 0))
nets.save("bands.safetensors", {"rows": torch.tensor(ROWS, dtype=torch.float32), "views": torch.stack(views).contiguous()})
