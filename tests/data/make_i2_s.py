"""Freeze what bitnet.cpp's own quantiser makes of a random ternary matrix: bitnet_cpp_i2_s.npz.

Made with commit 16da220 of microsoft/BitNet, of which src/ggml-bitnet-mad.cpp is compiled on a machine with AVX2.

    python tests/data/make_i2_s.py FOLDER_OF_BITNET
"""

import ctypes
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


SHAPE, SCALE = (48, 320), 0.7123
HEADERS = {  # what the file takes from llama.cpp
    "ggml.h": "#pragma once\n#include <cstdint>\n#include <cstdlib>\n#define GGML_API\n#define GGML_TYPE_I2_S 36\n"
              "#define GGML_RESTRICT\n#define GGML_UNUSED(x) (void)(x)\nenum ggml_type { GGML_TYPE };\n"
              "static inline size_t ggml_row_size(int, int64_t n) { return n; }\n",
    "ggml-backend.h": "", "ggml-quants.h": "", "ggml-cpu-impl.h": "",
}


def main(bitnet):
    codes = np.random.default_rng(0).integers(-1, 2, SHAPE, np.int8)
    weights, stored = codes * np.float32(SCALE), np.zeros(codes.size // 4 + 32, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in HEADERS.items():
            (pathlib.Path(folder) / name).write_text(text)
        library = pathlib.Path(folder) / "mad.so"
        subprocess.run(["g++", "-O1", "-mavx2", "-shared", "-fPIC", f"-I{folder}", f"-I{bitnet}/include",
                        "-o", library, bitnet / "src/ggml-bitnet-mad.cpp"], check=True)
        quantise = ctypes.CDLL(library)["_Z13quantize_i2_sPKfPvllS0_"]
        quantise.restype = ctypes.c_size_t
        quantise(weights.ctypes.data_as(ctypes.c_void_p), stored.ctypes.data_as(ctypes.c_void_p),
                 *map(ctypes.c_int64, SHAPE), None)
    np.savez_compressed(pathlib.Path(__file__).with_name("bitnet_cpp_i2_s.npz"), codes=codes, scale=np.float32(SCALE),
                        stored=stored)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).absolute())
