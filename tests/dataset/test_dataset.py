"""`tarn dataset` and `tarn preview` against Python's own pickle, numpy, tarfile, gzip and PNG reader."""
import hashlib
import json
import os
import struct
import subprocess
import zlib

import pytest

from conftest import PYTHON, tarn

FOLDER = "cifar-10-batches-py"

# Prints, for each pickled file named, what Python finds in it.
REFERENCE = r"""
import hashlib, json, pickle, sys
import numpy
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        value = pickle.load(file, encoding="latin1")
    out = {"keys": [], "dtypes": {}, "shapes": {}, "md5s": {}, "labels": None, "sum": 0}
    for key, item in value.items():
        key = key.decode() if isinstance(key, bytes) else key
        out["keys"].append(key)
        if isinstance(item, numpy.ndarray):
            out["dtypes"][key] = str(item.dtype)
            out["shapes"][key] = list(item.shape)
            out["md5s"][key] = hashlib.md5(item.tobytes()).hexdigest()
            if key == "data":
                out["sum"] = int(item.sum(dtype="u8"))
        elif key == "labels":
            out["labels"] = [int(label) for label in item]
    print(json.dumps(out))
"""


def reference(paths):
    lines = subprocess.run([PYTHON, "-c", REFERENCE, *map(str, paths)], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def show(path):
    return json.loads(tarn("dataset", "show", path, "--json").stdout)


def batches(top):
    return sorted((top / FOLDER).glob("*_batch*"))


def test_show_agrees_with_pickle(cifar, numpy_python):
    files = batches(cifar)
    assert len(files) >= 6
    for path, expected in zip(files, reference(files)):
        found = show(path)
        assert found["keys"] == expected["keys"], path
        assert found["dtypes"] == expected["dtypes"] == {"data": "uint8"}
        assert found["shapes"] == expected["shapes"]
        assert found["md5s"] == expected["md5s"]
        assert found["data_md5"] == expected["md5s"]["data"]
        assert found["labels"] == expected["labels"]
        assert found["protocol"] == 2
        assert found["bytes"] == os.path.getsize(path)


def test_show_of_batches_meta(cifar):
    found = show(cifar / FOLDER / "batches.meta")
    assert found["keys"] == ["num_cases_per_batch", "label_names", "num_vis"]
    assert found["values"]["label_names"] == ("airplane automobile bird cat deer dog frog horse ship "
                                              "truck").split()
    assert found["values"]["num_vis"] == 3072
    assert "data_md5" not in found


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_show_of_what_python_3_writes(scratch, numpy_python, protocol):
    path = scratch / f"written-{protocol}"
    program = r"""
import numpy, pickle, sys
a = numpy.arange(700 * 3072, dtype="u4").astype("u1").reshape(700, 3072)
value = {"data": numpy.asfortranarray(a), "labels": [i % 10 for i in range(700)], "x": a[::2, ::3],
         "y": numpy.linspace(0, 1, 7).astype("f4"), b"z": numpy.arange(6).reshape(1, 2, 3)}
pickle.dump(value, open(sys.argv[1], "wb"), int(sys.argv[2]))
"""
    subprocess.run([PYTHON, "-c", program, str(path), str(protocol)], check=True)
    found, expected = show(path), reference([path])[0]
    for part in ("keys", "dtypes", "shapes", "md5s", "labels"):
        assert found[part] == expected[part]
    assert found["protocol"] == protocol
    assert found["orders"]["data"] == "F"


def test_show_without_a_dict(scratch, numpy_python):
    path = scratch / "array"
    subprocess.run([PYTHON, "-c", "import numpy, pickle, sys\n"
                    "pickle.dump(numpy.zeros((2, 3), 'f4'), open(sys.argv[1], 'wb'))", str(path)], check=True)
    found = show(path)
    assert (found["type"], found["keys"]) == ("ndarray", [])
    assert found["data_md5"] == hashlib.md5(bytes(24)).hexdigest()
    assert "float32" in tarn("dataset", "show", path).stdout


def test_show_refuses_code(scratch):
    path = scratch / "evil"
    marker = scratch / "ran"
    path.write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % str(marker).encode())
    done = tarn("dataset", "show", path, "--json", code=1)
    assert "'os.system'" in done.stderr and str(path) in done.stderr
    assert done.stdout == "" and not marker.exists()


def test_show_of_damaged_files(scratch, generated):
    whole = (generated / FOLDER / "data_batch_1").read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path = scratch / "damaged"
        path.write_bytes(whole[:length])
        assert "pickle, byte" in tarn("dataset", "show", path, code=1).stderr
    assert "no" in tarn("dataset", "show", scratch / "missing", code=1).stderr.lower()
    tarn("dataset", "show", code=2)


def test_sum_agrees_with_numpy(cifar, numpy_python):
    found = json.loads(tarn("dataset", "sum", cifar, "--json").stdout)
    paths = [file["path"] for file in found["files"]]
    assert sorted(paths) == [str(path) for path in batches(cifar)]
    expected = reference(paths)
    assert [file["sum"] for file in found["files"]] == [each["sum"] for each in expected]
    assert found["sum"] == sum(each["sum"] for each in expected)
    labels = [label for each in expected for label in each["labels"]]
    assert found["labels"] == [labels.count(label) for label in range(10)]
    assert found["records"] == len(labels)
    assert found["record_bytes"] == 3072 * len(labels)
    assert str(found["sum"]) in tarn("dataset", "sum", cifar / FOLDER).stdout


def test_report(cifar, numpy_python):
    found = json.loads(tarn("dataset", "report", cifar, "--json").stdout)
    files = [path for path in batches(cifar)]
    expected = dict(zip([path.name for path in files], reference(files)))
    train = [label for name, each in expected.items() if name != "test_batch" for label in each["labels"]]
    assert found["train"]["count"] == len(train)
    assert found["train"]["classes"]["cat"] == train.count(3)
    assert found["test"]["count"] == len(expected["test_batch"]["labels"])
    digests = {}
    for path in files:
        content = path.read_bytes()
        size = 3072 * len(expected[path.name]["labels"])
        # The rows stand behind the BINSTRING that announces them.
        start = content.index(b"T" + struct.pack("<I", size)) + 5
        split = "test" if path.name == "test_batch" else "train"
        for at in range(start, start + size, 3072):
            key = hashlib.md5(content[at:at + 3072]).digest()
            digests.setdefault(key, []).append(split)
    groups = [group for group in digests.values() if len(group) > 1]
    assert found["duplicates"]["groups"] == len(groups)
    assert found["duplicates"]["train"] == sum(max(0, group.count("train") - 1) for group in groups)
    assert found["duplicates"]["across"] == sum(group.count("test") for group in groups if "train" in group)
    assert "exact duplicates" in tarn("dataset", "report", cifar).stdout


def test_report_finds_a_planted_duplicate(scratch, generated):
    copy = scratch / "planted" / FOLDER
    copy.mkdir(parents=True)
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (copy / name).write_bytes((generated / FOLDER / name).read_bytes())
    train = (copy / "data_batch_1").read_bytes()
    test = bytearray((copy / "test_batch").read_bytes())
    header = b"T" + struct.pack("<I", 3072 * 500)
    source, target = train.index(header) + 5, test.index(header) + 5
    test[target + 7 * 3072:target + 8 * 3072] = train[source:source + 3072]
    (copy / "test_batch").write_bytes(test)
    found = json.loads(tarn("dataset", "report", copy, "--json").stdout)["duplicates"]
    assert (found["train"], found["test"], found["across"], found["groups"]) == (0, 0, 1, 1)
    assert [item["location"] for item in found["examples"][0]["items"]] == ["data_batch_1[0]", "test_batch[7]"]


def read_png(path):
    """(width, height, rows of RGB bytes) by the specification, without a library."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at:at + 8])
        body = content[at + 8:at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length:at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = chunks.get(kind, b"") + body
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 2)
    raw, stride, previous, rows = zlib.decompress(chunks[b"IDAT"]), 3 * width, bytes(3 * width), []
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride):
            a = line[x - 3] if x >= 3 else 0
            b, c = previous[x], previous[x - 3] if x >= 3 else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[x] = (line[x] + [0, a, b, (a + b) // 2, nearest][kind]) & 255
        previous = bytes(line)
        rows.append(previous)
    return width, height, rows


def test_preview_draws_the_batch(scratch, cifar, numpy_python):
    out = scratch / "preview.png"
    found = json.loads(tarn("preview", cifar, "--out", out, "--seed", 5, "--json").stdout)
    assert len(found["items"]) == 4
    width, height, rows = read_png(out)
    assert width > 4 * 160 and height > 160
    for number, item in enumerate(found["items"]):
        name, index = item["location"].rstrip("]").split("[")
        content = (cifar / FOLDER / name).read_bytes()
        shape = show(cifar / FOLDER / name)["shapes"]["data"]
        start = content.index(b"T" + struct.pack("<I", shape[0] * shape[1])) + 5 + 3072 * int(index)
        row = content[start:start + 3072]
        # The middles of the five times larger pixels, on the diagonal.
        for k in range(32):
            x, y = 12 + 172 * number + 5 * k + 2, 12 + 5 * k + 2
            assert list(rows[y][3 * x:3 * x + 3]) == [row[c * 1024 + 33 * k] for c in range(3)]
    again = json.loads(tarn("preview", cifar, "--out", out, "--seed", 5, "--json").stdout)
    assert again["items"] == found["items"]
    other = [json.loads(tarn("preview", cifar, "--out", out, "--json").stdout)["items"] for _ in range(3)]
    assert other[0] != other[1] or other[1] != other[2]
    assert tarn("preview", cifar, "--out", out, "--count", 9, "--seed", 1).stdout.count("\n") == 10
    assert read_png(out)[0] < width
    tarn("preview", cifar, "--count", 0, code=2)


def test_generated_archives(generated):
    import gzip
    import tarfile
    manifest = dict(reversed(line.split("  ")) for line in (generated / "MD5SUMS").read_text().splitlines())
    assert list(manifest)[-2:] == [f"{FOLDER}/test_batch", f"{FOLDER}/batches.meta"]
    assert len(manifest) == 12
    subprocess.run(["md5sum", "-c", "--quiet", "MD5SUMS", "cifar-10-python.tar.md5", "cifar-10-python.tar.gz.md5"],
                   cwd=generated, check=True)
    plain = (generated / "cifar-10-python.tar").read_bytes()
    with gzip.open(generated / "cifar-10-python.tar.gz") as unpacked:
        assert unpacked.read() == plain
    with tarfile.open(generated / "cifar-10-python.tar.gz") as archive:
        assert archive.getnames() == list(manifest)
        for member in archive:
            assert hashlib.md5(archive.extractfile(member).read()).hexdigest() == manifest[member.name]
            assert (member.mode, member.uid, member.gid, member.mtime) == (0o644, 0, 0, 0)
    listing = subprocess.run(["tar", "-tf", "cifar-10-python.tar"], cwd=generated, check=True, capture_output=True,
                             text=True).stdout.split()
    assert listing == list(manifest)


# What torchvision.datasets.CIFAR10 does with the files it has unpacked (torchvision 0.15, cifar.py).
TORCHVISION = r"""
import pickle, sys
import numpy
folder, batches = sys.argv[1], int(sys.argv[2])
data, targets = [], []
for name in [f"data_batch_{i}" for i in range(1, batches + 1)]:
    with open(f"{folder}/{name}", "rb") as f:
        entry = pickle.load(f, encoding="latin1")
        data.append(entry["data"])
        if "labels" in entry:
            targets.extend(entry["labels"])
        else:
            targets.extend(entry["fine_labels"])
data = numpy.vstack(data).reshape(-1, 3, 32, 32).transpose((0, 2, 3, 1))
with open(f"{folder}/batches.meta", "rb") as f:
    classes = pickle.load(f, encoding="latin1")["label_names"]
assert {name: i for i, name in enumerate(classes)}["truck"] == 9
assert len(data) == len(targets) and data.shape[1:] == (32, 32, 3) and data.dtype == numpy.uint8
assert sorted(set(targets)) == list(range(10))
print(len(data))
"""


def test_torchvision_reads_the_layout(generated, numpy_python):
    done = subprocess.run([PYTHON, "-c", TORCHVISION, str(generated / FOLDER), "10"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "5000\n"


def test_generate_refuses_wrong_options(scratch):
    assert "0 images a batch" in tarn("dataset", "generate", scratch / "x", "--images-per-batch", 0, code=2).stderr
    tarn("dataset", "generate", scratch / "x", "--archive", "zip", code=2)
    tarn("dataset", "nonsense", code=2)
    made = json.loads(tarn("dataset", "generate", scratch / "x", "--images-per-batch", 10, "--archive", "none",
                           "--json").stdout)
    assert made["archives"] == [] and len(made["files"]) == 7
    assert not list((scratch / "x").glob("*.tar*"))


def test_image_folder(scratch, numpy_python):
    program = r"""
import pathlib, sys
from PIL import Image
top = pathlib.Path(sys.argv[1])
for split in ("train", "test"):
    for number, name in enumerate(("cat", "dog")):
        (top / split / name).mkdir(parents=True)
        for k in range(3):
            Image.new("RGB", (20, 10), (50 * k, 100 * number, 9 if split == "test" else 0)).save(top / split / name / f"{k}.png")
        Image.new("L", (30, 30), 77).save(top / split / name / "grey.jpg")
"""
    top = scratch / "images"
    done = subprocess.run([PYTHON, "-c", program, str(top)], capture_output=True, text=True)
    if "No module named 'PIL'" in done.stderr:
        pytest.skip("no PIL")
    assert done.returncode == 0, done.stderr
    found = json.loads(tarn("dataset", "report", top, "--json").stdout)
    assert found["format"] == "image-folder"
    assert found["train"] == {"count": 8, "classes": {"cat": 4, "dog": 4}}
    # The grey picture is in every folder.
    assert found["duplicates"]["across"] == 2 and found["duplicates"]["different_labels"] == 1
    tarn("preview", top, "--out", scratch / "images.png", "--count", 8)
    assert read_png(scratch / "images.png")[0] > 160
