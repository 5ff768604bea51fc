package io.fourfold.kernels.comm;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** For every transport: each collective against a plain computation over all ranks' inputs, for random sizes, types and group sizes. */
abstract class CollectivesContract {
    /** A world of its own for every call. */
    abstract List<? extends CommunicationWorld> create(int size) throws Exception;

    private static final DType[] TYPES = {DType.FP32, DType.BF16, DType.INT32};

    @TestFactory
    Stream<DynamicTest> agreesWithPlainComputation() {
        return LongStream.range(0, 40).mapToObj(seed -> DynamicTest.dynamicTest("seed " + seed, () -> check(seed)));
    }

    private void check(long seed) throws Exception {
        Random random = new Random(seed);
        int size = 1 + random.nextInt(5);
        DType dtype = TYPES[random.nextInt(TYPES.length)];
        ReduceOp op = random.nextBoolean() ? ReduceOp.SUM : ReduceOp.MAX;
        int part = random.nextInt(random.nextBoolean() ? 10 : 3000);
        long[] counts = new Random(seed).longs(size, 0, 40).toArray();
        int total = (int) Arrays.stream(counts).sum();
        float[][] same = inputs(random, size, part * size, dtype);
        float[][] ragged = inputs(random, size, total, dtype);
        RankThreads.run(create(size), world -> {
            Communicator group = world.group("test", RankThreads.all(size));
            int rank = group.rank();
            float[] sum = reduced(same, op, dtype);
            CpuTensor values = tensor(same[rank], dtype);
            group.allReduce(values, op);
            assertThat(read(values)).isEqualTo(sum);

            CpuTensor slice = tensor(new float[part], dtype);
            group.reduceScatter(tensor(same[rank], dtype), slice, op);
            assertThat(read(slice)).isEqualTo(Arrays.copyOfRange(sum, rank * part, (rank + 1) * part));

            CpuTensor gathered = tensor(new float[part * size], dtype);
            group.allGather(slice, gathered);
            assertThat(read(gathered)).isEqualTo(sum);

            float[] raggedSum = reduced(ragged, op, dtype);
            CpuTensor raggedSlice = tensor(new float[(int) counts[rank]], dtype);
            group.reduceScatterV(tensor(ragged[rank], dtype), raggedSlice, counts, op);
            CpuTensor raggedAll = tensor(new float[total], dtype);
            group.allGatherV(raggedSlice, raggedAll, counts);
            assertThat(read(raggedAll)).isEqualTo(raggedSum);

            int root = size - 1;
            CpuTensor copied = tensor(same[rank], dtype);
            group.broadcast(copied, root);
            assertThat(read(copied)).isEqualTo(same[root]);
            return true;
        });
    }

    @Test
    void allToAllMovesEveryPart() throws Exception {
        for (int seed = 0; seed < 20; seed++) {
            Random random = new Random(seed);
            int size = 1 + random.nextInt(4);
            long[][] counts = new long[size][];
            for (int r = 0; r < size; r++) {
                counts[r] = random.longs(size, 0, 6).toArray();
            }
            List<Long> sent = RankThreads.run(create(size), world -> {
                Communicator group = world.group("ep", RankThreads.all(size));
                int rank = group.rank();
                long[] receiveCounts = new long[size];
                for (int r = 0; r < size; r++) {
                    receiveCounts[r] = counts[r][rank];
                }
                CpuTensor received = tensor(new float[sum(receiveCounts)], DType.FP32);
                group.allToAllV(
                        tensor(labelled(rank, counts[rank]), DType.FP32), counts[rank], received, receiveCounts);
                int at = 0;
                for (int from = 0; from < size; from++) {
                    for (int i = 0; i < receiveCounts[from]; i++) {
                        assertThat(read(received)[at++]).isEqualTo(100 * from + 10 * rank + i);
                    }
                }
                return group.bytesSent();
            });
            for (int rank = 0; rank < size; rank++) {
                assertThat(sent.get(rank)).isEqualTo(4L * (sum(counts[rank]) - counts[rank][rank]));
            }
        }
    }

    private static float[] labelled(int rank, long[] counts) {
        float[] values = new float[sum(counts)];
        int at = 0;
        for (int to = 0; to < counts.length; to++) {
            for (int i = 0; i < counts[to]; i++) {
                values[at++] = 100 * rank + 10 * to + i;
            }
        }
        return values;
    }

    @Test
    void countsPayloadBytesSentToOthers() throws Exception {
        List<long[]> bytes = RankThreads.run(create(2), world -> {
            Communicator group = world.group("dp", RankThreads.all(2));
            long[] after = new long[5];
            group.allReduce(tensor(new float[10], DType.FP32), ReduceOp.SUM);
            after[0] = group.bytesSent();
            group.allReduce(tensor(new float[10], DType.BF16), ReduceOp.SUM);
            after[1] = group.bytesSent();
            group.reduceScatter(tensor(new float[10], DType.FP32), tensor(new float[5], DType.FP32), ReduceOp.SUM);
            after[2] = group.bytesSent();
            group.allGather(tensor(new float[5], DType.FP32), tensor(new float[10], DType.FP32));
            after[3] = group.bytesSent();
            group.broadcast(tensor(new float[3], DType.INT32), 0);
            group.barrier();
            after[4] = group.bytesSent();
            return after;
        });
        // All-reduce: half sent for reduction, half sent back. Then 2 bytes an element; a part; a part; the root alone.
        assertThat(bytes.get(0)).containsExactly(40, 60, 80, 100, 112);
        assertThat(bytes.get(1)).containsExactly(40, 60, 80, 100, 100);
    }

    @Test
    void roundsBf16SumsOnceAndAddsInRankOrder() throws Exception {
        // Rounding after every addition would lose both halves: 256 + 1 = 256 in BF16, which has 8 significant bits.
        float[] parts = {256f, 1f, 1f};
        RankThreads.run(create(3), world -> {
            Communicator group = world.group("tp", RankThreads.all(3));
            CpuTensor value = tensor(new float[] {parts[group.rank()]}, DType.BF16);
            group.allReduce(value, ReduceOp.SUM);
            assertThat(read(value)).containsExactly(258f);
            float[] cancelling = {1e8f, 1f, -1e8f};
            CpuTensor ordered = tensor(new float[] {cancelling[group.rank()]}, DType.FP32);
            group.allReduce(ordered, ReduceOp.SUM);
            assertThat(read(ordered)).containsExactly((1e8f + 1f) - 1e8f);
            return true;
        });
    }

    @Test
    void worksInPlaceOnParts() throws Exception {
        RankThreads.run(create(2), world -> {
            Communicator group = world.group("dp", RankThreads.all(2));
            int rank = group.rank();
            CpuTensor whole = tensor(new float[] {1 + rank, 2 + rank, 3 + rank, 4 + rank}, DType.FP32);
            CpuTensor mine = whole.view(2L * rank, Shape.of(2));
            group.reduceScatter(whole, mine, ReduceOp.SUM);
            group.allGather(mine, whole);
            assertThat(read(whole)).containsExactly(3f, 5f, 7f, 9f);
            return true;
        });
    }

    @Test
    void groupsAndWorldsCloseOneAfterTheOther() throws Exception {
        RankThreads.run(create(2), world -> {
            Communicator group = world.group("dp", RankThreads.all(2));
            group.barrier();
            group.close();
            group.close();
            Communicator next = world.group("dp", RankThreads.all(2));
            next.barrier();
            next.close();
            world.close();
            return true;
        });
    }

    @Test
    void propagatesNanThroughMax() throws Exception {
        RankThreads.run(create(2), world -> {
            Communicator group = world.group("dp", RankThreads.all(2));
            CpuTensor value = tensor(new float[] {group.rank() == 0 ? Float.NaN : 1f}, DType.FP32);
            group.allReduce(value, ReduceOp.MAX);
            assertThat(read(value)[0]).isNaN();
            return true;
        });
    }

    @Test
    void sendsAndReceivesInOrder() throws Exception {
        RankThreads.run(create(2), world -> {
            Communicator group = world.group("pp", RankThreads.all(2));
            if (group.rank() == 0) {
                CpuTensor value = tensor(new float[] {1, 2}, DType.FP32);
                group.send(value, 1);
                value.floats()[value.offset()] = 7;
                group.send(value, 1);
                group.send(CpuTensor.ofInts(new int[] {9}, Shape.of(1)), 1);
                assertThat(group.bytesSent()).isEqualTo(20);
            } else {
                CpuTensor value = tensor(new float[2], DType.FP32);
                group.receive(value, 0);
                assertThat(read(value)).containsExactly(1f, 2f);
                group.receive(value, 0);
                assertThat(read(value)).containsExactly(7f, 2f);
                CpuTensor number = CpuTensor.ofInts(new int[1], Shape.of(1));
                group.receive(number, 0);
                assertThat(number.ints()).containsExactly(9);
            }
            return true;
        });
    }

    /** A cycle through three groups in which every rank would wait if the first send did. */
    @Test
    void aSendNeverWaitsForItsReceiver() throws Exception {
        int length = 3_000_000;
        RankThreads.run(create(4), world -> {
            Communicator stages = world.group("pp", RankThreads.all(4));
            boolean first = world.rank() == 0 || world.rank() == 2;
            Communicator pair = world.group("pair", first ? List.of(0, 2) : List.of(1, 3));
            CpuTensor values = tensor(new float[length], DType.FP32);
            switch (world.rank()) {
                case 0 -> {
                    stages.send(values, 1);
                    pair.barrier();
                }
                case 1 -> {
                    pair.barrier();
                    stages.receive(values, 0);
                }
                case 2 -> {
                    pair.barrier();
                    stages.send(values, 3);
                }
                default -> {
                    stages.receive(values, 2);
                    pair.barrier();
                }
            }
            return true;
        });
    }

    /** One forward, one backward: stages send activations on and gradients back as each becomes free. */
    @Test
    void pipelineStagesExchangeLargeMessagesInAnyOrder() throws Exception {
        int stages = 3;
        int microBatches = 5;
        RankThreads.run(create(stages), world -> {
            Communicator group = world.group("pp", RankThreads.all(stages));
            int rank = world.rank();
            int warmUp = stages - rank - 1;
            for (int i = 0; i < microBatches + warmUp; i++) {
                if (i < microBatches) {
                    passOn(group, i, rank - 1, rank + 1, stages);
                }
                if (i >= warmUp) {
                    passOn(group, 100 + i - warmUp, rank + 1, rank - 1, stages);
                }
            }
            return true;
        });
    }

    private static void passOn(Communicator group, int label, int from, int to, int stages) {
        int length = 500_000;
        CpuTensor values = tensor(new float[length], DType.BF16);
        if (from >= 0 && from < stages) {
            group.receive(values, from);
            assertThat(read(values)[length - 1]).isEqualTo(label);
        }
        values.floats()[values.offset() + length - 1] = label;
        if (to >= 0 && to < stages) {
            group.send(values, to);
        }
    }

    @Test
    void whatWasSentArrivesThoughTheSenderHasLeft() throws Exception {
        RankThreads.run(create(2), world -> {
            Communicator group = world.group("pp", RankThreads.all(2));
            CpuTensor values = tensor(new float[2_000_000], DType.FP32);
            if (world.rank() == 0) {
                group.send(values, 1);
                world.close();
            } else {
                Thread.sleep(100);
                group.receive(values, 0);
            }
            return true;
        });
    }

    @Test
    void groupsOfOneRankMoveNothing() throws Exception {
        RankThreads.run(create(2), world -> {
            Communicator alone = world.group("tp", List.of(world.rank()));
            CpuTensor value = tensor(new float[] {world.rank()}, DType.FP32);
            CpuTensor other = tensor(new float[1], DType.FP32);
            alone.allReduce(value, ReduceOp.SUM);
            alone.broadcast(value, 0);
            alone.barrier();
            alone.reduceScatter(value, other, ReduceOp.SUM);
            alone.allGather(other, value);
            alone.allToAllV(value, new long[] {1}, other, new long[] {1});
            assertThat(read(other)).containsExactly(world.rank());
            assertThat(alone.bytesSent()).isZero();
            return true;
        });
    }

    static CpuTensor tensor(float[] values, DType dtype) {
        int pad = 3;
        if (dtype == DType.INT32) {
            int[] ints = new int[values.length + pad];
            for (int i = 0; i < values.length; i++) {
                ints[i + pad] = (int) values[i];
            }
            return CpuTensor.ofInts(ints, Shape.of(ints.length)).view(pad, Shape.of(values.length));
        }
        float[] floats = new float[values.length + pad];
        System.arraycopy(values, 0, floats, pad, values.length);
        return CpuTensor.ofFloats(dtype, floats, Shape.of(floats.length)).view(pad, Shape.of(values.length));
    }

    private static float[] read(CpuTensor tensor) {
        float[] values = new float[tensor.size()];
        for (int i = 0; i < values.length; i++) {
            int at = tensor.offset() + i;
            values[i] = tensor.dtype() == DType.INT32 ? tensor.ints()[at] : tensor.floats()[at];
        }
        return values;
    }

    private static float[][] inputs(Random random, int ranks, int length, DType dtype) {
        float[][] inputs = new float[ranks][length];
        for (float[] input : inputs) {
            for (int i = 0; i < length; i++) {
                float value = (float) random.nextGaussian() * 100;
                input[i] = switch (dtype) {
                    case FP32 -> value;
                    case BF16 -> BFloat16.round(value);
                    case INT32 -> (int) value;
                    case INT16 -> throw new IllegalArgumentException("never sent");
                };
            }
        }
        return inputs;
    }

    private static float[] reduced(float[][] inputs, ReduceOp op, DType dtype) {
        float[] result = inputs[0].clone();
        for (int r = 1; r < inputs.length; r++) {
            for (int i = 0; i < result.length; i++) {
                result[i] = op == ReduceOp.SUM ? result[i] + inputs[r][i] : Math.max(result[i], inputs[r][i]);
            }
        }
        for (int i = 0; i < result.length && dtype == DType.BF16; i++) {
            result[i] = BFloat16.round(result[i]);
        }
        return result;
    }

    private static int sum(long[] counts) {
        return (int) Arrays.stream(counts).sum();
    }
}
