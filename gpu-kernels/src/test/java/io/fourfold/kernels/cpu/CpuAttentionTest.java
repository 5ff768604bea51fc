package io.fourfold.kernels.cpu;

import static io.fourfold.kernels.cpu.OperationFixture.assertClose;
import static io.fourfold.kernels.cpu.OperationFixture.differences;
import static io.fourfold.kernels.cpu.OperationFixture.dot;
import static io.fourfold.kernels.cpu.OperationFixture.doubles;
import static io.fourfold.kernels.cpu.OperationFixture.tolerance;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Blocked attention against two nested loops in FP64. */
final class CpuAttentionTest {
    private final OperationFixture fixture = new OperationFixture(3);
    private final AttentionOps ops = fixture.backend.attention();

    @AfterEach
    void close() {
        fixture.close();
    }

    @ParameterizedTest
    @CsvSource({
        "FP32, 1, 1, 1, 1, 2, 1",
        "FP32, 2, 5, 4, 2, 6, 5",
        "FP32, 1, 130, 2, 1, 8, 130",
        "FP32, 2, 97, 4, 1, 4, 20",
        "BF16, 1, 70, 3, 3, 16, 9",
        "FP32, 0, 4, 2, 1, 4, 4",
        "FP32, 1, 200, 16, 1, 4, 33"
    })
    void forwardAgreesWithTheDefinition(
            DType dtype, int batch, int sequence, int heads, int kvHeads, int dim, int document) {
        AttentionShape shape = new AttentionShape(batch, sequence, heads, kvHeads, dim, 0.4f);
        CpuTensor qkv = fixture.gaussian(dtype, 1.5, shape.tokens(), shape.qkvWidth());
        CpuTensor starts = documentStarts(shape, document);
        CpuTensor out = fixture.empty(dtype, shape.tokens(), shape.outputWidth());
        CpuTensor lse = fixture.empty(DType.FP32, batch, heads, sequence);
        ops.forward(shape, qkv, starts, out, lse);
        Reference reference = new Reference(shape, fixture.read(starts));
        assertClose(out, reference.forward(doubles(qkv)), tolerance(dtype));
        assertClose(lse, reference.logSumExp, 1e-5);
    }

    @ParameterizedTest
    @CsvSource({"FP32, 2, 5, 4, 2, 6, 3", "BF16, 1, 7, 2, 1, 4, 7", "FP32, 1, 1, 1, 1, 2, 1", "FP32, 1, 34, 2, 1, 2, 11"
    })
    void backwardAgreesWithDifferences(
            DType dtype, int batch, int sequence, int heads, int kvHeads, int dim, int document) {
        AttentionShape shape = new AttentionShape(batch, sequence, heads, kvHeads, dim, 0.5f);
        CpuTensor qkv = fixture.gaussian(dtype, 1, shape.tokens(), shape.qkvWidth());
        CpuTensor starts = documentStarts(shape, document);
        // Kept in FP32 even for BF16 input: the gradient then depends on one rounding only, that of its own output.
        CpuTensor out = fixture.empty(DType.FP32, shape.tokens(), shape.outputWidth());
        CpuTensor lse = fixture.empty(DType.FP32, batch, heads, sequence);
        ops.forward(shape, qkv, starts, out, lse);
        CpuTensor dout = fixture.gaussian(dtype, 1, shape.tokens(), shape.outputWidth());
        CpuTensor dqkv = fixture.empty(dtype, shape.tokens(), shape.qkvWidth());
        ops.backward(shape, dout, qkv, starts, out, lse, dqkv);
        Reference reference = new Reference(shape, fixture.read(starts));
        double[] d = doubles(dout);
        assertClose(dqkv, differences(at -> dot(d, reference.forward(at)), doubles(qkv)), tolerance(dtype));
    }

    /** Long sequences, where blocks are skipped, against the analytic gradient in FP64. */
    @ParameterizedTest
    @CsvSource({"150, 4, 2, 40", "200, 8, 1, 200", "129, 1, 1, 64"})
    void backwardOverManyBlocks(int sequence, int heads, int kvHeads, int document) {
        AttentionShape shape = new AttentionShape(2, sequence, heads, kvHeads, 4, 0.5f);
        CpuTensor qkv = fixture.gaussian(DType.FP32, 1, shape.tokens(), shape.qkvWidth());
        CpuTensor starts = documentStarts(shape, document);
        CpuTensor out = fixture.empty(DType.FP32, shape.tokens(), shape.outputWidth());
        CpuTensor lse = fixture.empty(DType.FP32, 2, heads, sequence);
        ops.forward(shape, qkv, starts, out, lse);
        CpuTensor dout = fixture.gaussian(DType.FP32, 1, shape.tokens(), shape.outputWidth());
        CpuTensor dqkv = fixture.empty(DType.FP32, shape.tokens(), shape.qkvWidth());
        ops.backward(shape, dout, qkv, starts, out, lse, dqkv);
        Reference reference = new Reference(shape, fixture.read(starts));
        assertClose(dqkv, reference.backward(doubles(qkv), doubles(dout)), 1e-5);
    }

    /** A sequence gets the same bits alone and within a batch. */
    @Test
    void doesNotDependOnTheRestOfTheBatch() {
        AttentionShape two = new AttentionShape(2, 40, 4, 2, 8, 0.3f);
        AttentionShape one = new AttentionShape(1, 40, 4, 2, 8, 0.3f);
        CpuTensor qkv = fixture.gaussian(DType.FP32, 1, 80, two.qkvWidth());
        CpuTensor starts = documentStarts(two, 13);
        CpuTensor out = fixture.empty(DType.FP32, 80, two.outputWidth());
        CpuTensor lse = fixture.empty(DType.FP32, 2, 4, 40);
        ops.forward(two, qkv, starts, out, lse);
        CpuTensor alone = fixture.empty(DType.FP32, 40, one.outputWidth());
        CpuTensor aloneLse = fixture.empty(DType.FP32, 1, 4, 40);
        CpuTensor second = CpuTensor.of(qkv.rows(40, 80));
        ops.forward(one, second, starts.view(40, Shape.of(40)), alone, aloneLse);
        assertThat(fixture.readFloats(alone)).isEqualTo(fixture.readFloats(CpuTensor.of(out.rows(40, 80))));
    }

    @Test
    void survivesLargeLogitsAndRefusesWrongStarts() {
        AttentionShape shape = new AttentionShape(1, 3, 1, 1, 2, 1f);
        CpuTensor qkv = fixture.gaussian(DType.FP32, 300, 3, 6);
        CpuTensor out = fixture.empty(DType.FP32, 3, 2);
        CpuTensor lse = fixture.empty(DType.FP32, 1, 1, 3);
        ops.forward(shape, qkv, fixture.zeros(DType.INT32, 3), out, lse);
        assertClose(out, new Reference(shape, new int[3]).forward(doubles(qkv)), 1e-4);
        CpuTensor wrong = fixture.ints(new int[] {0, 2, 0}, 3);
        assertThatThrownBy(() -> ops.forward(shape, qkv, wrong, out, lse)).hasMessageContaining("of token 1");
    }

    private CpuTensor documentStarts(AttentionShape shape, int length) {
        int[] starts = new int[shape.tokens()];
        for (int i = 0; i < starts.length; i++) {
            starts[i] = i % shape.sequence() / length * length;
        }
        return fixture.ints(starts, starts.length);
    }

    private static final class Reference {
        private final AttentionShape shape;
        private final int[] starts;
        private final double[] logSumExp;

        Reference(AttentionShape shape, int[] starts) {
            this.shape = shape;
            this.starts = starts;
            this.logSumExp = new double[shape.tokens() * shape.heads()];
        }

        /** Runs body for every query row and head. */
        private void rows(RowBody body) {
            for (int token = 0; token < shape.tokens(); token++) {
                for (int head = 0; head < shape.heads(); head++) {
                    body.run(token, head);
                }
            }
        }

        private interface RowBody {
            void run(int token, int head);
        }

        private int query(int token, int head) {
            return token * shape.qkvWidth() + head * shape.headDim();
        }

        private int key(int token, int head) {
            int kvHead = head / (shape.heads() / shape.kvHeads());
            return token * shape.qkvWidth() + (shape.heads() + kvHead) * shape.headDim();
        }

        private int value(int token, int head) {
            return key(token, head) + shape.kvHeads() * shape.headDim();
        }

        private double[] probabilities(double[] x, int token, int head) {
            int s = shape.sequence();
            int first = token / s * s + starts[token];
            double[] p = new double[token - first + 1];
            double max = Double.NEGATIVE_INFINITY;
            for (int j = 0; j < p.length; j++) {
                p[j] = shape.scale() * product(x, query(token, head), x, key(first + j, head));
                max = Math.max(max, p[j]);
            }
            double sum = 0;
            for (int j = 0; j < p.length; j++) {
                p[j] = Math.exp(p[j] - max);
                sum += p[j];
            }
            for (int j = 0; j < p.length; j++) {
                p[j] /= sum;
            }
            logSumExp[(token / s * shape.heads() + head) * s + token % s] = max + Math.log(sum);
            return p;
        }

        private double product(double[] a, int aAt, double[] b, int bAt) {
            double sum = 0;
            for (int i = 0; i < shape.headDim(); i++) {
                sum += a[aAt + i] * b[bAt + i];
            }
            return sum;
        }

        private void add(double[] to, int at, double factor, double[] from, int fromAt) {
            for (int i = 0; i < shape.headDim(); i++) {
                to[at + i] += factor * from[fromAt + i];
            }
        }

        double[] forward(double[] x) {
            double[] out = new double[shape.tokens() * shape.outputWidth()];
            rows((token, head) -> {
                double[] p = probabilities(x, token, head);
                for (int j = 0; j < p.length; j++) {
                    int other = token - p.length + 1 + j;
                    add(out, token * shape.outputWidth() + head * shape.headDim(), p[j], x, value(other, head));
                }
            });
            return out;
        }

        double[] backward(double[] x, double[] dout) {
            double[] dx = new double[x.length];
            rows((token, head) -> {
                double[] p = probabilities(x, token, head);
                int outAt = token * shape.outputWidth() + head * shape.headDim();
                double mean = 0;
                double[] dp = new double[p.length];
                for (int j = 0; j < p.length; j++) {
                    int other = token - p.length + 1 + j;
                    dp[j] = product(dout, outAt, x, value(other, head));
                    mean += p[j] * dp[j];
                    add(dx, value(other, head), p[j], dout, outAt);
                }
                for (int j = 0; j < p.length; j++) {
                    int other = token - p.length + 1 + j;
                    double ds = shape.scale() * p[j] * (dp[j] - mean);
                    add(dx, query(token, head), ds, x, key(other, head));
                    add(dx, key(other, head), ds, x, query(token, head));
                }
            });
            return dx;
        }
    }
}
