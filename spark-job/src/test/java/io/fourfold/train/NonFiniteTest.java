package io.fourfold.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.data.DataException;
import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.metrics.EventKind;
import io.fourfold.model.GradientListener;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.model.MoeTransformer;
import io.fourfold.model.StepContext;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NonFiniteTest {
    @TempDir
    Path folder;

    @Test
    void aBadWeightStopsTheRunNamingTheLayer() {
        TinyRun run = new TinyRun(folder).set("parallel.world_size", 2).model((inputs, groups) -> {
            MoeTransformer model = MoeTransformer.create(inputs.config(), inputs.backend(), groups);
            return new Spoiling(TrainableModel.of(model), Spoiling.What.WEIGHT);
        });
        List<Ranks.Outcome<TrainResult>> outcomes = run.outcomes();
        assertThat(outcomes)
                .allSatisfy(outcome -> assertThat(outcome.failure())
                        .isInstanceOf(TrainingException.class)
                        .hasMessageContaining("TRAIN_NON_FINITE")
                        .hasMessageContaining("step 3")
                        .hasMessageContaining("layers.1")
                        .hasMessageContaining("step-00000002"));
        assertThat(run.losses()).hasSize(2);
        assertThat(run.events(EventKind.NON_FINITE)).hasSize(1);
        assertThat(folder.resolve("checkpoints/step-00000002/COMMIT")).exists();
        assertThat(folder.resolve("checkpoints/step-00000003")).doesNotExist();
    }

    @Test
    void aBadGradientStopsBeforeTheOptimizer() {
        TinyRun clean = new TinyRun(folder.resolve("clean"));
        clean.train();
        TinyRun run = new TinyRun(folder.resolve("bad")).model((inputs, groups) -> {
            MoeTransformer model = MoeTransformer.create(inputs.config(), inputs.backend(), groups);
            return new Spoiling(TrainableModel.of(model), Spoiling.What.GRADIENT);
        });
        assertThatThrownBy(run::train)
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining("gradient norm is NaN at step 3")
                .hasMessageContaining("gradient of ");
        // The same folder goes on as if nothing had happened.
        TinyRun rest = new TinyRun(folder.resolve("bad"));
        rest.train();
        assertThat(rest.losses()).isEqualTo(clean.losses().subList(2, 6));
    }

    @Test
    void aFailingRankEndsTheOthersAsAConsequence() {
        TinyRun run = new TinyRun(folder)
                .set("parallel.world_size", 2)
                .readers(rank -> rank == 1 ? new FailingReader() : new SyntheticReader(16, 32, 5));
        List<Ranks.Outcome<TrainResult>> outcomes = run.outcomes();
        assertThat(outcomes.get(1).failure()).isInstanceOf(DataException.class).hasMessage("shard 7 is corrupt");
        assertThat(outcomes.get(0).failure())
                .isInstanceOf(CommunicationException.class)
                .hasMessageContaining("rank 1 failed: shard 7 is corrupt");
    }

    /** Fails at the third step. */
    private static final class FailingReader implements BatchReader {
        private final BatchReader good = new SyntheticReader(16, 32, 5);

        @Override
        public int sequenceLength() {
            return good.sequenceLength();
        }

        @Override
        public long samplesPerEpoch() {
            return good.samplesPerEpoch();
        }

        @Override
        public Batch read(long first, int count, int rowIdBase) {
            if (first >= 8) {
                throw new DataException("shard 7 is corrupt");
            }
            return good.read(first, count, rowIdBase);
        }

        @Override
        public void close() {
            good.close();
        }
    }

    /** Puts a NaN somewhere at step 3. */
    private static final class Spoiling extends ForwardingModel {
        enum What {
            WEIGHT,
            GRADIENT
        }

        private final What what;

        Spoiling(TrainableModel model, What what) {
            super(model);
            this.what = what;
        }

        @Override
        public void beginStep(StepContext step) {
            if (step.step() == 3 && what == What.WEIGHT) {
                spoil(parameters().parameters().stream()
                        .filter(p -> p.name().startsWith("layers.1"))
                        .findFirst()
                        .orElseThrow()
                        .weight());
            }
            super.beginStep(step);
        }

        @Override
        public void listen(GradientListener listener) {}

        @Override
        public List<MicroBatchResult> forwardBackward(List<Batch> batches, StepContext step) {
            List<MicroBatchResult> result = super.forwardBackward(batches, step);
            if (step.step() == 3 && what == What.GRADIENT) {
                spoil(parameters().parameters().get(0).grad());
            }
            return result;
        }

        private static void spoil(io.fourfold.kernels.tensor.Tensor tensor) {
            CpuTensor cpu = CpuTensor.of(tensor);
            cpu.floats()[cpu.offset()] = Float.NaN;
        }
    }
}
