"""Train a small network to tell crops from time series of chips, and the same network on single dates, on a CPU.

    python recipes/crop_types.py outputs/crops

The folder is a run of `eechips sample --every month --per-class …` that `eechips split` has divided. The network sees
pixels and the order of frames: no place, no name. It is trained on three inputs, each time from the same start:

- series: on all frames;
- single date: on one frame, the others are masked. Of the networks of all dates, the best on the split `validation`;
- shuffled: on all frames, each in the place of another, in another order for each chip.

All are tested on the split `test`, whose blocks none of them has seen. If the order of frames told nothing, series and
shuffled would be equally good. Needs PyTorch: pip install 'eechips[torch]'.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import Tensor, nn

from eechips.torch import ChipDataset

BATCH = 32
WIDTH = 16


@dataclass(frozen=True)
class Chips:
    """Chips of a split: pixels (n, frames, bands, rows, columns), which of them are clear, and class indices."""

    pixels: Tensor
    valid: Tensor
    labels: Tensor

    def only(self, frame: int) -> Chips:
        """Mask all frames but one."""
        kept = torch.arange(self.valid.shape[1]) == frame
        return replace(self, valid=self.valid & kept[:, None, None])

    def shuffled(self, generator: torch.Generator) -> Chips:
        """Reorder the frames of every chip at random."""
        frames = self.valid.shape[1]
        orders = torch.stack([torch.randperm(frames, generator=generator) for _ in self.labels])
        rows = torch.arange(len(orders))[:, None]
        return replace(self, pixels=self.pixels[rows, orders], valid=self.valid[rows, orders])


def read(folder: Path, split: str, layer: str) -> tuple[Chips, tuple[object, ...], list[str]]:
    """Return the chips of a split, the classes, and the dates of the frames."""
    dataset = ChipDataset(folder, split=split, layers=[layer], label="class", dtype=torch.float32, fill=0.0)
    items = list(dataset)
    pixels, valid, labels = (torch.stack([item[key] for item in items]) for key in (layer, f"{layer}_valid", "label"))
    # The frames of a period have other dates at other places.
    times = torch.stack([item[f"{layer}_times"] for item in items]).nanmedian(0).values
    dates = [f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d}" for seconds in times.tolist()]
    return Chips(pixels, valid, labels), dataset.classes, dates


class SeriesNetwork(nn.Module):
    """Two convolutions in every frame, the mean of its clear pixels, and two convolutions along the frames.

    A masked frame is zero after the mean. Input: pixels (n, frames, bands, rows, columns), valid (n, frames, rows,
    columns).
    """

    def __init__(self, frames: int, bands: int, classes: int) -> None:
        super().__init__()
        self.space = nn.Sequential(nn.Conv2d(bands, WIDTH, 1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1), nn.ReLU())
        self.time = nn.Sequential(
            nn.Conv1d(WIDTH + 1, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(WIDTH * frames, classes))

    def forward(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Return scores of the classes, (n, classes)."""
        found = self.space(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        clear = valid[:, :, None].float()
        share = clear.mean((3, 4))
        means = (found * clear).mean((3, 4)) / share.clamp(min=1e-6)
        return self.head(self.time(torch.cat([means, share], dim=2).transpose(1, 2)))


def train(chips: Chips, classes: int, epochs: int, seed: int) -> SeriesNetwork:
    """Return a network that was trained on chips; the same seed gives the same start and order."""
    torch.manual_seed(seed)
    model = SeriesNetwork(chips.valid.shape[1], chips.pixels.shape[2], classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=5e-2)
    steps = epochs * len(range(0, len(chips.labels), BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    counts = torch.bincount(chips.labels, minlength=classes).float()
    loss_of = nn.CrossEntropyLoss(weight=counts.mean() / counts.clamp(min=1.0))
    for _ in range(epochs):
        for batch in torch.randperm(len(chips.labels)).split(BATCH):
            loss = loss_of(model(chips.pixels[batch], chips.valid[batch]), chips.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(model: SeriesNetwork, chips: Chips) -> float:
    """Return the mean of the accuracies of the classes."""
    with torch.no_grad():
        right = model(chips.pixels, chips.valid).argmax(1) == chips.labels
    shares = [right[chips.labels == label].float().mean() for label in chips.labels.unique()]
    return float(torch.stack(shares).mean())


def standardize(data: dict[str, Chips]) -> dict[str, Chips]:
    """Return chips whose bands have mean 0 and deviation 1 over the clear pixels of the training split."""
    clear = data["train"].pixels.movedim(2, -1)[data["train"].valid]
    mean, spread = clear.mean(0)[:, None, None], clear.std(0).clamp(min=1e-6)[:, None, None]
    return {name: replace(chips, pixels=(chips.pixels - mean) / spread) for name, chips in data.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a network on time series with the same on single dates.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layer", default="image", help="the layer to look at, of samples that have several")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings of each kind [3]")
    given = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # fixed order of sums: reproducible figures
    began = time.process_time()
    splits = {name: read(given.folder, name, given.layer) for name in ("train", "validation", "test")}
    data = standardize({name: chips for name, (chips, _, _) in splits.items()})
    _, classes, dates = splits["train"]
    counts = ", ".join(f"{len(chips.labels)} {name}" for name, chips in data.items())
    print(f"{len(dates)} frames of {len(classes)} classes: {counts}")
    scores: dict[str, list[float]] = {name: [] for name in ("series", "single date", "shuffled", *dates)}
    chosen = []
    for seed in range(given.seeds):
        generator = torch.Generator().manual_seed(seed)
        inputs = {
            "series": data,
            "shuffled": {split: chips.shuffled(generator) for split, chips in data.items()},
            **{day: {split: chips.only(n) for split, chips in data.items()} for n, day in enumerate(dates)},
        }
        models = {name: train(some["train"], len(classes), given.epochs, seed) for name, some in inputs.items()}
        validated = {day: accuracy(models[day], inputs[day]["validation"]) for day in dates}
        chosen.append(max(dates, key=validated.__getitem__))
        for name, model in models.items():
            scores[name].append(accuracy(model, inputs[name]["test"]))
        scores["single date"].append(scores[chosen[-1]][-1])
    print(f"balanced accuracy on test, means of {given.seeds} trainings (always one class: {1 / len(classes):.3f})")
    for name, found in scores.items():
        which = f"  best on validation: {', '.join(chosen)}" if name == "single date" else ""
        print(f"  {name:<12} {sum(found) / len(found):.3f}  ({min(found):.3f} to {max(found):.3f}){which}")
    print(f"{time.process_time() - began:.0f} s of processor")


if __name__ == "__main__":
    main()
