package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.List;

/**
 * BF16 rows sorted by expert and summed back, R = T k. Bytes: gather reads T rows and R indices and writes R rows; sum reads
 * R rows and indices and writes T rows. The permutation reads R experts and writes two indices each.
 */
final class RowOperations {
    private static final int SAMPLES = 16;

    private final OperationRunner runner;
    private final Backend backend;

    RowOperations(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    void measure(OperationShape shape) {
        int tokens = shape.tokens();
        int k = shape.topK();
        int rows = shape.rows();
        int[] chosen = experts(tokens, k, shape.experts());
        String label = String.format("%s %d x %d, k = %d", shape.name(), tokens, shape.hidden(), k);
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            Tensor experts = scope.allocate(DType.INT32, tokens, k);
            backend.upload(chosen, experts);
            Tensor offsets = scope.allocate(DType.INT32, shape.experts() + 1);
            Tensor rowOfSlot = scope.allocate(DType.INT32, rows);
            Tensor slotOfRow = scope.allocate(DType.INT32, rows);
            backend.elementwise().fill(rowOfSlot, -2f);
            backend.elementwise().fill(slotOfRow, -2f);
            int[] slots = sorted(chosen, shape.experts());
            runner.measure(
                    "permutation",
                    label,
                    Cost.bytes(12.0 * rows),
                    0,
                    List.of(),
                    () -> backend.moe().buildPermutation(experts, offsets, rowOfSlot, slotOfRow),
                    () -> checkPermutation(slots, rowOfSlot, slotOfRow));
            rows(shape, label, slots, rowOfSlot, slotOfRow, scope);
        }
    }

    private void rows(
            OperationShape shape, String label, int[] slots, Tensor rowOfSlot, Tensor slotOfRow, TensorScope scope) {
        int tokens = shape.tokens();
        int k = shape.topK();
        int hidden = shape.hidden();
        double bytes = 2.0 * hidden * (tokens + (double) slots.length) + 4.0 * slots.length;
        RandomData x = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, tokens, hidden);
        Tensor gathered = scope.allocate(DType.BF16, slots.length, hidden);
        runner.measure(
                "gather rows",
                label,
                Cost.bytes(bytes),
                0,
                List.of(gathered),
                () -> backend.moe().gatherRows(x.tensor(), slotOfRow, k, gathered),
                () -> checkGathered(gathered, x, slots, k));
        runner.measure(
                "spread rows",
                label,
                Cost.bytes(bytes),
                0,
                List.of(gathered),
                () -> backend.moe().spreadRows(x.tensor(), slotOfRow, rowOfSlot, k, gathered),
                () -> checkGathered(gathered, x, slots, k));
        RandomData y = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, slots.length, hidden);
        Tensor sums = scope.allocate(DType.BF16, tokens, hidden);
        runner.measure(
                "sum rows",
                label,
                Cost.bytes(bytes),
                DenseProducts.BF16_BOUND,
                List.of(sums),
                () -> backend.moe().sumRows(y.tensor(), rowOfSlot, k, sums),
                () -> checkSums(sums, y, slots, k));
    }

    /** k different experts a token, at random. */
    private int[] experts(int tokens, int k, int experts) {
        int[] chosen = new int[tokens * k];
        for (int t = 0; t < tokens; t++) {
            int at = runner.random().nextInt(experts);
            int stride = 1 + 2 * runner.random().nextInt(Math.max(1, experts / 2));
            for (int j = 0; j < k; j++) {
                chosen[t * k + j] = (at + j * stride) % experts;
            }
        }
        return chosen;
    }

    /** Slots by expert, each expert's ascending. */
    private static int[] sorted(int[] chosen, int experts) {
        int[] next = new int[experts + 1];
        for (int e : chosen) {
            next[e + 1]++;
        }
        Arrays.parallelPrefix(next, Integer::sum);
        int[] slots = new int[chosen.length];
        for (int slot = 0; slot < chosen.length; slot++) {
            slots[next[chosen[slot]]++] = slot;
        }
        return slots;
    }

    private double checkPermutation(int[] slots, Tensor rowOfSlot, Tensor slotOfRow) {
        int[] rows = new int[slots.length];
        for (int row = 0; row < slots.length; row++) {
            rows[slots[row]] = row;
        }
        boolean equal = Arrays.equals(slots, backend.downloadInts(slotOfRow))
                && Arrays.equals(rows, backend.downloadInts(rowOfSlot));
        return equal ? 0 : Double.NaN;
    }

    private double checkGathered(Tensor gathered, RandomData x, int[] slots, int k) {
        ErrorCheck check = new ErrorCheck();
        for (int i = 0; i < SAMPLES; i++) {
            int row = i == 0 ? 0 : i == 1 ? slots.length - 1 : runner.random().nextInt(slots.length);
            float[] got = backend.download(gathered.rows(row, row + 1));
            float[] want = x.row(slots[row] / k);
            for (int c = 0; c < want.length; c++) {
                check.add(got[c], want[c]);
            }
            check.endSet();
        }
        return check.error();
    }

    private double checkSums(Tensor sums, RandomData y, int[] slots, int k) {
        ErrorCheck check = new ErrorCheck();
        int tokens = slots.length / k;
        int token = runner.random().nextInt(tokens);
        for (int t : new int[] {0, token, tokens - 1}) {
            double[] want = new double[y.tensor().dim(1)];
            for (int row = 0; row < slots.length; row++) {
                if (slots[row] / k == t) {
                    float[] part = y.row(row);
                    for (int c = 0; c < want.length; c++) {
                        want[c] += part[c];
                    }
                }
            }
            check.add(backend.download(sums.rows(t, t + 1)), want);
            check.endSet();
        }
        return check.error();
    }
}
