"""Binning of images."""

import numpy as np
from numpy.typing import NDArray


def binned_images(images: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return means over factor x factor pixels of images (n, row, column), as :meth:`Geometry.binned` cuts them.

    A bin takes all rows where there are fewer than ``factor``.
    """
    from skimage.measure import block_reduce  # here, because its import delays the console

    tall = min(factor, images.shape[1])
    rows, columns = images.shape[1] // tall, images.shape[2] // factor
    return np.asarray(block_reduce(images[:, : rows * tall, : columns * factor], (1, tall, factor), np.mean))
