"""Deep images and bands as Pillow and tifffile write them: test/data/deep.json.

Run with Debian's python3-numpy, python3-pil and python3-tifffile:
  python3 test/data/deep.py
"""
import base64, io, json, os
import numpy as np, tifffile
from PIL import Image

SIDE = 8


def noise(bands, bits):
    i = np.arange(SIDE * SIDE * bands)
    return ((i * 2654435761 % 2**32) >> (32 - bits)).astype(np.uint16).reshape(SIDE, SIDE, bands)


def pillow(array, form, **more):
    out = io.BytesIO()
    Image.fromarray(array).save(out, form, **more)
    return out.getvalue()


def tiff(array, **more):
    out = io.BytesIO()
    tifffile.imwrite(out, array, **more)
    return out.getvalue()


grey12, grey16, rgb, six = noise(1, 12)[..., 0], noise(1, 16)[..., 0], noise(3, 16), noise(6, 16)
bands = dict(photometric="minisblack")
files = {
    "grey12.png": pillow(grey12, "PNG"),
    "grey16.tif": pillow(grey16, "TIFF", compression="tiff_lzw"),
    "rgb16.tif": tiff(rgb, photometric="rgb"),
    "rgba16.tif": tiff(noise(4, 16), photometric="rgb", extrasamples=["unassalpha"]),
    "six.tif": tiff(six, planarconfig="contig", **bands),
    "six_big_endian.tif": tiff(six, planarconfig="contig", byteorder=">", **bands),
    "six_planes.tif": tiff(np.moveaxis(six, 2, 0), planarconfig="separate", **bands),
    "six_pages.tif": tiff(np.moveaxis(six, 2, 0), **bands),
    "six_tiled.tif": tiff(np.pad(six, ((0, 8), (0, 8), (0, 0)))[:SIDE, :SIDE], tile=(16, 16), planarconfig="contig", **bands),
    "six_8bit.tif": tiff((six >> 8).astype(np.uint8), planarconfig="contig", **bands),
    "six_float.tif": tiff((six / 65535).astype(np.float32), planarconfig="contig", **bands),
    "double.tif": tiff(grey16 / 65535, **bands),
    "signed.tif": tiff((grey16.astype(np.int32) - 32768).astype(np.int16), **bands),
    "white.tif": tiff(65535 - grey16, photometric="miniswhite"),
    "turned.tif": tiff(np.rot90(grey16).copy(), extratags=[(274, "H", 1, 6, True)], **bands),
}
arrays = {
    "six.npy": np.stack([np.moveaxis(six, 2, 0)] * 3),
    "six_last.npy": np.stack([six] * 3),
    "big_endian.npy": np.stack([grey16] * 3).astype(">u2"),
    "half.npy": np.stack([grey16] * 3).astype(np.float64).__truediv__(65535).astype(np.float16),
    "double.npy": np.stack([grey16] * 3) / 65535,
    "signed.npy": (np.stack([grey16] * 3).astype(np.int32) - 32768).astype(np.int16),
}
for name, array in arrays.items():
    out = io.BytesIO()
    np.save(out, array)
    files[name] = out.getvalue()
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "deep.json"), "w") as out:
    json.dump({name: base64.b64encode(data).decode() for name, data in files.items()}, out, indent=2)
    out.write("\n")
