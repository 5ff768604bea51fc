package io.fourfold.kernels.comm;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class TcpCollectivesTest extends CollectivesContract {
    @Override
    List<? extends CommunicationWorld> create(int size) throws Exception {
        return TcpWorlds.create(size, Duration.ofSeconds(20));
    }

    /** More than the buffers hold, so that every connection has to wait for the others now and then. */
    @Test
    void largeTensorsHaveTheBitsOfRanksInOneProcess() throws Exception {
        for (DType dtype : List.of(DType.FP32, DType.BF16, DType.INT32)) {
            assertThat(sums(create(3), dtype)).isEqualTo(sums(InProcessWorld.create(3), dtype));
        }
    }

    private static List<Object> sums(List<? extends CommunicationWorld> worlds, DType dtype) throws Exception {
        return RankThreads.run(worlds, world -> {
                    Communicator group = world.group("dp", RankThreads.all(3));
                    Random random = new Random(world.rank());
                    float[] values = new float[700_001];
                    for (int i = 0; i < values.length; i++) {
                        values[i] = Float.intBitsToFloat(
                                Float.floatToRawIntBits((float) random.nextGaussian()) & 0xFFFF0000);
                    }
                    CpuTensor tensor = tensor(values, dtype);
                    group.allReduce(tensor, ReduceOp.SUM);
                    return dtype == DType.INT32 ? ints(tensor) : bits(tensor);
                })
                .stream()
                .map(Object.class::cast)
                .toList();
    }

    private static List<Integer> ints(CpuTensor tensor) {
        return Arrays.stream(tensor.ints()).boxed().toList();
    }

    private static List<Integer> bits(CpuTensor tensor) {
        return IntStream.range(0, tensor.floats().length)
                .mapToObj(i -> Float.floatToRawIntBits(tensor.floats()[i]))
                .toList();
    }

    /** Both send before either receives, and each is in the other's way: neither may wait for ever. */
    @Test
    void largeMessagesCrossEachOtherAndCollectives() throws Exception {
        int length = 3_000_000;
        RankThreads.run(create(2), world -> {
            Communicator group = world.group("pp", RankThreads.all(2));
            int other = 1 - world.rank();
            CpuTensor sent = CpuTensor.ofFloats(DType.FP32, new float[length], Shape.of(length));
            sent.floats()[length - 1] = 1 + world.rank();
            group.send(sent, other);
            if (world.rank() == 0) {
                group.send(sent, other);
            }
            group.barrier();
            CpuTensor received = CpuTensor.ofFloats(DType.FP32, new float[length], Shape.of(length));
            for (int i = 0; i < 1 + world.rank(); i++) {
                group.receive(received, other);
                assertThat(received.floats()[length - 1]).isEqualTo(1f + other);
            }
            return true;
        });
    }
}
