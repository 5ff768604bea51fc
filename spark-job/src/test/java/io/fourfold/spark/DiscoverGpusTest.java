package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code scripts/discover-gpus} with a fake nvidia-smi that lists two GPUs. */
class DiscoverGpusTest {
    private static final Path SCRIPT = Path.of(System.getProperty("fourfold.root", ".."), "scripts", "discover-gpus")
            .toAbsolutePath();

    @TempDir
    Path folder;

    @ParameterizedTest
    @CsvSource(
            nullValues = "unset",
            delimiter = '|',
            value = {
                "unset | {\"name\": \"gpu\", \"addresses\": [\"0\", \"1\"]}",
                "1 | {\"name\": \"gpu\", \"addresses\": [\"0\"]}",
                "GPU-a,GPU-b | {\"name\": \"gpu\", \"addresses\": [\"0\", \"1\"]}",
                "1,-1,0 | {\"name\": \"gpu\", \"addresses\": [\"0\"]}",
                "0,7 | {\"name\": \"gpu\", \"addresses\": [\"0\"]}"
            })
    void printsIndicesOfVisibleGpus(String visible, String json) throws Exception {
        assertThat(run("echo '0, GPU-a'; echo '1, GPU-b'", visible)).isEqualTo("0 " + json);
    }

    @Test
    void saysWhatToDoWhereThereIsNone() throws Exception {
        assertThat(run("echo '0, GPU-a'", "")).startsWith("1 ").contains("hides all 1 GPUs");
        assertThat(run("echo 'No devices were found'", null)).startsWith("1 ").contains("lists no GPU on ");
        assertThat(run("echo 'driver mismatch'; exit 9", null))
                .startsWith("1 ")
                .contains("fails on", "driver mismatch");
        assertThat(run(null, null)).startsWith("1 ").contains("nvidia-smi is not on the PATH", "run.backend to cpu");
    }

    /** Exit status and output; nvidia-smi does not exist when its text is null. */
    private String run(@Nullable String nvidiaSmi, @Nullable String visible) throws Exception {
        Path bin = Files.createDirectories(folder.resolve("bin"));
        for (String tool : List.of("bash", "hostname", "grep", "env")) {
            Path link = bin.resolve(tool);
            if (!Files.exists(link)) {
                Files.createSymbolicLink(link, find(tool));
            }
        }
        Path fake = bin.resolve("nvidia-smi");
        Files.deleteIfExists(fake);
        if (nvidiaSmi != null) {
            Files.writeString(fake, "#!/bin/sh\n" + nvidiaSmi + "\n");
            Files.setPosixFilePermissions(fake, PosixFilePermissions.fromString("rwxr-xr-x"));
        }
        ProcessBuilder builder = new ProcessBuilder(bin.resolve("bash").toString(), SCRIPT.toString());
        builder.environment().put("PATH", bin.toString());
        builder.environment().remove("CUDA_VISIBLE_DEVICES");
        if (visible != null) {
            builder.environment().put("CUDA_VISIBLE_DEVICES", visible);
        }
        Process process = builder.redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
        assertThat(process.waitFor(10, TimeUnit.SECONDS)).isTrue();
        return process.exitValue() + " " + output;
    }

    private static Path find(String tool) {
        return List.of("/usr/bin", "/bin").stream()
                .map(dir -> Path.of(dir, tool))
                .filter(Files::exists)
                .findFirst()
                .orElseThrow();
    }
}
