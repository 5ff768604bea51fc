package io.fourfold.bench.operations;

import io.fourfold.bench.operations.OperationRunner.Cost;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.op.RowFormat;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * What parallel axes do to BF16 rows beside communication: packing for the way to the experts, and copying columns out of a
 * wider matrix. Bytes: each input read and each output written once. The reference is the CPU backend on some rows; all bits
 * must be equal.
 */
final class PackingOperations {
    private static final int SAMPLES = 8;

    private final OperationRunner runner;
    private final Backend backend;

    PackingOperations(OperationRunner runner) {
        this.runner = runner;
        backend = runner.backend();
    }

    void measure(OperationShape shape) {
        int rows = shape.rows();
        int cols = shape.hidden();
        String label = String.format(Locale.ROOT, "%s %d x %d", shape.name(), rows, cols);
        try (TensorScope scope = backend.scope(Region.ACTIVATIONS)) {
            RandomData x = RandomData.normal(backend, scope, runner.random(), DType.BF16, 1, rows, cols);
            for (RowFormat format : RowFormat.values()) {
                pack(format, label, x, scope);
            }
            copyColumns(label, x, scope);
        }
    }

    private void pack(RowFormat format, String label, RandomData x, TensorScope scope) {
        int rows = x.tensor().dim(0);
        int cols = x.tensor().dim(1);
        String name = format.name().toLowerCase(Locale.ROOT);
        Tensor packed = scope.allocate(DType.INT32, rows, format.words(cols));
        Tensor out = scope.allocate(DType.BF16, rows, cols);
        double bytes = rows * (2.0 * cols + 4.0 * format.words(cols));
        runner.measure(
                "pack rows " + name,
                label,
                Cost.bytes(bytes),
                0,
                List.of(),
                () -> backend.moe().packRows(x.tensor(), format, packed),
                () -> checkPacked(format, x, packed));
        runner.measure(
                "unpack rows " + name,
                label,
                Cost.bytes(bytes),
                0,
                List.of(out),
                () -> backend.moe().unpackRows(packed, format, out),
                () -> checkUnpacked(format, x, out));
    }

    private void copyColumns(String label, RandomData x, TensorScope scope) {
        int rows = x.tensor().dim(0);
        int count = x.tensor().dim(1) / 2;
        Tensor half = scope.allocate(DType.BF16, rows, count);
        runner.measure(
                "copy half of the columns",
                label,
                Cost.bytes(4.0 * rows * count),
                0,
                List.of(half),
                () -> backend.elementwise().copyColumns(x.tensor(), count, half, 0, count),
                () -> checkColumns(x, half));
    }

    private int[] samples(int rows) {
        int[] samples = runner.random().ints(SAMPLES, 0, rows).toArray();
        samples[0] = 0;
        samples[1] = rows - 1;
        return samples;
    }

    private double checkPacked(RowFormat format, RandomData x, Tensor packed) {
        for (int row : samples(x.tensor().dim(0))) {
            if (!Arrays.equals(reference(format, x, row).words, backend.downloadInts(packed.rows(row, row + 1)))) {
                return Double.NaN;
            }
        }
        return 0;
    }

    private double checkUnpacked(RowFormat format, RandomData x, Tensor out) {
        ErrorCheck check = new ErrorCheck();
        for (int row : samples(x.tensor().dim(0))) {
            add(check, backend.download(out.rows(row, row + 1)), reference(format, x, row).values);
        }
        return check.error();
    }

    private double checkColumns(RandomData x, Tensor half) {
        ErrorCheck check = new ErrorCheck();
        int count = half.dim(1);
        for (int row : samples(half.dim(0))) {
            float[] whole = x.row(row);
            add(check, backend.download(half.rows(row, row + 1)), Arrays.copyOfRange(whole, count, 2 * count));
        }
        return check.error();
    }

    private static void add(ErrorCheck check, float[] got, float[] want) {
        for (int c = 0; c < want.length; c++) {
            check.add(got[c], want[c]);
        }
        check.endSet();
    }

    private record Packed(int[] words, float[] values) {}

    /** What the CPU backend makes of a row. */
    private static Packed reference(RowFormat format, RandomData x, int row) {
        float[] values = x.row(row);
        try (CpuBackend oracle = new CpuBackend(1);
                TensorScope scope = oracle.scope(Region.WORKSPACE)) {
            Tensor source = scope.allocate(DType.BF16, 1, values.length);
            oracle.upload(values, source);
            Tensor packed = scope.allocate(DType.INT32, 1, format.words(values.length));
            oracle.moe().packRows(source, format, packed);
            oracle.moe().unpackRows(packed, format, source);
            return new Packed(oracle.downloadInts(packed), oracle.download(source));
        }
    }
}
