package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.op.AttentionShape;
import io.fourfold.kernels.tensor.DType;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Ranks of one JVM share OpenBLAS: backends in several threads give the bits that one alone gives. */
final class CpuBackendThreadsTest {
    @Test
    void backendsOfSeveralThreadsDoNotDisturbEachOther() throws Exception {
        List<float[]> expected = List.of(work(0), work(1), work(2));
        ExecutorService threads = Executors.newFixedThreadPool(3);
        try {
            List<Future<float[]>> results = new ArrayList<>();
            for (int i = 0; i < 12; i++) {
                int seed = i % 3;
                results.add(threads.submit(() -> work(seed)));
            }
            for (int i = 0; i < results.size(); i++) {
                assertThat(results.get(i).get(30, TimeUnit.SECONDS)).isEqualTo(expected.get(i % 3));
            }
        } finally {
            threads.shutdownNow();
        }
    }

    /** Attention, its gradient and the output head on inputs of this seed; the gradients. */
    private static float[] work(int seed) {
        try (OperationFixture fixture = new OperationFixture(seed)) {
            AttentionShape shape = new AttentionShape(2, 90, 4, 2, 16, 0.25f);
            CpuTensor qkv = fixture.gaussian(DType.BF16, 1, 180, shape.qkvWidth());
            CpuTensor starts = fixture.zeros(DType.INT32, 180);
            CpuTensor out = fixture.empty(DType.BF16, 180, 64);
            CpuTensor lse = fixture.empty(DType.FP32, 2, 4, 90);
            CpuTensor dout = fixture.empty(DType.BF16, 180, 64);
            CpuTensor dqkv = fixture.empty(DType.FP32, 180, shape.qkvWidth());
            CpuTensor weight = fixture.gaussian(DType.FP32, 1, 500, 64);
            CpuTensor dweight = fixture.zeros(DType.FP32, 500, 64);
            CpuTensor loss = fixture.empty(DType.FP32, 180);
            fixture.backend.attention().forward(shape, qkv, starts, out, lse);
            CpuTensor labels = fixture.randomInts(500, 180);
            fixture.backend.loss().linearCrossEntropy(out, weight, labels, 1f, loss, dout, dweight);
            fixture.backend.attention().backward(shape, dout, qkv, starts, out, lse, dqkv);
            return fixture.readFloats(dqkv);
        }
    }
}
