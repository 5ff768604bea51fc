package io.fourfold.parallel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.fourfold.parallel.PipelineOperation.Kind;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class PipelineScheduleTest {
    private static final int MAX_RANKS = 8;
    private static final int MAX_CHUNKS = 4;
    private static final int MAX_MICRO_BATCHES = 16;

    record Case(int ranks, int chunks, int microBatches) {}

    static Stream<Case> everyPipeline() {
        return IntStream.rangeClosed(1, MAX_RANKS)
                .boxed()
                .flatMap(ranks -> IntStream.rangeClosed(1, ranks == 1 ? 1 : MAX_CHUNKS)
                        .boxed()
                        .flatMap(chunks -> IntStream.rangeClosed(1, MAX_MICRO_BATCHES)
                                .mapToObj(microBatches -> new Case(ranks, chunks, microBatches))));
    }

    @Test
    void everyScheduleFinishesWithBlockingSendsAndDoesEverythingOnce() {
        assertThat(everyPipeline().toList()).hasSize(464).allSatisfy(c -> {
            PipelineSchedule training = PipelineSchedule.training(c.ranks(), c.chunks(), c.microBatches());
            new PipelineSimulator(c.ranks(), c.chunks(), c.microBatches(), true).run(training);
            PipelineSchedule forward = PipelineSchedule.forwardOnly(c.ranks(), c.chunks(), c.microBatches());
            new PipelineSimulator(c.ranks(), c.chunks(), c.microBatches(), false).run(forward);
        });
    }

    @Test
    void bubbleAndMicroBatchesInFlightAreThoseOfThePapers() {
        assertThat(everyPipeline()
                        .filter(c -> c.chunks() == 1 || c.microBatches() % c.ranks() == 0)
                        .toList())
                .allSatisfy(c -> {
                    PipelineSchedule schedule = PipelineSchedule.training(c.ranks(), c.chunks(), c.microBatches());
                    int work = c.chunks() * c.microBatches();
                    assertThat(schedule.bubble())
                            .isCloseTo((c.ranks() - 1.0) / (work + c.ranks() - 1.0), within(1e-12));
                    for (int rank = 0; rank < c.ranks(); rank++) {
                        int ahead = c.ranks() - 1 - rank;
                        int bound = c.chunks() == 1 ? ahead + 1 : 2 * ahead + (c.chunks() - 1) * c.ranks() + 1;
                        assertThat(schedule.peakInFlight(rank)).isEqualTo(Math.min(bound, work));
                        assertThat(PipelineSchedule.inFlight(c.ranks(), c.chunks(), c.microBatches(), rank))
                                .isEqualTo(Math.min(bound, work));
                    }
                });
    }

    @Test
    void twoRanksOfTwoMicroBatches() {
        assertThat(PipelineSchedule.training(2, 1, 2).operations(0))
                .extracting(o -> o.kind() + " " + o.microBatch())
                .containsExactly(
                        "FORWARD 0",
                        "SEND_ACTIVATION 0",
                        "FORWARD 1",
                        "SEND_ACTIVATION 1",
                        "RECEIVE_GRADIENT 0",
                        "BACKWARD 0",
                        "RECEIVE_GRADIENT 1",
                        "BACKWARD 1");
    }

    static Stream<List<List<PipelineOperation>>> circles() {
        PipelineOperation send = new PipelineOperation(Kind.SEND_ACTIVATION, 0, 0, 1);
        PipelineOperation receive = new PipelineOperation(Kind.RECEIVE_ACTIVATION, 0, 0, 0);
        PipelineOperation back = new PipelineOperation(Kind.SEND_GRADIENT, 0, 0, 0);
        PipelineOperation gradient = new PipelineOperation(Kind.RECEIVE_GRADIENT, 0, 0, 1);
        PipelineOperation forward = PipelineOperation.compute(true, 0, 0);
        PipelineOperation backward = PipelineOperation.compute(false, 0, 0);
        return Stream.of(
                // Both wait for the other's receive.
                List.of(List.of(forward, send, gradient, backward), List.of(back, receive, forward, backward)),
                // The second forward is missing.
                List.of(List.of(forward, send), List.of(receive)));
    }

    /** The simulator would notice. */
    @ParameterizedTest
    @MethodSource("circles")
    void brokenSchedulesAreFound(List<List<PipelineOperation>> broken) {
        PipelineSimulator simulator = new PipelineSimulator(2, 1, 1, true);
        assertThatThrownBy(() -> simulator.run(broken)).isInstanceOf(AssertionError.class);
    }

    @Test
    void anOrderThatWaitsForItselfIsFound() {
        List<PipelineOperation> order =
                List.of(PipelineOperation.compute(false, 0, 0), PipelineOperation.compute(true, 0, 0));
        assertThat(new PipelineTimeline(List.of(order), 1, 1).circle()).contains("rank 0 waits for ever");
    }
}
