package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import java.util.Arrays;

/** {@link RankReduction} of tensors of any type that collectives take. */
final class TensorReduction {
    private TensorReduction() {}

    /** out[outFrom + i] = reduction over r of sources[r][from + i], for i below length, in the order of the sources. */
    static void reduce(ReduceOp op, CpuTensor[] sources, int from, CpuTensor out, int outFrom, int length) {
        int[] froms = new int[sources.length];
        Arrays.fill(froms, from);
        reduce(op, sources, froms, out, outFrom, length);
    }

    /** The same with a first element of its own for every source. */
    static void reduce(ReduceOp op, CpuTensor[] sources, int[] froms, CpuTensor out, int outFrom, int length) {
        int[] offsets = new int[sources.length];
        for (int r = 0; r < sources.length; r++) {
            if (sources[r].dtype() != out.dtype()) {
                throw new IllegalStateException("member " + r + " gave " + sources[r] + ", expected " + out.dtype());
            }
            offsets[r] = sources[r].offset() + froms[r];
        }
        int outOffset = out.offset() + outFrom;
        if (out.dtype() == DType.INT32) {
            int[][] arrays = new int[sources.length][];
            for (int r = 0; r < sources.length; r++) {
                arrays[r] = sources[r].ints();
            }
            RankReduction.reduce(op, arrays, offsets, length, out.ints(), outOffset);
            return;
        }
        float[][] arrays = new float[sources.length][];
        for (int r = 0; r < sources.length; r++) {
            arrays[r] = sources[r].floats();
        }
        RankReduction.reduce(op, out.dtype() == DType.BF16, arrays, offsets, length, out.floats(), outOffset);
    }
}
