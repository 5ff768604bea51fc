package io.fourfold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import io.fourfold.checkpoint.Agreement;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.Quantity;
import io.fourfold.checkpoint.Retention;
import io.fourfold.checkpoint.ShardLayout;
import io.fourfold.checkpoint.TensorSection;
import io.fourfold.kernels.cpu.CpuBackend;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class InspectCheckpointTest {
    @TempDir
    Path run;

    private final StringWriter out = new StringWriter();

    @BeforeEach
    void save() {
        ShardLayout layout = ShardLayout.whole("layers.0.w", new long[] {2, 3});
        CpuTensor values = CpuTensor.ofFloats(DType.FP32, new float[] {1, 2, 3, 4, 5, 6}, Shape.of(6));
        CheckpointManifest.Identity identity = new CheckpointManifest.Identity(
                120,
                480,
                7680,
                7,
                "c0ffee",
                "fingerprint",
                "",
                Map.of("world", 4, "tp", 2, "ep", 4),
                JsonNodeFactory.instance.objectNode(),
                "0.1",
                "2026-01-01T00:00:00Z");
        try (CpuBackend backend = new CpuBackend(1)) {
            new CheckpointStore(new LocalRunStorage(run))
                    .save(
                            identity,
                            List.of(
                                    new TensorSection(Quantity.WEIGHT, layout, values),
                                    new TensorSection(Quantity.MOMENT1, layout, values)),
                            backend,
                            Agreement.alone(),
                            Retention.last(1));
        }
    }

    private int inspect(String... options) {
        out.getBuffer().setLength(0);
        String checkpoint = run.resolve("checkpoints/step-00000120").toString();
        String[] arguments = Stream.concat(Stream.of("inspect", checkpoint), Stream.of(options))
                .toArray(String[]::new);
        return Fourfold.run(new PrintWriter(out, true), new PrintWriter(new StringWriter(), true), arguments);
    }

    @Test
    void showsPositionMappingFilesAndTensors() {
        assertThat(inspect()).isZero();
        assertThat(out.toString())
                .contains("after step 120: 480 samples, 7,680 tokens, seed 7")
                .contains("mapping WORLD 4, TP 2, EP 4")
                .contains("not checked")
                .containsPattern("layers\\.0\\.w +\\[2, 3] .*weight, moment1");
    }

    @Test
    void verifiesAndTellsMachines() throws IOException {
        assertThat(inspect("--verify", "--json")).isZero();
        JsonNode json = new ObjectMapper().readTree(out.toString());
        assertThat(json.at("/identity/step").asInt()).isEqualTo(120);
        assertThat(json.at("/tensors/0/name").asText()).isEqualTo("layers.0.w");
        assertThat(json.at("/tensors/0/bytes").asInt()).isEqualTo(48);
        assertThat(json.at("/files/0/hash").asText()).isEqualTo("VERIFIED");
        Path data;
        try (Stream<Path> files = Files.list(run.resolve("checkpoints/step-00000120"))) {
            data = files.filter(file -> file.toString().endsWith(".bin"))
                    .findFirst()
                    .orElseThrow();
        }
        byte[] bytes = Files.readAllBytes(data);
        bytes[5] ^= 1;
        Files.write(data, bytes);
        assertThat(inspect("--verify")).isEqualTo(ExitCode.CHECKPOINT.number());
        assertThat(out.toString()).contains("damaged").contains("SHA-256");
    }
}
