"""Filter a large grey image: smooth it but keep its edges, find them, correct its gamma.

One core:    python examples/image_filter.py
Every core:  backends run examples/image_filter.py
"""

import argparse
import sys

import numpy as np

NOISE = 0.05
GAMMA = 2.2


def make_image(size: int) -> np.ndarray:
    """Give a bright disc on a dark ground, with noise."""
    y, x = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image = np.where(x**2 + y**2 < 0.5, 0.7, 0.3)
    noise = np.random.default_rng(seed=4).standard_normal(image.shape)
    return image + NOISE * noise


def shifted(image: np.ndarray, radius: int) -> list[tuple[int, int, np.ndarray]]:
    """Give views of `image`, moved by up to `radius` pixels, each with how far."""
    height, width = image.shape
    padded = np.pad(image, radius, mode="edge")
    moves = range(-radius, radius + 1)
    return [
        (i, j, padded[radius + i :, radius + j :][:height, :width]) for i in moves for j in moves
    ]


def bilateral(image: np.ndarray, radius: int = 2) -> np.ndarray:
    """Give means over near pixels, weighted by how near they are in place and in brightness."""
    total = np.zeros_like(image)
    weights = np.zeros_like(image)
    for i, j, moved in shifted(image, radius):
        weight = np.exp(-(i * i + j * j) / 8.0 - np.square((moved - image) / 0.2) / 2.0)
        total += weight * moved
        weights += weight
    return total / weights


def edges(image: np.ndarray) -> np.ndarray:
    """Give the length of the gradient (Sobel), one pixel less at each side."""
    down = image[2:] - image[:-2]
    right = image[:, 2:] - image[:, :-2]
    down = down[:, :-2] + 2.0 * down[:, 1:-1] + down[:, 2:]
    right = right[:-2] + 2.0 * right[1:-1] + right[2:]
    return np.hypot(down, right) / 8.0


def main() -> int:
    """Filter the image, and look at what must be true of the result."""
    parser = argparse.ArgumentParser(description="smooth, find edges, correct gamma")
    parser.add_argument("--size", type=int, default=2500, help="pixels along an edge")
    arguments = parser.parse_args()
    image = make_image(arguments.size)

    smooth = bilateral(bilateral(image))
    gradient = edges(smooth)
    bright = np.power(np.clip(smooth, 0.0, 1.0), 1 / GAMMA)

    corner, centre = np.s_[: arguments.size // 8, : arguments.size // 8], arguments.size // 2
    quiet = smooth[corner].std() / image[corner].std()
    step = smooth[centre - 8 : centre + 8, centre - 8 : centre + 8].mean() - smooth[corner].mean()
    on_edge, off_edge = np.percentile(gradient[centre], 99.9), np.median(gradient[centre])
    print(f"noise left: {quiet:.4f} of it; bright disc above dark ground: {step:.4f}")
    print(f"gradient: {on_edge:.4f} on the edge, {off_edge:.4f} elsewhere")
    print(f"brightness: {bright.mean():.5f} on average after correction")
    good = bool(quiet < 0.4 and abs(step - 0.4) < 0.02 and on_edge > 5 * off_edge)
    print("less noise, and the edge kept:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
