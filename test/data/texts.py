"""Images and texts as Python's tarfile, csv and json write them, and pyarrow: test/data/texts.json.

Run where pyarrow is:
  python3 test/data/texts.py
"""
import base64, csv, io, json, os, struct, tarfile, zlib
import pyarrow as pa, pyarrow.parquet as pq


def png(red):
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + bytes([red, 100, 50]) * 6 for _ in range(5))
    header = struct.pack(">IIBBBBB", 6, 5, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def webdataset():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        for i in range(3):
            add(f"{i:06}.png", png(40 * i))
            fields = {"cls": i % 2, "caption": ["a", "b", None][i], "alt": [["x", "y"], [], []][i]}
            add(f"{i:06}.json", json.dumps(fields).encode())
        add("000000.txt", b"first\nsecond")
    return out.getvalue()


def parquet():
    table = pa.table({
        "image": pa.array([{"bytes": png(40 * i), "path": f"{i}.png"} for i in range(4)]),
        "caption": ["a cat", "собака", None, "  "],
        "keywords": pa.array([["cat", "animal"], ["dog"], ["bird", "wing", "sky", "blue", "small"], []], pa.list_(pa.string())),
        "raw": pa.array([b"one", b"two", b"three", None], pa.binary()),
    })
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=3)
    return out.getvalue()


rows = [
    ("1.png", "cat", "train", 'a "cat",\nasleep', "кот"),
    ("2.png", "dog", "train", "", " "),
    ("3.png", "dog", "train", "", "собака"),
    ("4.png", "cat", "test", "a cat", ""),
]


def table():
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("file", "label", "part", "en", "ru"), *rows])
    return out.getvalue()


def lines():
    more = {"3.png": {"en": ["one", "two"], "ru": "три"}}
    return "".join(json.dumps({"file": name, **more.get(name, {"en": []})}, ensure_ascii=False) + "\n" for name, *_ in rows)


encoded = lambda data: base64.b64encode(data).decode()
files = {"tar": encoded(webdataset()), "parquet": encoded(parquet()), "csv": table(), "jsonl": lines()}
with open(os.path.join(os.path.dirname(__file__), "texts.json"), "w") as file:
    json.dump(files, file)
    file.write("\n")
