package io.fourfold.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.metrics.EvalMetrics;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class EvaluatorTest {
    private static final int LENGTH = 3;

    /** Sample s has labels s, except that every third label and all of sample 4 do not count. */
    private record Samples(long samplesPerEpoch) implements BatchReader {
        @Override
        public int sequenceLength() {
            return LENGTH;
        }

        @Override
        public Batch read(long first, int count, int rowIdBase) {
            int[] labels = new int[count * LENGTH];
            for (int i = 0; i < labels.length; i++) {
                int sample = (int) ((first + i / LENGTH) % samplesPerEpoch);
                labels[i] = sample == 4 || (sample + i % LENGTH) % 3 == 0 ? -1 : sample;
            }
            int[] zeros = new int[labels.length];
            return new Batch(count, LENGTH, zeros, labels, zeros, zeros, zeros);
        }

        @Override
        public void close() {}
    }

    /** A loss that sums differently in another order: 0.1 and thirds have no exact binary form. */
    private static double loss(Batch batch) {
        double sum = 0;
        for (int label : batch.labels()) {
            sum += label < 0 ? 0 : 0.1 + label / 3.0;
        }
        return sum;
    }

    private static EvalMetrics run(int ranks, int micro, long samples, AtomicInteger calls) throws Exception {
        List<InProcessWorld> worlds = InProcessWorld.create(ranks);
        ExecutorService threads = Executors.newFixedThreadPool(ranks);
        try {
            List<Future<EvalMetrics>> results = new ArrayList<>();
            for (InProcessWorld world : worlds) {
                results.add(threads.submit(() -> {
                    try (CpuBackend backend = new CpuBackend(1);
                            Communicator group = world.group(
                                    "dp", IntStream.range(0, ranks).boxed().toList())) {
                        LossModel model = batch -> {
                            calls.incrementAndGet();
                            return loss(batch);
                        };
                        return new Evaluator(model, new Samples(11), micro, backend, group).run(7, samples);
                    }
                }));
            }
            EvalMetrics first = results.get(0).get();
            for (Future<EvalMetrics> result : results) {
                assertThat(result.get().loss()).isEqualTo(first.loss());
                assertThat(result.get().tokens()).isEqualTo(first.tokens());
            }
            return first;
        } finally {
            threads.shutdownNow();
        }
    }

    @Test
    void meanOverCountedLabels() throws Exception {
        AtomicInteger calls = new AtomicInteger();
        EvalMetrics metrics = run(1, 4, 100, calls);
        double sum = loss(new Samples(11).read(0, 11, 0));
        int labels = new Samples(11).read(0, 11, 0).labelCount();
        assertThat(metrics.tokens()).isEqualTo(labels).isEqualTo(20);
        assertThat(metrics.loss()).isCloseTo(sum / labels, org.assertj.core.data.Offset.offset(1e-12));
        assertThat(metrics.perplexity()).isEqualTo(Math.exp(metrics.loss()));
        assertThat(metrics.step()).isEqualTo(7);
        assertThat(calls).hasValue(3);
    }

    @Test
    void theSameBitsAtAnyNumberOfRanks() throws Exception {
        for (int micro : new int[] {1, 2, 3}) {
            EvalMetrics one = run(1, micro, 10, new AtomicInteger());
            for (int ranks : new int[] {2, 3, 4, 8}) {
                AtomicInteger calls = new AtomicInteger();
                EvalMetrics many = run(ranks, micro, 10, calls);
                assertThat(many.loss()).isEqualTo(one.loss());
                assertThat(many.tokens()).isEqualTo(one.tokens());
                assertThat(calls.get() % ranks)
                        .as("every rank runs equally often")
                        .isZero();
            }
        }
    }

    @Test
    void nothingToEvaluate() {
        try (CpuBackend backend = new CpuBackend(1);
                InProcessWorld world = InProcessWorld.create(1).get(0);
                Communicator group = world.group("dp", List.of(0))) {
            Evaluator evaluator = new Evaluator(EvaluatorTest::loss, new Samples(11), 1, backend, group);
            assertThatThrownBy(() -> evaluator.run(0, 0)).hasMessageContaining("nothing to evaluate");
            Evaluator unlabelled = new Evaluator(EvaluatorTest::loss, new Samples(1), 1, backend, group);
            assertThat(unlabelled.run(0, 1).tokens()).isEqualTo(2);
        }
    }
}
