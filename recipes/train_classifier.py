"""Train a small convolutional network to classify chips, in at most a minute on a CPU.

    python recipes/train_classifier.py outputs/training/packs/webdataset
    python recipes/train_classifier.py outputs/landcover --layer S2

The folder is a run that `eechips split` has divided, or a pack of it. The network sees pixels and nothing else: no
place, no date, no name. It learns from the split `train`; `validation` and `test` lie in other blocks, so that what it
gets right there is no memory of the neighbourhood. Beside the accuracy stands what always saying one class would get,
the best one for that split. Needs PyTorch: pip install 'eechips[torch]'.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from eechips.torch import ChipDataset, ShardDataset

BATCH = 32


def read(folder: Path, split: str, layer: str, label: str) -> tuple[Tensor, Tensor, tuple[object, ...]]:
    """Return pixels (n, bands, rows, columns), NaN where masked; class indices; and the classes."""
    source = ShardDataset if (folder / "shards.json").exists() else ChipDataset
    dataset = source(folder, split=split, layers=[layer], label=label, dtype=torch.float32)
    items = list(dataset)
    pixels = [item[layer].masked_fill(~item[f"{layer}_valid"], torch.nan) for item in items]
    return torch.stack(pixels), torch.stack([item["label"] for item in items]), dataset.classes


def views(pixels: Tensor) -> Tensor:
    """Return the values, and their differences from the mean of the chip, which show slopes at any elevation."""
    return torch.cat([pixels, pixels - pixels.nanmean((2, 3), keepdim=True)], dim=1)


def network(bands: int, classes: int, width: int = 16) -> nn.Sequential:
    """Three convolutions, each with half the resolution of the previous one, and the mean over the chip."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((bands, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * width, classes))


def train(model: nn.Module, inputs: Tensor, targets: Tensor, epochs: int) -> None:
    """Fit the network; chips are flipped at random."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=5e-2)
    steps = epochs * len(range(0, len(inputs), BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    counts = torch.bincount(targets).float()
    loss_of = nn.CrossEntropyLoss(weight=counts.mean() / counts)  # some classes have fewer chips after the split
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            turned = torch.rot90(inputs[batch], int(torch.randint(4, ())), dims=(2, 3))
            loss = loss_of(model(turned.flip(3) if torch.rand(()) < 0.5 else turned), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def confusion(model: nn.Module, inputs: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return the number of chips by true class (rows) and predicted class (columns)."""
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(part).argmax(1) for part in inputs.split(256)])
    return torch.bincount(targets * classes + found, minlength=classes**2).reshape(classes, classes)


def tell(split: str, counts: Tensor) -> None:
    """Print accuracy and balanced accuracy, with those of predicting always one class."""
    there = counts.sum(1) > 0
    balanced = (counts.diagonal()[there] / counts.sum(1)[there]).mean()
    print(f"{split}: {int(counts.sum())} chips")
    print(f"  accuracy           {counts.diagonal().sum() / counts.sum():.3f}  (always one class: "
          f"{counts.sum(1).max() / counts.sum():.3f})")  # fmt: skip
    print(f"  balanced accuracy  {balanced:.3f}  (always one class: {1 / int(there.sum()):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small network on the chips of a run, or of a pack.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layer", default="image", help="the layer to look at, of samples that have several")
    parser.add_argument("--label", default="class", help="the field of units to tell [class]")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # fixed order of sums: reproducible figures
    began = time.process_time()
    data = {name: read(given.folder, name, given.layer, given.label) for name in ("train", "validation", "test")}
    pixels, targets, classes = data["train"]
    seen = views(pixels).transpose(0, 1).flatten(1)
    mean, spread = seen.nanmean(1), (seen - seen.nanmean(1, keepdim=True)).square().nanmean(1).sqrt().clamp(min=1e-6)
    inputs = {
        name: ((views(part) - mean[:, None, None]) / spread[:, None, None]).nan_to_num(0.0)
        for name, (part, _, _) in data.items()
    }
    model = network(len(mean), len(classes))
    print(f"{len(targets)} chips to learn from, {len(classes)} classes: {', '.join(map(str, classes))}")
    train(model, inputs["train"], targets, given.epochs)
    for name in ("validation", "test"):
        counts = confusion(model, inputs[name], data[name][1], len(classes))
        tell(name, counts)
    print("rows: classes; columns: what they were taken for")
    for value, row in zip(classes, counts.tolist(), strict=True):
        print(f"  {value!s:>12}" + "".join(f"{count:>5}" for count in row))
    print(f"{time.process_time() - began:.0f} s of processor")


if __name__ == "__main__":
    main()
