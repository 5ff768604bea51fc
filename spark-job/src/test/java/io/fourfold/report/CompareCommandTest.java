package io.fourfold.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class CompareCommandTest {
    @TempDir
    Path folder;

    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    private int execute(String... arguments) {
        return new CommandLine(new CompareCommand())
                .setOut(new PrintWriter(out))
                .setErr(new PrintWriter(err))
                .execute(arguments);
    }

    private Path run(String name, String recipe, double excess, int last) throws IOException {
        Path run = Files.createDirectories(folder.resolve(name));
        new SyntheticRun(100).recipe(recipe, excess).write(run, 1, last);
        return run;
    }

    @Test
    void writesPlotAndTable() throws IOException {
        Path bf16 = run("a", "bf16", 1, 100);
        Path nvfp4 = run("b", "nvfp4", 1.02, 100);
        Path plot = folder.resolve("figures/overlay.png");
        Path table = folder.resolve("table.md");

        int code = execute("BF16=" + bf16, nvfp4.toString(), "--plot", plot.toString(), "--table", table.toString());

        assertThat(err.toString()).isEmpty();
        assertThat(code).isZero();
        List<String> lines = Files.readAllLines(table);
        assertThat(lines.get(0)).startsWith("After 819,200 tokens").contains("relative to BF16");
        assertThat(lines.get(4)).matches("\\| BF16 \\| bf16 \\| 100 \\| [0-9.]+ \\| - \\| [0-9.]+ \\| - \\| .*");
        assertThat(lines.get(5)).matches("\\| b \\| nvfp4 \\| 100 \\| .* \\+[0-9.]+% \\| .* \\+[0-9.]+% \\| .*");
        assertThat(out.toString()).contains(lines.get(5)).contains("Plot: " + plot);
        BufferedImage image = ImageIO.read(plot.toFile());
        assertThat(image.getHeight()).isEqualTo(2 * (560 + 250));
    }

    @Test
    void aShorterRunOfTheSameLossesHasNoGap() throws IOException {
        NamedRun complete = NamedRun.read("long", run("a", "bf16", 1, 100));
        NamedRun ended = NamedRun.read("short", run("b", "bf16", 1, 52));
        for (Curve gap : List.of(
                RunComparison.relativeGap(complete.history(), ended.history()),
                RunComparison.relativeGap(ended.history(), complete.history()))) {
            assertThat(gap.size()).isEqualTo(52);
            assertThat(gap.smallest()).isZero();
            assertThat(gap.largest()).isZero();
        }
    }

    @Test
    void runsOfDifferentLengthsAreComparedAfterTheShorterOne() throws IOException {
        NamedRun complete = NamedRun.read("long", run("a", "bf16", 1, 100));
        NamedRun half = NamedRun.read("short", run("b", "bf16", 1, 50));

        RunComparison comparison = RunComparison.of(List.of(complete, half));

        assertThat(comparison.tokens()).isEqualTo(50 * 8192);
        assertThat(comparison.rows()).extracting(RunComparison.Row::step).containsExactly(50, 50);
        assertThat(comparison.rows().get(1).trainingGap()).isEqualTo(0, within(1e-12));
        assertThat(comparison.rows().get(1).validationGap()).isEqualTo(0, within(1e-12));
    }

    @Test
    void aFolderWithoutMetricsIsNamed() throws IOException {
        Path bf16 = run("a", "bf16", 1, 10);

        Path empty = Files.createDirectories(folder.resolve("empty"));
        assertThat(execute("x=" + bf16, "y=" + empty)).isEqualTo(5);
        assertThat(err.toString()).contains("empty").contains("is it a run folder");

        assertThat(execute("x=" + bf16, "y=" + folder.resolve("nothing"))).isEqualTo(5);
        assertThat(err.toString()).contains("there is no run folder " + folder.resolve("nothing"));
    }

    @Test
    void oneRunIsNoComparison() throws IOException {
        assertThat(execute("x=" + run("a", "bf16", 1, 10))).isEqualTo(2);
    }
}
