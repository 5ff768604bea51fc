package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.cuda.GpuRanks.Rank;
import io.fourfold.kernels.numeric.BFloat16;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Collectives between the GPUs of this machine against those of the CPU's world on the same values. Everything is the same
 * bits, but FP32 sums over more than two ranks, whose order is NCCL's.
 */
@Tag("gpu")
@SuppressWarnings("NullAway.Init")
class CudaNcclGroupTest {
    private static final DType[] TYPES = {DType.FP32, DType.BF16, DType.INT32};
    private static final int SEEDS = 24;
    private static final int MOST_RANKS = 4;
    /** Of a message: 240 MB. */
    private static final int FLOATS = 60_000_000;

    private GpuRanks gpus;

    @BeforeEach
    void open() throws Exception {
        String reason = CudaDevice.unavailableBecause();
        Assumptions.assumeTrue(reason == null, reason);
        int count = CudaDevice.count();
        Assumptions.assumeTrue(count > 1, "collectives between GPUs need two of them, this process sees " + count);
        gpus = GpuRanks.open(Math.min(count, MOST_RANKS));
    }

    @AfterEach
    void close() throws Exception {
        if (gpus != null) {
            gpus.close();
        }
    }

    /** One rank's groups of the same members on both sides, and memory for tensors. */
    private record Pair(Rank rank, Communicator cpu, Communicator gpu, TensorScope scope) {
        Tensor device(CpuTensor values) {
            Tensor tensor = scope.allocate(values.dtype(), values.shape());
            if (values.dtype() == DType.INT32) {
                rank.backend().upload(values.ints(), tensor);
            } else {
                rank.backend().upload(values.floats(), tensor);
            }
            return tensor;
        }

        /** Both are the same; {@code noise} is an absolute bound, 0 for the same bits. */
        void compare(String what, CpuTensor expected, Tensor actual, double noise) {
            if (expected.dtype() == DType.INT32) {
                assertThat(rank.backend().downloadInts(actual)).as(what).isEqualTo(expected.ints());
                return;
            }
            float[] values = rank.backend().download(actual);
            for (int i = 0; i < values.length; i++) {
                float want = expected.floats()[i];
                boolean equal = noise == 0
                        ? Float.floatToIntBits(want) == Float.floatToIntBits(values[i])
                        : Math.abs(want - values[i]) <= noise;
                if (!equal) {
                    throw new AssertionError(what + " of " + expected + " on rank " + rank.index() + ", element " + i
                            + ": expected " + want + ", got " + values[i]);
                }
            }
        }
    }

    private Pair pair(Rank rank, List<Integer> members, String name) {
        return new Pair(
                rank,
                rank.host().group("cpu " + name, members),
                rank.world().group(name, members),
                rank.backend().scope(Region.WORKSPACE));
    }

    @Test
    void everyCollectiveAgreesWithTheCpu() throws Exception {
        List<Long> bytes = gpus.run(rank -> {
            Pair pair = pair(rank, gpus.all(), "all");
            for (int seed = 0; seed < SEEDS; seed++) {
                check(pair, seed);
            }
            assertThat(pair.gpu().bytesSent()).isEqualTo(pair.cpu().bytesSent());
            return pair.gpu().bytesSent();
        });
        say("every collective: %d ranks, bytes sent %s", gpus.size(), bytes);
    }

    private static void check(Pair pair, int seed) {
        Random shared = new Random(seed);
        int size = pair.gpu().size();
        int rank = pair.gpu().rank();
        DType dtype = TYPES[seed % TYPES.length];
        ReduceOp op = shared.nextBoolean() ? ReduceOp.SUM : ReduceOp.MAX;
        int[] lengths = {0, 1, 1 + shared.nextInt(10), shared.nextInt(3000), 1 << 16, 100_003};
        int part = lengths[shared.nextInt(lengths.length)];
        long[] counts = shared.longs(size, 0, 2 + (seed % 2) * 5000).toArray();
        int without = shared.nextInt(size);
        if (seed % 3 == 0) {
            counts[without] = 0; // of two ranks the other one then has all
        }
        long[][] matrix = new long[size][];
        for (int r = 0; r < size; r++) {
            // Every fourth is so large that copy engines take some of it.
            matrix[r] = shared.longs(size, 0, seed % 4 == 1 ? 200_000 : 700).toArray();
            matrix[r][shared.nextInt(size)] = 0;
        }
        int total = (int) Arrays.stream(counts).sum();
        // NCCL adds in another order over more ranks: an error of ranks * 2^-24 of sums of values near 100.
        double noise = dtype == DType.FP32 && op == ReduceOp.SUM && size > 2 ? 1e-3 : 0;
        Random mine = new Random(1000L * seed + rank);
        String what = "seed " + seed + " ";

        CpuTensor values = random(mine, dtype, part + 5);
        Tensor deviceValues = pair.device(values);
        pair.cpu().allReduce(values, op);
        pair.gpu().allReduce(deviceValues, op);
        pair.compare(what + "allReduce " + op, values, deviceValues, noise);

        CpuTensor whole = random(mine, dtype, part * size);
        CpuTensor slice = zeros(dtype, part);
        Tensor deviceSlice = pair.device(slice);
        pair.gpu().reduceScatter(pair.device(whole), deviceSlice, op);
        pair.cpu().reduceScatter(whole, slice, op);
        pair.compare(what + "reduceScatter " + op, slice, deviceSlice, noise);

        CpuTensor own = random(mine, dtype, part);
        CpuTensor gathered = zeros(dtype, part * size);
        Tensor deviceGathered = pair.device(gathered);
        pair.gpu().allGather(pair.device(own), deviceGathered);
        pair.cpu().allGather(own, gathered);
        pair.compare(what + "allGather", gathered, deviceGathered, 0);

        CpuTensor ragged = random(mine, dtype, total);
        CpuTensor raggedPart = zeros(dtype, (int) counts[rank]);
        Tensor devicePart = pair.device(raggedPart);
        pair.gpu().reduceScatterV(pair.device(ragged), devicePart, counts, op);
        pair.cpu().reduceScatterV(ragged, raggedPart, counts, op);
        pair.compare(what + "reduceScatterV " + op + Arrays.toString(counts), raggedPart, devicePart, noise);

        CpuTensor raggedOwn = random(mine, dtype, (int) counts[rank]);
        CpuTensor raggedAll = zeros(dtype, total);
        Tensor deviceAll = pair.device(raggedAll);
        pair.gpu().allGatherV(pair.device(raggedOwn), deviceAll, counts);
        pair.cpu().allGatherV(raggedOwn, raggedAll, counts);
        pair.compare(what + "allGatherV" + Arrays.toString(counts), raggedAll, deviceAll, 0);

        long[] receiveCounts =
                IntStream.range(0, size).mapToLong(peer -> matrix[peer][rank]).toArray();
        CpuTensor sent = random(mine, dtype, (int) Arrays.stream(matrix[rank]).sum());
        CpuTensor received = zeros(dtype, (int) Arrays.stream(receiveCounts).sum());
        Tensor deviceReceived = pair.device(received);
        pair.gpu().allToAllV(pair.device(sent), matrix[rank], deviceReceived, receiveCounts);
        pair.cpu().allToAllV(sent, matrix[rank], received, receiveCounts);
        pair.compare(what + "allToAllV", received, deviceReceived, 0);

        CpuTensor copied = random(mine, dtype, part);
        Tensor deviceCopied = pair.device(copied);
        pair.gpu().broadcast(deviceCopied, size - 1);
        pair.cpu().broadcast(copied, size - 1);
        pair.compare(what + "broadcast", copied, deviceCopied, 0);
    }

    /** Groups that overlap each other, used in turns, as tensor and context parallelism do. */
    @Test
    void groupsOfSomeRanksTakeTurns() throws Exception {
        Assumptions.assumeTrue(gpus.size() == 4, "groups of a part of the ranks need four GPUs");
        gpus.run(rank -> {
            int r = rank.index();
            Pair rows = pair(rank, r < 2 ? List.of(0, 1) : List.of(2, 3), "rows");
            Pair columns = pair(rank, r % 2 == 0 ? List.of(0, 2) : List.of(1, 3), "columns");
            Pair all = pair(rank, gpus.all(), "all");
            for (int seed = 0; seed < 6; seed++) {
                check(rows, seed);
                check(columns, 100 + seed);
                check(all, 200 + seed);
            }
            return true;
        });
        say("groups of some ranks take turns");
    }

    @Test
    void collectivesStartedBesideComputeGiveTheSame() throws Exception {
        gpus.run(rank -> {
            Pair pair = pair(rank, gpus.all(), "ep");
            int size = gpus.size();
            int length = 1 << 20;
            long[] counts = new long[size];
            Arrays.fill(counts, length);
            Random mine = new Random(rank.index());
            for (int round = 0; round < 4; round++) {
                CpuTensor sent = random(mine, DType.BF16, length * size);
                CpuTensor received = zeros(DType.BF16, length * size);
                CpuTensor whole = random(mine, DType.BF16, length * size);
                CpuTensor sum = zeros(DType.BF16, length);
                Tensor source = pair.device(sent);
                Tensor target = pair.device(received);
                Tensor addends = pair.device(whole);
                Tensor total = pair.device(sum);
                Pending moving = pair.gpu().startAllToAllV(source, counts, target, counts);
                Pending summing = pair.gpu().start(() -> pair.gpu().reduceScatter(addends, total, ReduceOp.SUM));
                // Meanwhile the device's stream takes and gives back memory that collectives must not see reused.
                for (int i = 0; i < 20; i++) {
                    try (TensorScope work = rank.backend().scope(Region.WORKSPACE)) {
                        Tensor busy = work.allocate(DType.FP32, length * size);
                        rank.backend().elementwise().fill(busy, Float.NaN);
                    }
                }
                moving.await();
                summing.await();
                pair.cpu().allToAllV(sent, counts, received, counts);
                pair.cpu().reduceScatter(whole, sum, ReduceOp.SUM);
                pair.compare("round " + round + " startAllToAllV", received, target, 0);
                pair.compare("round " + round + " started reduceScatter", sum, total, 0);
            }
            return true;
        });
        say("collectives started beside compute");
    }

    /** While rows of a layer travel: what the caller still writes, and what it does with memory meanwhile. */
    @Test
    void rowsStartedBesideProductsGiveTheSame() throws Exception {
        gpus.run(rank -> {
            Pair pair = pair(rank, gpus.all(), "tp");
            int size = gpus.size();
            for (int round = 0; round < 6; round++) {
                DType dtype = round % 3 == 2 ? DType.FP32 : DType.BF16;
                int length = round < 3 ? 1 << 20 : 100_003;
                Random mine = new Random(rank.index() + 10L * round);
                CpuTensor own = random(mine, dtype, length);
                CpuTensor gathered = zeros(dtype, length * size);
                CpuTensor whole = random(mine, dtype, length * size);
                CpuTensor sum = zeros(dtype, length);
                Tensor source = pair.device(own);
                Tensor target = pair.device(gathered);
                Tensor addends = pair.device(whole);
                Tensor part = addends.view((long) rank.index() * length, Shape.of(length));
                Tensor late = pair.device(zeros(dtype, length));
                rank.backend().elementwise().copy(part, late);
                rank.backend().elementwise().fill(part, Float.NaN);
                Tensor total = pair.device(sum);
                Pending gathering = pair.gpu().startAllGather(source, target);
                Pending summing = pair.gpu().startReduceScatter(addends, total, ReduceOp.SUM);
                for (int i = 0; i < 20; i++) {
                    try (TensorScope work = rank.backend().scope(Region.WORKSPACE)) {
                        Tensor busy = work.allocate(DType.FP32, length * size);
                        rank.backend().elementwise().fill(busy, Float.NaN);
                    }
                }
                rank.backend().elementwise().copy(late, part);
                gathering.await();
                summing.await();
                summing.await();
                pair.cpu().allGather(own, gathered);
                pair.cpu().reduceScatter(whole, sum, ReduceOp.SUM);
                pair.compare("round " + round + " startAllGather", gathered, target, 0);
                double noise = dtype == DType.FP32 && size > 2 ? 1e-3 : 0;
                pair.compare("round " + round + " startReduceScatter", sum, total, noise);
            }
            assertThat(pair.gpu().bytesSent()).isEqualTo(pair.cpu().bytesSent());
            return true;
        });
        say("rows started beside products");
    }

    /** The same bits as the CPU's over any number of ranks, though addends land where others came from. */
    @Test
    void consumingSumsHaveTheBitsOfTheCpu() throws Exception {
        gpus.run(rank -> {
            Pair pair = pair(rank, gpus.all(), "dp");
            int size = gpus.size();
            Random mine = new Random(rank.index());
            for (DType type : new DType[] {DType.FP32, DType.BF16}) {
                for (int length : new int[] {1000, 1 << 21, (1 << 21) + 40}) {
                    CpuTensor whole = random(mine, type, length * size);
                    CpuTensor sum = zeros(type, length);
                    Tensor addends = pair.device(whole);
                    Tensor total = pair.device(sum);
                    Pending first = pair.gpu().startConsumingReduceScatter(addends, total, ReduceOp.SUM);
                    CpuTensor other = random(mine, type, length * size);
                    CpuTensor otherSum = zeros(type, length);
                    Tensor otherTotal = pair.device(otherSum);
                    Pending second =
                            pair.gpu().startConsumingReduceScatter(pair.device(other), otherTotal, ReduceOp.SUM);
                    first.await();
                    second.await();
                    pair.cpu().reduceScatter(whole, sum, ReduceOp.SUM);
                    pair.cpu().reduceScatter(other, otherSum, ReduceOp.SUM);
                    // NCCL, which takes short ones, adds FP32 in another order over more ranks.
                    double noise = length == 1000 && type == DType.FP32 && size > 2 ? 1e-3 : 0;
                    pair.compare("sum of " + length, sum, total, noise);
                    pair.compare("another sum of " + length, otherSum, otherTotal, noise);
                }
            }
            assertThat(pair.gpu().bytesSent()).isEqualTo(pair.cpu().bytesSent());
            return true;
        });
        say("consuming sums");
    }

    /** One forward, one backward, with messages far above NCCL's buffers (32 channels of 4 MiB): each waits for its receiver. */
    @Test
    void pipelineStagesExchangeLargeMessages() throws Exception {
        int stages = gpus.size();
        int microBatches = 5;
        gpus.run(rank -> {
            Communicator group = rank.world().group("pp", gpus.all());
            int stage = rank.index();
            int warmUp = stages - stage - 1;
            for (int i = 0; i < microBatches + warmUp; i++) {
                if (i < microBatches) {
                    passOn(rank, group, i, stage - 1, stage + 1);
                }
                if (i >= warmUp) {
                    passOn(rank, group, 100 + i - warmUp, stage + 1, stage - 1);
                }
            }
            return true;
        });
        say("pipeline of %d stages", stages);
    }

    private void passOn(Rank rank, Communicator group, int label, int from, int to) {
        try (TensorScope scope = rank.backend().scope(Region.WORKSPACE)) {
            Tensor values = scope.allocate(DType.FP32, FLOATS);
            if (from >= 0 && from < gpus.size()) {
                group.receive(values, from);
                assertThat(rank.backend().download(values.view(FLOATS - 1, Shape.of(1)))[0])
                        .isEqualTo(label);
            }
            rank.backend().elementwise().fill(values, label);
            if (to >= 0 && to < gpus.size()) {
                group.send(values, to);
                rank.backend().elementwise().fill(values, -1); // a send may reuse its memory at once
            }
        }
    }

    @Test
    void anAbortFreesRanksThatWaitForAMissingOne() throws Exception {
        long start = System.nanoTime();
        gpus.run(rank -> {
            Communicator group = rank.world().group("dp", gpus.all());
            try (TensorScope scope = rank.backend().scope(Region.WORKSPACE)) {
                Tensor values = scope.zeros(DType.FP32, 1000);
                group.allReduce(values, ReduceOp.SUM); // all are connected
                rank.backend().download(values);
                if (rank.index() == 0) {
                    Thread.sleep(1500);
                    rank.world().abort("rank 0 gave up");
                } else {
                    assertThatThrownBy(() -> {
                                group.allReduce(values, ReduceOp.SUM);
                                rank.backend().download(values);
                                group.allReduce(values, ReduceOp.SUM);
                            })
                            .isInstanceOf(CommunicationException.class)
                            .hasMessageContaining("rank 0 gave up");
                }
            }
            return true;
        });
        say("abort frees waiting ranks in %.1f s", (System.nanoTime() - start) * 1e-9);
    }

    /** A message by the copy engines waits for its receiver's flag, which nobody raises but the abort. */
    @Test
    void anAbortFreesRanksWhoseMessagesNobodyTakes() throws Exception {
        long start = System.nanoTime();
        gpus.run(rank -> {
            int size = gpus.size();
            Communicator group = rank.world().group("ep", gpus.all());
            try (TensorScope scope = rank.backend().scope(Region.WORKSPACE)) {
                Tensor values = scope.zeros(DType.FP32, size << 18);
                Tensor received = scope.zeros(DType.FP32, size << 18);
                long[] counts = new long[size];
                Arrays.fill(counts, 1 << 18);
                group.allToAllV(values, counts, received, counts); // all are connected
                rank.backend().download(received);
                if (rank.index() == 0) {
                    Thread.sleep(1500);
                    rank.world().abort("rank 0 gave up");
                } else {
                    assertThatThrownBy(() -> {
                                group.startAllToAllV(values, counts, received, counts)
                                        .await();
                                rank.backend().download(received);
                                group.allToAllV(values, counts, received, counts);
                            })
                            .isInstanceOf(CommunicationException.class)
                            .hasMessageContaining("rank 0 gave up");
                }
            }
            return true;
        });
        say("abort frees ranks that copy in %.1f s", (System.nanoTime() - start) * 1e-9);
    }

    private static CpuTensor zeros(DType dtype, int length) {
        return dtype == DType.INT32
                ? CpuTensor.ofInts(new int[length], Shape.of(length))
                : CpuTensor.ofFloats(dtype, new float[length], Shape.of(length));
    }

    private static CpuTensor random(Random random, DType dtype, int length) {
        CpuTensor tensor = zeros(dtype, length);
        for (int i = 0; i < length; i++) {
            float value = (float) random.nextGaussian() * 100;
            switch (dtype) {
                case FP32 -> tensor.floats()[i] = value;
                case BF16 -> tensor.floats()[i] = BFloat16.round(value);
                case INT32 -> tensor.ints()[i] = (int) value;
            }
        }
        return tensor;
    }

    private static void say(String format, Object... values) {
        System.out.printf(format + "%n", values);
        System.out.flush();
    }
}
