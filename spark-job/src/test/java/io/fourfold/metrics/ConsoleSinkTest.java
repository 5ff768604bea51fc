package io.fourfold.metrics;

import static io.fourfold.metrics.SampleMetrics.facts;
import static io.fourfold.metrics.SampleMetrics.step;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ConsoleSinkTest {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private final PrintStream out = new PrintStream(bytes, true, StandardCharsets.UTF_8);

    private String text() {
        return bytes.toString(StandardCharsets.UTF_8);
    }

    private List<String> stepLines() {
        return text().lines().filter(line -> line.startsWith("step ")).toList();
    }

    @Test
    void printsFactsThenStepLinesWithoutEscapesInALog() {
        try (ConsoleSink sink = new ConsoleSink(out, 4, false)) {
            sink.start(facts(), 1, 10);
            for (int step = 1; step <= 10; step++) {
                sink.step(step(step));
            }
            sink.evaluation(new EvalMetrics(10, 0.5, 4096, 0.25));
            sink.event(10, EventKind.CHECKPOINT, "checkpoints/step-00000010");
        }

        assertThat(text()).doesNotContain("\u001b").doesNotContain("\r");
        assertThat(text().lines())
                .startsWith("  name    sample", "  model   tiny \"quoted\"", "  recipe  nvfp4")
                .endsWith(
                        "eval step 10  loss 0.5000  perplexity 1.6487  tokens 4096  seconds 0.25",
                        "[checkpoint] step 10: checkpoints/step-00000010");
        assertThat(stepLines())
                .containsExactly(
                        "step 1/10  loss 5.0000  grad_norm 1.5000  lr 3.00e-04  tokens 1024  tokens/s 2048  s/step 0.500"
                                + "  eta 4.5s",
                        "step 4/10  loss 1.2500  grad_norm 1.5000  lr 3.00e-04  tokens 4096  tokens/s 2048  s/step 0.500"
                                + "  eta 3s",
                        "step 8/10  loss 0.6250  grad_norm 1.5000  lr 3.00e-04  tokens 8192  tokens/s 2048  s/step 0.500"
                                + "  eta 1s",
                        "step 10/10  loss 0.5000  grad_norm 1.5000  lr 3.00e-04  tokens 10240  tokens/s 2048"
                                + "  s/step 0.500  eta 0s");
    }

    @Test
    void theProgressLineIsErasedBeforeAnythingElseIsPrinted() {
        try (ConsoleSink sink = new ConsoleSink(out, 100, true)) {
            sink.start(facts(), 1, 10);
            sink.step(step(1));
            sink.step(step(2));
            sink.event(2, EventKind.WARNING, "careful");
            sink.step(step(10));
        }

        assertThat(text()).contains("[====>                   ]  20%  step 2/10  loss 2.5000  2.05k tokens/s  ETA 4 s");
        assertThat(text()).contains("ETA 4 s\r\u001b[K[warning] step 2: careful");
        assertThat(text().lines().filter(line -> line.contains("%  step 10/10")))
                .isEmpty();
    }

    @Test
    void aResumedRunSaysWhereItContinues() {
        try (ConsoleSink sink = new ConsoleSink(out, 100, false)) {
            sink.start(facts(), 41, 100);
            sink.step(step(41));
        }
        assertThat(text()).contains("continues at step 41 of 100");
        assertThat(stepLines()).hasSize(1);
    }

    @Test
    void aFinishedRunSaysSo() {
        try (ConsoleSink sink = new ConsoleSink(out, 100, false)) {
            sink.start(facts(), 241, 240);
        }
        assertThat(text()).contains("  already done: 240 steps").doesNotContain("continues");
    }

    @Test
    void aBuildLogIsNoTerminal() {
        assertThat(Terminal.interactive(null, Map.of("TERM", "xterm"))).isFalse();
        assertThatThrownBy(() -> new ConsoleSink(out, 0)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void theTimeLeftForgetsTheWarmUpStep() {
        StepTimer timer = new StepTimer();
        assertThat(timer.remaining(0, 10)).isNaN();
        timer.add(30);
        timer.add(1);
        timer.add(1);
        assertThat(timer.remaining(3, 10)).isEqualTo(7.0);
    }
}
