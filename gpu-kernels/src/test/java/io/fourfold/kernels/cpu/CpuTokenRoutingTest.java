package io.fourfold.kernels.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.op.MoeOps;
import io.fourfold.kernels.tensor.DType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

final class CpuTokenRoutingTest {
    private final OperationFixture fixture = new OperationFixture(5);
    private final MoeOps ops = fixture.backend.moe();

    @AfterEach
    void close() {
        fixture.close();
    }

    @Test
    void eachTokenGoesOnceToARank() {
        CpuTensor experts = fixture.ints(new int[] {0, 1, 5, 4, 3, -1, -1, -1, -1, 2, 0, 5}, 4, 3);
        CpuTensor ranks = fixture.empty(DType.INT32, 4, 3);
        CpuTensor counts = fixture.empty(DType.INT32, 3, 2);
        ops.ranksOfSlots(experts, 2, ranks, counts);
        assertThat(fixture.read(ranks)).containsExactly(0, -1, 2, 2, 1, -1, -1, -1, -1, 1, 0, 2);
        assertThat(fixture.read(counts)).as("tokens and slots of each rank").containsExactly(2, 3, 2, 2, 3, 3);
    }

    @Test
    void routingTravelsWithTheToken() {
        CpuTensor experts = fixture.ints(new int[] {0, 1, 5, 4, 3, -1}, 2, 3);
        CpuTensor weights = fixture.empty(DType.FP32, 2, 3);
        for (int i = 0; i < 6; i++) {
            weights.floats()[weights.offset() + i] = i + 0.5f;
        }
        CpuTensor ids = fixture.ints(new int[] {70, -3}, 2);
        CpuTensor slotOfRow = fixture.ints(new int[] {4, 0, 2}, 3);
        CpuTensor packed = fixture.empty(DType.INT32, 3, 7);
        ops.packRouting(experts, weights, ids, slotOfRow, packed);
        CpuTensor local = fixture.empty(DType.INT32, 3, 3);
        CpuTensor travelled = fixture.empty(DType.FP32, 3, 3);
        CpuTensor travelledIds = fixture.empty(DType.INT32, 3);
        ops.unpackRouting(packed, 4, 2, local, travelled, travelledIds);
        assertThat(fixture.read(local)).containsExactly(0, -1, -1, -1, -1, 1, -1, -1, 1);
        assertThat(fixture.read(travelledIds)).containsExactly(-3, 70, 70);
        float[] values = new float[9];
        System.arraycopy(travelled.floats(), travelled.offset(), values, 0, 9);
        assertThat(values).containsExactly(3.5f, 4.5f, 5.5f, 0.5f, 1.5f, 2.5f, 0.5f, 1.5f, 2.5f);
    }

    @Test
    void anExpertBeyondTheLastRankIsRefused() {
        CpuTensor experts = fixture.ints(new int[] {6}, 1, 1);
        CpuTensor ranks = fixture.empty(DType.INT32, 1, 1);
        CpuTensor counts = fixture.empty(DType.INT32, 3, 2);
        assertThatThrownBy(() -> ops.ranksOfSlots(experts, 2, ranks, counts)).hasMessageContaining("expert 6");
    }
}
