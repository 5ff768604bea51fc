package io.fourfold.kernels.cpu;

import io.fourfold.kernels.numeric.ExactSum;
import io.fourfold.kernels.op.OptimizerOps;
import io.fourfold.kernels.tensor.Tensor;

/** Sums of squares that do not depend on how a buffer is cut, see {@link OptimizerOps#sumSquares}. */
final class SquareSums {
    private SquareSums() {}

    static void of(Tensor values, long[] starts, Tensor out) {
        CpuTensor from = CpuTensor.of(values);
        CpuTensor to = CpuTensor.of(out);
        int segments = Math.max(0, starts.length - 1);
        Arguments.require(
                to.size() == segments * ExactSum.INTS, segments + " segments do not fill " + to.size() + " elements");
        for (int i = 0; i < segments; i++) {
            ExactSum sum = new ExactSum();
            int end = Math.toIntExact(starts[i + 1]);
            for (int at = Math.toIntExact(starts[i]); at < end; ) {
                int next = Math.min(
                        end, at / OptimizerOps.SQUARES_GROUP * OptimizerOps.SQUARES_GROUP + OptimizerOps.SQUARES_GROUP);
                sum.add(group(from.floats(), from.offset(), at, next));
                at = next;
            }
            System.arraycopy(sum.halves(), 0, to.ints(), to.offset() + i * ExactSum.INTS, ExactSum.INTS);
        }
    }

    /** Even and odd elements apart, as positions in the buffer. */
    private static double group(float[] x, int offset, int from, int to) {
        double even = 0;
        double odd = 0;
        for (int i = from; i < to; i++) {
            double value = x[offset + i];
            if (i % 2 == 0) {
                even += value * value;
            } else {
                odd += value * value;
            }
        }
        return even + odd;
    }
}
