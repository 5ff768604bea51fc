package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** NCCL in a world of one rank: every call, its counts and types, and the abort. More ranks need more GPUs. */
@Tag("gpu")
@SuppressWarnings("NullAway.Init")
class CudaNcclTest {
    private CudaBackend backend;
    private NcclWorld world;
    private Communicator group;
    private TensorScope scope;

    @BeforeEach
    void open() {
        String reason = CudaDevice.unavailableBecause();
        Assumptions.assumeTrue(reason == null, reason);
        backend = new CudaBackend(0);
        CommunicationWorld host = InProcessWorld.create(1).get(0);
        world = new NcclWorld(backend.runtime(), host);
        group = world.group("all", List.of(0));
        scope = backend.scope(Region.WORKSPACE);
    }

    @AfterEach
    void close() {
        if (backend != null) {
            scope.close();
            world.close();
            backend.close();
        }
    }

    private Tensor floats(DType type, float... values) {
        Tensor tensor = scope.allocate(type, values.length);
        backend.upload(values, tensor);
        return tensor;
    }

    @Test
    void reductionsOfOneRankKeepItsValues() {
        for (DType type : new DType[] {DType.FP32, DType.BF16}) {
            Tensor values = floats(type, 1, -2, 3.5f);
            group.allReduce(values, ReduceOp.SUM);
            group.allReduce(values, ReduceOp.MAX);
            assertThat(backend.download(values)).containsExactly(1, -2, 3.5f);
            Tensor part = scope.allocate(type, 3);
            group.reduceScatter(values, part, ReduceOp.SUM);
            assertThat(backend.download(part)).containsExactly(1, -2, 3.5f);
            Tensor ragged = scope.allocate(type, 2);
            group.reduceScatterV(values, ragged, new long[] {2}, ReduceOp.SUM);
            assertThat(backend.download(ragged)).containsExactly(1, -2);
        }
    }

    @Test
    void movesOfOneRankCopy() {
        Tensor values = scope.allocate(DType.INT32, 4);
        backend.upload(new int[] {4, 5, 6, 7}, values);
        Tensor out = scope.zeros(DType.INT32, 4);
        group.allGather(values, out);
        assertThat(backend.downloadInts(out)).containsExactly(4, 5, 6, 7);
        Tensor other = scope.zeros(DType.INT32, 4);
        group.allGatherV(values, other, new long[] {4});
        assertThat(backend.downloadInts(other)).containsExactly(4, 5, 6, 7);
        Tensor exchanged = scope.zeros(DType.INT32, 4);
        group.allToAllV(values, new long[] {3}, exchanged, new long[] {3});
        assertThat(backend.downloadInts(exchanged)).containsExactly(4, 5, 6, 0);
        group.broadcast(values, 0);
        group.barrier();
        assertThat(group.bytesSent()).isZero();
    }

    @Test
    void nothingRunsAfterAnAbort() throws InterruptedException {
        Thread other = new Thread(() -> world.abort("rank 3 failed"));
        other.start();
        other.join();
        assertThatThrownBy(() -> group.allReduce(floats(DType.FP32, 1), ReduceOp.SUM))
                .isInstanceOf(CommunicationException.class)
                .hasMessageContaining("rank 3 failed")
                .hasMessageContaining("allReduce of group all");
    }

    @Test
    void theEndOfTheHostWorldIsNoticed() throws InterruptedException {
        CommunicationWorld host = InProcessWorld.create(1).get(0);
        try (NcclWorld watched = new NcclWorld(backend.runtime(), host)) {
            Communicator second = watched.group("second", List.of(0));
            host.abort("driver cancelled the run");
            Thread.sleep(1000);
            assertThatThrownBy(second::barrier).hasMessageContaining("driver cancelled the run");
        }
    }
}
