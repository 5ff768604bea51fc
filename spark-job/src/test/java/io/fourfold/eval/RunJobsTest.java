package io.fourfold.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.offset;

import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.TrainedRun;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.data.shard.ShardBuilder;
import io.fourfold.data.shard.ShardInfo;
import io.fourfold.data.shard.TokenType;
import io.fourfold.data.shard.TokenizerInfo;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import io.fourfold.hf.ExportJob;
import io.fourfold.hf.ExportReport;
import io.fourfold.hf.HfException;
import io.fourfold.hf.ImportJob;
import io.fourfold.hf.ImportReport;
import io.fourfold.hf.SafetensorsType;
import io.fourfold.kernels.comm.InProcessWorld;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.metrics.Sinks;
import io.fourfold.model.EvaluationPrecision;
import io.fourfold.train.RunIdentity;
import io.fourfold.train.TrainResult;
import io.fourfold.train.Trainer;
import io.fourfold.train.TrainerInputs;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A run is trained, evaluated, asked for text, exported, imported again and trained on. */
final class RunJobsTest {
    private static final String TEXT = "the cat sat on the mat. the dog sat on the log. ";

    @TempDir
    Path folder;

    private Path prepared() throws IOException {
        Path prepared = folder.resolve("prepared");
        try (Tokenizer tokenizer = Tokenizers.open("bytes", null)) {
            TokenizerInfo info = new TokenizerInfo("bytes", tokenizer.fingerprint(), 257, 256);
            for (String split : List.of(Manifest.TRAIN, Manifest.VALIDATION)) {
                Path target = Files.createDirectories(prepared.resolve("cats").resolve(split));
                ShardBuilder builder = new ShardBuilder(TokenType.of(257));
                for (int document = 0; document < 8; document++) {
                    int[] text = tokenizer.encode(TEXT);
                    int[] ended = java.util.Arrays.copyOf(text, text.length + 1);
                    ended[text.length] = 256;
                    builder.add(ended);
                }
                ShardInfo shard;
                try (OutputStream out = Files.newOutputStream(target.resolve("00000.arrow"))) {
                    shard = builder.write("00000.arrow", out);
                }
                Manifest manifest = new Manifest(
                        Manifest.FORMAT,
                        Manifest.VERSION,
                        "cats",
                        split,
                        "plan",
                        info,
                        TokenType.of(257),
                        shard.documents(),
                        shard.tokens(),
                        0,
                        0,
                        Map.of(),
                        List.of(shard));
                Files.write(target.resolve(Manifest.FILE), ManifestFile.toBytes(manifest));
            }
        }
        return prepared;
    }

    private String yaml(Path run, int steps) throws IOException {
        return """
                train: {sequence_length: 24, global_batch_size: 4, steps: %d, seed: 5,
                        optimizer: {learning_rate: 0.01}}
                recipe: {kind: bf16}
                data: {prepared: %s, tokenizer: bytes}
                run: {dir: %s, backend: cpu}
                """.formatted(steps, prepared(), run);
    }

    private static final String MODEL = """
            model:
              name: tiny
              family: mixtral
              layers: 2
              hidden_size: 32
              vocab_size: 260
              attention: {heads: 4, kv_heads: 2, head_dim: 8}
              moe: {experts: 4, top_k: 2, intermediate_size: 32, router: {score: top_k_softmax, aux_loss_coeff: 0.01}}
              max_positions: 64
            """;

    /** One rank; returns the result and leaves config.yaml as the launcher does. */
    private static TrainResult train(Path run, String yaml) throws IOException {
        Files.createDirectories(run);
        FourfoldConfig config = ConfigLoader.parse("config.yaml", yaml).config();
        Files.writeString(run.resolve("config.yaml"), yaml);
        try (CpuBackend backend = new CpuBackend(1);
                InProcessWorld world = InProcessWorld.create(1).get(0);
                BatchReader reader = reader(config)) {
            return new Trainer(new TrainerInputs(
                            config,
                            backend,
                            world,
                            reader,
                            null,
                            Sinks.none(),
                            new LocalRunStorage(run),
                            new RunIdentity("hash", "", "test"),
                            Double.NaN))
                    .run();
        }
    }

    private static BatchReader reader(FourfoldConfig config) {
        return io.fourfold.data.Readers.open(
                Path.of(config.data().prepared()),
                Manifest.TRAIN,
                io.fourfold.data.ReaderOptions.of(
                        config.train().sequenceLength(), config.train().seed()));
    }

    @Test
    void fromTrainingToExportAndBack() throws IOException {
        Path run = folder.resolve("run");
        TrainResult trained = train(run, MODEL + yaml(run, 12));
        LocalRunStorage storage = new LocalRunStorage(run);

        try (TrainedRun opened = TrainedRun.open(storage, null)) {
            EvalJob.Report report = EvalJob.run(opened, EvalJob.Options.defaults(1));
            assertThat(report.metrics().step()).isEqualTo(12);
            assertThat(report.metrics().loss()).isLessThan(Math.log(257)).isCloseTo(trained.loss(), offset(0.6));
            assertThat(report.checkpoint()).endsWith("step-00000012");

            StringBuilder shown = new StringBuilder();
            SamplingOptions sampling = new SamplingOptions(16, 0.7, 20, 0.9, 3);
            GenerateJob.Report text =
                    GenerateJob.run(opened, "the cat ", sampling, EvaluationPrecision.UNQUANTIZED, 1, shown::append);
            assertThat(shown).hasToString(text.text());
            assertThat(text.tokens()).isBetween(1, 16);
        }

        Path export = run.resolve("export");
        ExportReport exported = ExportJob.run(storage, export, ExportJob.Options.of(SafetensorsType.F32));
        assertThat(exported.files()).contains("tokenizer.json", "model.safetensors", "config.json");
        assertThat(exported.notes()).isEmpty();

        Path second = folder.resolve("second");
        LocalRunStorage secondStorage = new LocalRunStorage(second);
        try (CpuBackend backend = new CpuBackend(1)) {
            ImportReport imported = ImportJob.run(export, secondStorage, backend, "test");
            assertThat(imported.parameters()).isEqualTo(exported.parameters());
            assertThatThrownBy(() -> ImportJob.run(export, secondStorage, backend, "test"))
                    .isInstanceOf(HfException.class)
                    .hasMessageContaining("already has checkpoints");
        }
        assertSameTensors(storage, secondStorage);

        String layer = Files.readString(second.resolve("model.yaml"));
        TrainResult more = train(second, layer + yaml(second, 2));
        assertThat(more.firstStep()).isZero();
        assertThat(more.lastStep()).isEqualTo(2);
        assertThat(more.loss()).as("goes on where the first run ended").isCloseTo(trained.loss(), offset(0.6));
    }

    private static void assertSameTensors(LocalRunStorage first, LocalRunStorage second) {
        try (TrainedRun a = TrainedRun.open(first, null);
                TrainedRun b = TrainedRun.open(second, null)) {
            assertThat(b.config().model().moe()).isEqualTo(a.config().model().moe());
            assertThat(b.checkpoint().names()).isEqualTo(a.checkpoint().names());
            for (String name : a.checkpoint().names()) {
                assertThat(b.checkpoint().readWhole(name))
                        .containsExactly(a.checkpoint().readWhole(name));
            }
        }
    }

    @Test
    void aFolderThatIsNoRun() {
        LocalRunStorage empty = new LocalRunStorage(folder.resolve("none"));
        assertThatThrownBy(() -> TrainedRun.open(empty, null))
                .isInstanceOf(CheckpointException.class)
                .hasMessageContaining("neither config.yaml nor model.yaml");
    }
}
