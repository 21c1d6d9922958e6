"""Ternary matrices and their exact product with int8 vectors."""

import numpy as np


__all__ = ["absmean_ternary", "integer_product", "matvec"]


def absmean_ternary(w):  # float [M, n] -> int8 [M, n], float
    """codes = clip(rint(W / scale)), scale = mean |W| of the tensor, at least 1e-5 (arXiv 2402.17764)."""
    scale = max(np.abs(w).mean(dtype=w.dtype), w.dtype.type(1e-5))
    return np.clip(np.rint(w / scale), -1, 1).astype(np.int8), scale


def matvec(w, q):  # int8 [M, n] in {-1, 0, 1}, int8 [..., n], n <= 131072 -> int32 [..., M]
    """W q, exact: every partial sum is an integer of at most 128 * 131072 = 2**24, so that float32 holds it."""
    return (q.astype(np.float32) @ w.astype(np.float32).T).astype(np.int32)


def integer_product(a, b):  # integers [..., i, n], [..., n, j], sums of |a||b| < 2**53 -> int64 [..., i, j]
    """A B, exact: every partial sum is an integer that float64 holds."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
