#!/usr/bin/env python3
"""Numerics of the f16 tensor-core kernels (sm_75) against float64, through any libcuda: a GPU's or the stand-in driver.

    LIBCUDA=path/libcuda.so.1 python kernels/check_mma.py [linear lora attention ...]

Inputs are random f16 values, the truth is float64 over those. The rule for an error (largest absolute difference): at
most 2x, for gradients 3x, of the error that a naive implementation makes which rounds every intermediate tensor to f16
and sums in f32, plus one f16 rounding of the largest value (a rounding that happens to fall well is no yardstick).
Outputs lie between guard elements that must stay as they were. Exit status 1 when anything is out of bounds.
"""
import ctypes
import json
import os
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
PTX = pathlib.Path(os.environ.get("PTX", ROOT / "ptx"))
GUARD = 64  # elements before and behind every output
CTYPE = {"u64": ctypes.c_uint64, "s64": ctypes.c_int64, "s32": ctypes.c_int32, "f32": ctypes.c_float}


class Device:
    """The part of the driver API that a check needs."""

    def __init__(self):
        self.cuda = ctypes.CDLL(os.environ.get("LIBCUDA", "libcuda.so.1"))
        self.entries = [e for e in json.loads((PTX / "manifest.json").read_text())["entries"] if e["tier"] == "sm_75"]
        self.functions, self.held = {}, []
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *arguments):
        status = getattr(self.cuda, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: CUDA error {status}")

    def of(self, op, **consts):
        """Entries of an op whose constants are these."""
        found = [e for e in self.entries if e["op"] == op and all(e["consts"].get(k) == v for k, v in consts.items())]
        assert found, f"no entry of {op} with {consts}"
        return found

    def put(self, array):
        address = ctypes.c_uint64()
        array = np.ascontiguousarray(array)
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(array.nbytes, 16)))
        self.held.append(address)
        if array.nbytes:
            self.call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))
        return address.value

    def output(self, array):
        """Places an array between guards; returns its address and a function that reads it back."""
        flat = np.ascontiguousarray(array).reshape(-1)
        guarded = np.concatenate([np.full(GUARD, 7, flat.dtype), flat, np.full(GUARD, 7, flat.dtype)])
        base = self.put(guarded)

        def read():
            self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(guarded.ctypes.data), ctypes.c_uint64(base),
                      ctypes.c_size_t(guarded.nbytes))
            assert (guarded[:GUARD] == 7).all() and (guarded[-GUARD:] == 7).all(), "wrote outside its output"
            return guarded[GUARD:-GUARD].reshape(array.shape).copy()

        return base + GUARD * flat.dtype.itemsize, read

    def launch(self, entry, grid, *values):
        name = entry["entry"]
        if name not in self.functions:
            module, function = ctypes.c_void_p(), ctypes.c_void_p()
            self.call("cuModuleLoadData", ctypes.byref(module), (PTX / entry["file"]).read_bytes() + b"\0")
            self.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
            if entry["shared"] > 48 * 1024:
                self.call("cuFuncSetAttribute", function, 8, entry["shared"])
            self.functions[name] = function
        assert len(values) == len(entry["params"]), f"{name} takes {len(entry['params'])} arguments"
        cells = [CTYPE[p["type"]](v) for p, v in zip(entry["params"], values)]
        pointers = (ctypes.c_void_p * len(cells))(*[ctypes.addressof(c) for c in cells])
        self.call("cuLaunchKernel", self.functions[name], *grid, entry["block"], 1, 1, entry["shared"], None, pointers,
                  None)
        self.call("cuCtxSynchronize")

    def release(self):
        for address in self.held:
            self.call("cuMemFree_v2", address)
        self.held.clear()


FAILURES = []


def compare(what, got, truth, naive, factor):
    got, truth, naive = (np.asarray(a, np.float64) for a in (got, truth, naive))
    largest = np.abs(truth).max(initial=0)
    allowed = factor * np.abs(naive - truth).max(initial=0) + largest * 2.0**-11 + 1e-7
    error = np.abs(got - truth).max(initial=0) if np.isfinite(got).all() else np.inf
    verdict = "ok" if error <= allowed else "BAD"
    if verdict == "BAD":
        FAILURES.append(what)
    print(f"{verdict:3} {what}: error {error:.2e} of {largest:.2e}, allowed {allowed:.2e}", flush=True)


def f16(a):
    return np.asarray(a).astype(np.float16)


def wide(a):
    return a.astype(np.float64)


def product(a, b):
    """What a naive f16 product gives: f32 sums in numpy's order, one rounding."""
    return f16(a.astype(np.float32) @ b.astype(np.float32))


def ceil_div(a, b):
    return -(-a // b)


def tiles(entry, rows, cols):
    c = entry["consts"]
    return ceil_div(rows, c["BM"]) * ceil_div(cols, c["BN"]), 1, 1


# ---- linear ---------------------------------------------------------------------------------------------------------


def check_linear(device, random):
    shapes = [(1, 16, 16), (7, 33, 40), (33, 100, 72), (130, 129, 65), (130, 192, 128), (20, 1, 3)]
    for M, N, K in shapes:
        x, w, dy = (f16(random.standard_normal(shape)) for shape in ((M, K), (N, K), (M, N)))
        bias = random.standard_normal(N).astype(np.float32)
        for entry in device.of("linear_fwd"):
            cases = (N, None, 0, 0), (N + 5, bias, 0, 16), (ceil_div(N, 8) * 8 + 16, bias, 1, 0), (N, bias, 0, 40), (N, None, 1, 5)
            for ldy, shift, accumulate, R in cases:
                u, b = f16(random.standard_normal((M, R))), random.standard_normal((N, R)).astype(np.float32)
                added = 0.75 * wide(u) @ wide(f16(b)).T
                y, read = device.output(np.full((M, ldy), 3, np.float16))
                old = 3 if accumulate else 0
                add = 0 if shift is None else shift
                device.launch(entry, tiles(entry, M, N), y, device.put(x), device.put(w),
                              0 if shift is None else device.put(shift), device.put(u) if R else 0,
                              device.put(b) if R else 0, M, N, K, R, ldy, R, R, np.float32(0.75), accumulate)
                got = read()
                assert (got[:, N:] == 3).all(), "wrote beyond N"
                compare(f"{entry['entry']} M{M} N{N} K{K} R{R} ldy{ldy} bias {shift is not None} accumulate {accumulate}",
                        got[:, :N], wide(x) @ wide(w).T + added + add + old,
                        product(x, w.T) + f16(added) + f16(add) + f16(old), 2)
        for entry in device.of("linear_bwd_input"):
            for accumulate, pad, R in ((0, 0, 0), (1, 0, 16), (1, 3, 0), (0, 8, 40), (0, 0, 5)):
                e, a = f16(random.standard_normal((M, R))), random.standard_normal((R, K)).astype(np.float32)
                added = 0.75 * wide(e) @ wide(f16(a))
                old = f16(random.standard_normal((M, K + pad)))
                dx, read = device.output(old)
                ldw, lddy = K + pad, N + pad
                padded_w, padded_dy = f16(np.full((N, ldw), np.nan)), f16(np.full((M, lddy), np.nan))
                padded_w[:, :K], padded_dy[:, :N] = w, dy
                device.launch(entry, tiles(entry, M, K), dx, device.put(padded_dy), device.put(padded_w),
                              device.put(e) if R else 0, device.put(a) if R else 0, M, N, K, R, lddy, K + pad, ldw, R, K,
                              np.float32(0.75), accumulate)
                got = read()
                assert (got[:, K:] == old[:, K:]).all(), "wrote beyond K"
                before = old[:, :K] if accumulate else f16(np.zeros((M, K)))
                compare(f"{entry['entry']} M{M} N{N} K{K} R{R} pad {pad} accumulate {accumulate}", got[:, :K],
                        wide(dy) @ wide(w) + added + wide(before), f16(before + f16(f16(added) + product(dy, w))), 3)
        device.release()
    # a sum beyond 65504 must become infinite: the loss scaler looks for that
    entry = device.of("linear_fwd")[0]
    big = f16(np.full((1, 16), 200))
    y, read = device.output(f16(np.zeros((1, 16))))
    device.launch(entry, tiles(entry, 1, 16), y, device.put(big), device.put(np.repeat(big, 16, 0)), 0, 0, 0, 1, 16,
                  16, 0, 16, 0, 0, np.float32(0), 0)
    compare("linear_fwd overflow gives infinity", np.isposinf(read()).sum(), 16, 16, 2)


# ---- LoRA -----------------------------------------------------------------------------------------------------------


def uniform(seed, index):
    """src/main/c/internal.h's hone_uniform of an array of indices."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def kept(seed, rows, cols, dropout):
    return (uniform(seed, np.arange(rows * cols)) >= np.float32(dropout)).reshape(rows, cols)


def stored(device, factor, transposed, pad):
    """A factor in memory, transposed or not, its rows `pad` further apart than they are long: (address, ld)."""
    matrix = factor.T if transposed else factor
    padded = np.full((matrix.shape[0], matrix.shape[1] + pad), np.nan, np.float32)
    padded[:, : matrix.shape[1]] = matrix
    return device.put(padded), padded.shape[1]


def rank_entries(device, op, R):
    """The entry a caller would take for rank R, and a wider one."""
    fitting = sorted((e for e in device.of(op) if e["consts"]["R"] >= R), key=lambda e: e["consts"]["R"])
    return fitting[:2]


def check_lora(device, random):
    seed = 0xDEADBEEFCAFE1234
    cases = [(1, 16, 24, 3, 0.0, 0), (7, 33, 40, 8, 0.3, 0), (33, 136, 65, 16, 0.0, 4), (130, 96, 200, 16, 0.1, 8),
             (40, 72, 129, 64, 0.5, 1), (70, 64, 64, 128, 0.0, 0), (35, 40, 48, 32, 0.2, 0)]
    for M, K, N, R, dropout, pad in cases:
        x, u, old = (f16(random.standard_normal(shape)) for shape in ((M, K), (M, R), (M, N + pad)))
        a, b = (random.standard_normal(shape).astype(np.float32) / 4 for shape in ((R, K), (N, R)))
        keep_x, keep_y, alpha = kept(seed, M, K, dropout), kept(seed, M, N, dropout), 1 / (1 - dropout)
        what = f"M{M} K{K} N{N} R{R} dropout {dropout} pad {pad}"
        for transposed in (0, 1):
            for entry in rank_entries(device, "lora_down", R):
                down, read = device.output(f16(np.full((M, R + pad), 3)))
                address, lda = stored(device, a, transposed, pad)
                device.launch(entry, (ceil_div(M, entry["consts"]["BM"]), 1, 1), down, device.put(x), address, M, K, R,
                              R + pad, lda, alpha, transposed, dropout, seed)
                got = read()
                assert (got[:, R:] == 3).all(), "wrote beyond R"
                compare(f"{entry['entry']} {what} transposed {transposed}", got[:, :R],
                        alpha * (wide(x) * keep_x) @ a.T.astype(float), f16(alpha * product(x * keep_x, f16(a).T)), 2)
            for entry in device.of("lora_up"):
                y, read = device.output(old)
                padded_u = f16(np.full((M, R + pad), np.nan))
                padded_u[:, :R] = u
                address, ldb = stored(device, b, transposed, pad)
                device.launch(entry, tiles(entry, M, N), y, device.put(padded_u), address, M, N, R, N + pad, R + pad,
                              ldb, alpha, transposed, transposed, dropout, seed)
                got, before = read(), old[:, :N] * f16(transposed)  # the transposed one accumulates, as dx does
                assert (got[:, N:] == old[:, N:]).all(), "wrote beyond N"
                compare(f"{entry['entry']} {what} transposed {transposed}", got[:, :N],
                        wide(before) + alpha * keep_y * (wide(u) @ b.T.astype(float)),
                        before + f16(alpha * keep_y * product(u, f16(b).T)), 2)
        e = f16(random.standard_normal((M, R + pad)))
        for entry in rank_entries(device, "lora_grad", R):
            for rows in (M, 24, 13):
                splits = ceil_div(M, rows) + (rows == 13)  # the last one empty
                part, read = device.output(np.full((splits, R, K), 3, np.float32))
                grid = ceil_div(K, entry["consts"]["BN"]), splits, 1
                device.launch(entry, grid, part, device.put(e), device.put(x), M, K, R, R + pad, rows, dropout, seed)
                got = read()
                for s in range(splits):
                    own = slice(s * rows, min(M, (s + 1) * rows))
                    compare(f"{entry['entry']} {what} split {s} of {splits}", got[s],
                            wide(e[own, :R]).T @ (wide(x) * keep_x)[own], product(e[own, :R].T, (x * keep_x)[own]), 3)
        device.release()


# ---- attention ------------------------------------------------------------------------------------------------------


def attend(q, k, v, dout, seg0, scale, window, cap, exact):
    """o, lse, delta, dq, dk, dv in float64; not `exact`: f32 with every tensor between two products rounded to f16."""
    kind = np.float64 if exact else np.float32
    step = (lambda a: a) if exact else (lambda a: f16(a).astype(kind))
    q, k, v, dout = (a.astype(kind) for a in (q, k, v, dout))
    M, H, D = q.shape
    token, G = np.arange(M), H // k.shape[1]
    seen = (token <= token[:, None]) & (token >= seg0[:, None])
    if window:
        seen &= token > token[:, None] - window
    o, dq, dk, dv = (np.zeros_like(a) for a in (q, q, k, v))
    lse, delta = np.zeros((H, M), kind), np.zeros((H, M), kind)
    for h in range(H):
        key, value = k[:, h // G], v[:, h // G]
        x = step(step(q[:, h] @ key.T) * kind(scale))
        tanh = np.tanh(x / kind(cap)) if cap else 0
        s = np.where(seen, step(cap * tanh) if cap else x, -np.inf)
        top = s.max(1, keepdims=True)
        e = np.exp(s - top)
        lse[h] = (top + np.log(e.sum(1, keepdims=True)))[:, 0]
        p = step(e / e.sum(1, keepdims=True))
        o[:, h] = step(p @ value)
        delta[h] = (o[:, h] * dout[:, h]).sum(1)
        dx = step(p * (step(dout[:, h] @ value.T) - delta[h][:, None]) * (1 - tanh**2))
        dq[:, h] = step(scale * (dx @ key))
        dk[:, h // G] += step(scale * (dx.T @ q[:, h]))
        dv[:, h // G] += step(p.T @ dout[:, h])
    return o, lse, delta, dq, step(dk), step(dv)


def check_attention(device, random):
    sizes = sorted({e["consts"]["DP"] for e in device.of("attention_fwd")})
    cases = [(1, [1], 1, 1, 0, 0), (7, [3, 4], 2, 1, 0, 0), (33, [33], 2, 2, 0, 5.0), (130, [1, 70, 59], 4, 2, 0, 0),
             (150, [150], 2, 1, 37, 0), (97, [20, 77], 3, 1, 16, 20.0)]
    for D in (16, 24, 32, 50, 64, 80, 96, 128, 200, 256):
        DP = min((size for size in sizes if size >= D), default=0)
        for M, documents, H, KV, window, cap in cases if DP else ():
            ends = np.cumsum(documents)
            seg0 = np.repeat(ends - documents, documents).astype(np.int32)
            seg1 = np.repeat(ends, documents).astype(np.int32)
            shapes = ((M, H, D), (M, KV, D), (M, KV, D), (M, H, D))
            q, k, v, dout = (f16(1.3 * random.standard_normal(shape)) for shape in shapes)
            scale = D**-0.5
            truth, naive = (attend(q, k, v, dout, seg0, scale, window, cap, exact) for exact in (True, False))
            inputs = [device.put(a) for a in (q, k, v)]
            starts, ends, gradient = device.put(seg0), device.put(seg1), device.put(dout)
            dims = M, H, KV, D, scale, window, cap
            saved = [device.put(a.astype(np.float32)) for a in truth[1:3]]
            what = f"D{D} M{M} documents {documents} heads {H}/{KV} window {window} cap {cap}"

            def run(op, outputs, *arguments, heads=H, rows="BM"):
                (entry,) = device.of(op, DP=DP, CAP=int(cap > 0))
                places = [device.output(np.full_like(a, np.nan)) for a in outputs]
                grid = ceil_div(M, entry["consts"][rows]), heads, 1
                device.launch(entry, grid, *(p[0] for p in places), *arguments)
                return [p[1]() for p in places]

            o, lse = run("attention_fwd", (q, truth[1].astype(np.float32)), *inputs, starts, *dims)
            (dq,) = run("attention_dq", (q,), gradient, *inputs, *saved, starts, *dims)
            dk, dv = run("attention_dkv", (k, v), gradient, *inputs, *saved, starts, ends, *dims, heads=KV, rows="BN")
            for at, name, got in ((0, "o", o), (1, "lse", lse), (3, "dq", dq), (4, "dk", dk), (5, "dv", dv)):
                compare(f"attention {name} {what}", got, truth[at], naive[at], 2 if at < 2 else 3)
            device.release()


if __name__ == "__main__":
    checks = {name[6:]: function for name, function in list(globals().items()) if name.startswith("check_")}
    for name in sys.argv[1:] or checks:
        checks[name](Device(), np.random.default_rng(7))
    print(f"{len(FAILURES)} out of bounds", *FAILURES, sep="\n")
    sys.exit(bool(FAILURES))
