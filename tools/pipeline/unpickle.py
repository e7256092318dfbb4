"""The usual way's Python: unpickle.py sum|meta|preview DIR [OUT]; the result is one line of JSON."""
import json
import pathlib
import pickle
import random
import sys


def load(path):
    with open(path, "rb") as file:
        return pickle.load(file, encoding="bytes")


def batches(folder):
    names = [p for p in folder.iterdir() if p.name.startswith("data_batch_")]
    return sorted(names, key=lambda p: int(p.name.rsplit("_", 1)[1])) + [folder / "test_batch"]


def sum_records(folder):
    """Ends when every byte of every record has been added."""
    total = records = 0
    for path in batches(folder):
        data = load(path)[b"data"]
        total += int(data.sum(dtype="uint64"))
        records += len(data)
    return {"sum": total, "records": records}


def meta(folder):
    return {"label_names": [name.decode() for name in load(folder / "batches.meta")[b"label_names"]]}


def preview(folder, out):
    """One random batch of four with its labels, as the notebook's cell draws it."""
    from PIL import Image, ImageDraw
    names = meta(folder)["label_names"]
    batch = load(random.Random(1).choice(batches(folder)[:-1]))
    chosen = random.Random(2).sample(range(len(batch[b"labels"])), 4)
    sheet = Image.new("RGB", (4 * 136 + 8, 164), "white")
    draw = ImageDraw.Draw(sheet)
    for place, index in enumerate(chosen):
        pixels = batch[b"data"][index].reshape(3, 32, 32).transpose(1, 2, 0)
        picture = Image.fromarray(pixels).resize((128, 128), Image.NEAREST)
        sheet.paste(picture, (8 + place * 136, 8))
        draw.text((8 + place * 136, 142), names[batch[b"labels"][index]], fill="black")
    sheet.save(out)
    return {"preview": out}


if __name__ == "__main__":
    what, where = sys.argv[1], pathlib.Path(sys.argv[2])
    result = {"sum": sum_records, "meta": meta}[what](where) if what != "preview" else preview(where, sys.argv[3])
    print(json.dumps(result))
