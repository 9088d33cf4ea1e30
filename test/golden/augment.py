"""Views of one image by torchvision's tensor ops: the oracle of test/augment.test.ts.

One row of parameters a view, as data/view.ts defines them. Run with Debian's python3-torch and python3-torchvision:
  python3 test/golden/augment.py
"""
import math
import numpy as np, torch
import torchvision.transforms.functional as F
import nets

H, W, SIZE = 24, 18, 16
WHOLE = [0, 0, H, W]
# crop, flip, jitter?, brightness, contrast, saturation, hue, order of the four, grey (1 after jitter, 2 before), sigma;
# solarise is 0 where a row ends there
ROWS = [
    WHOLE + [0, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0],
    [3, 2, 9, 11, 0, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0],      # enlarged
    [0, 1, 24, 16, 1, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0],     # as wide as the view, and flipped
    WHOLE + [0, 1, 0.6, 1, 1, 0, 0, 1, 2, 3, 0, 0],         # brightness
    WHOLE + [0, 1, 1, 1.4, 1, 0, 0, 1, 2, 3, 0, 0],         # contrast
    WHOLE + [0, 1, 1, 1, 1.4, 0, 0, 1, 2, 3, 0, 0],         # saturation
    WHOLE + [0, 1, 1, 1, 1, 0.1, 0, 1, 2, 3, 0, 0],         # hue, both ways
    WHOLE + [0, 1, 1, 1, 1, -0.4, 0, 1, 2, 3, 0, 0],
    WHOLE + [0, 0, 1, 1, 1, 0, 0, 1, 2, 3, 1, 0],           # grey
    WHOLE + [0, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0.1],         # blur
    WHOLE + [0, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0.9],
    WHOLE + [0, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 2],
    [2, 1, 20, 15, 1, 1, 1.3, 0.7, 1.2, 0.08, 3, 1, 0, 2, 0, 1.1],   # all of it
    [5, 0, 14, 17, 0, 1, 0.8, 1.4, 0.6, -0.1, 2, 0, 3, 1, 1, 0.5],
    [1, 3, 21, 12, 0, 1, 1.4, 1.4, 0.6, 0.4, 1, 3, 0, 2, 2, 0],      # MoCo v1: grey first
    WHOLE + [0, 0, 1, 1, 1, 0, 0, 1, 2, 3, 0, 0, 1],                 # solarise
    [2, 2, 18, 14, 1, 1, 0.9, 1.2, 1.1, 0.05, 2, 1, 3, 0, 0, 0.3, 1],  # MoCo v3's second view
]
ROWS = [row + [0] * (17 - len(row)) for row in ROWS]

i = np.arange(H * W * 3)
pixels = ((i * 2654435761 % 2**32) >> 24).astype(np.uint8).reshape(H, W, 3)
image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255

views = []
for row in ROWS:
    top, left, height, width, flip, jitter, b, c, s, h = row[:10]
    x = F.resized_crop(image, top, left, height, width, [SIZE, SIZE], antialias=True)
    grey = lambda v: F.rgb_to_grayscale(v, 3)
    if row[14] == 2:
        x = grey(x)
    if jitter:
        ops = [lambda v: F.adjust_brightness(v, b), lambda v: F.adjust_contrast(v, c),
               lambda v: F.adjust_saturation(v, s), lambda v: F.adjust_hue(v, h)]
        for op in row[10:14]:
            x = ops[op](x)
    if row[14] == 1:
        x = grey(x)
    if row[15] > 0:
        radius = min(SIZE - 1, math.ceil(3 * row[15]))
        x = F.gaussian_blur(x, [2 * radius + 1] * 2, [row[15]] * 2)
    if row[16]:
        x = F.solarize(x, 127.5 / 255)  # bytes of 128 and more; no rounding decides here
    if flip:
        x = F.hflip(x)
    views.append(x.permute(1, 2, 0))
nets.save("augment.safetensors", {"rows": torch.tensor(ROWS, dtype=torch.float32), "views": torch.stack(views).contiguous()})
