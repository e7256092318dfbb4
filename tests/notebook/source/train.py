"""The notebook's network on the CIFAR-10 batches of the `train` channel."""
import argparse
import os
import pathlib
import pickle

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
                                      nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.classes = nn.Sequential(nn.Linear(16 * 5 * 5, 120), nn.ReLU(),
                                     nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))

    def forward(self, images):
        return self.classes(self.features(images).flatten(1))


def load(folder):
    images, labels = [], []
    for file in sorted(pathlib.Path(folder).rglob("data_batch_*")):
        with open(file, "rb") as stream:
            batch = pickle.load(stream, encoding="bytes")
        images.append(torch.frombuffer(bytearray(batch[b"data"]), dtype=torch.uint8))
        labels += batch[b"labels"]
    pixels = torch.cat(images).reshape(-1, 3, 32, 32).float() / 127.5 - 1
    return pixels, torch.tensor(labels)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--momentum", type=float, default=0.9)
    args = parser.parse_args()
    torch.manual_seed(1)
    images, labels = load(os.environ["SM_CHANNEL_TRAIN"])
    net, loss_of = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=args.momentum)
    for epoch in range(args.epochs):
        order = torch.randperm(len(labels))
        total = 0.0
        for at in range(0, len(order), args.batch_size):
            chosen = order[at:at + args.batch_size]
            optimizer.zero_grad()
            loss = loss_of(net(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        print(f"[{epoch + 1}] samples {len(labels)} loss: {total / len(labels):.3f}", flush=True)
    torch.save(net.state_dict(), os.path.join(os.environ["SM_MODEL_DIR"], "model.pth"))


if __name__ == "__main__":
    main()
