package io.fourfold.kernels.comm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.comm.RankThreads.Outcome;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

final class InProcessFailureTest extends FailureContract {
    @Override
    List<? extends WatchableWorld> create(int size, Duration timeout) {
        return InProcessWorld.create(size, timeout);
    }

    @Test
    void ranksMeetByRunId() throws Exception {
        String id = "meet-by-run-id";
        for (int attempt = 0; attempt < 2; attempt++) {
            InProcessWorld first = InProcessWorld.join(id, 0, 2);
            assertThatThrownBy(() -> InProcessWorld.join(id, 0, 2)).hasMessageContaining("joined run");
            assertThatThrownBy(() -> InProcessWorld.join(id, 1, 3)).hasMessageContaining("size 3");
            assertThatThrownBy(() -> InProcessWorld.join(id, 2, 2)).hasMessageContaining("outside");
            InProcessWorld second = InProcessWorld.join(id, 1, 2);
            List<Outcome<Float>> outcomes = RankThreads.outcomes(List.of(first, second), world -> {
                CpuTensor value = CpuTensor.ofFloats(DType.FP32, new float[] {1f + world.rank()}, Shape.of(1));
                world.group("dp", List.of(0, 1)).allReduce(value, ReduceOp.SUM);
                return value.floats()[0];
            });
            assertThat(outcomes).extracting(Outcome::value).containsExactly(3f, 3f);
        }
    }
}
