package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Random;
import org.junit.jupiter.api.Test;

final class CpuTensorScopeTest {
    @Test
    void recyclesArraysOfClosedScopes() {
        try (CpuBackend backend = new CpuBackend(1, false)) {
            TensorScope first = backend.scope(Region.ACTIVATIONS);
            float[] array = CpuTensor.of(first.allocate(DType.FP32, 1000)).floats();
            first.close();
            first.close();
            TensorScope second = backend.scope(Region.WORKSPACE);
            CpuTensor again = CpuTensor.of(second.zeros(DType.BF16, 10, 99));
            assertThat(again.floats()).isSameAs(array);
            assertThat(CpuTensor.of(second.allocate(DType.FP32, 1000)).floats()).isNotSameAs(array);
            assertThat(backend.download(again)).containsOnly(0f).hasSize(990);
        }
    }

    @Test
    void countsBytesOfTheDeviceType() {
        try (CpuBackend backend = new CpuBackend(1, false);
                TensorScope scope = backend.scope(Region.PARAMETERS)) {
            scope.allocate(DType.BF16, 3, 5);
            scope.zeros(DType.INT32, 2);
            assertThat(scope.allocatedBytes()).isEqualTo(38);
            assertThat(CpuTensor.of(scope.allocate(DType.FP32, 100_001)).floats())
                    .hasSize(100_001);
        }
    }

    @Test
    void poisonShowsUseAfterCloseAndUninitializedReads() {
        try (CpuBackend backend = new CpuBackend(1, true)) {
            TensorScope scope = backend.scope(Region.ACTIVATIONS);
            Tensor fresh = scope.allocate(DType.FP32, 4);
            assertThat(backend.download(fresh)).containsOnly(Float.NaN);
            backend.upload(new float[4], fresh);
            Tensor number = scope.zeros(DType.INT32, 4);
            scope.close();
            assertThat(backend.download(fresh)).containsOnly(Float.NaN);
            assertThat(backend.downloadInts(number)).containsOnly(Integer.MIN_VALUE);
            assertThatThrownBy(() -> scope.allocate(DType.FP32, 4)).hasMessageContaining("closed ACTIVATIONS scope");
        }
    }

    @Test
    void neverKeepsMoreThanWasEverLive() {
        ArrayPool pool = new ArrayPool(false);
        Random random = new Random(9);
        long peak = 0;
        for (int round = 0; round < 50; round++) {
            float[][] arrays = new float[20][];
            long live = 0;
            for (int i = 0; i < arrays.length; i++) {
                int n = random.nextInt(5000);
                arrays[i] = pool.takeFloats(n);
                assertThat(arrays[i].length).isBetween(n, Math.max(64, n + n / 8 + 1));
                live += arrays[i].length;
            }
            peak = Math.max(peak, live);
            for (float[] array : arrays) {
                pool.release(array);
            }
            assertThat(pool.pooledElements()).isLessThanOrEqualTo(peak);
        }
    }

    @Test
    void uploadRoundsToBf16AndChecksLengths() {
        try (CpuBackend backend = new CpuBackend(1);
                TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor narrow = scope.allocate(DType.BF16, 2);
            backend.upload(new float[] {1.001f, Float.NEGATIVE_INFINITY}, narrow);
            assertThat(backend.download(narrow)).containsExactly(BFloat16.round(1.001f), Float.NEGATIVE_INFINITY);
            assertThatThrownBy(() -> backend.upload(new float[3], narrow))
                    .hasMessageContaining("3 values into BF16[2]");
            assertThat(backend.description()).startsWith("cpu (OpenBLAS");
        }
    }
}
